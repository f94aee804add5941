export const S3_REQUEST_KINDS = ["read", "look", "write", "delete", "list"] as const;
export type S3RequestKind = (typeof S3_REQUEST_KINDS)[number];

/** What a whole pass of the scrub asks of S3, by the last complete listing: that is what it costs. */
export interface S3PassCost {
  readonly requests: number;
  readonly bytes: number;
}

/** What went to and from S3 since the start. Each attempt is a request: that is how S3 counts them. */
export interface S3Figures {
  readonly requests: Readonly<Record<S3RequestKind, number>>;
  readonly bytes_in: number;
  readonly bytes_out: number;
  /** Attempts that failed and were repeated. */
  readonly retries: number;
  /** Requests that failed in the end: "don't know". */
  readonly failures: number;
  /** Objects below the prefix that are no blobs, as the last complete listing found them. */
  readonly foreign_objects: number;
  readonly scrub_pass: S3PassCost | null;
}

/** Counts, for the bill and for the operator. */
export class S3Traffic {
  readonly requests: Record<S3RequestKind, number> = { read: 0, look: 0, write: 0, delete: 0, list: 0 };
  bytesIn = 0;
  bytesOut = 0;
  retries = 0;
  failures = 0;
  foreignObjects = 0;
  pass: S3PassCost | null = null;

  figures(): S3Figures {
    return {
      requests: { ...this.requests },
      bytes_in: this.bytesIn,
      bytes_out: this.bytesOut,
      retries: this.retries,
      failures: this.failures,
      foreign_objects: this.foreignObjects,
      scrub_pass: this.pass,
    };
  }
}
