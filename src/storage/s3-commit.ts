import { CaskError } from "../core/errors.ts";
import { type Key, KeyHasher } from "../core/key.ts";
import type { Random } from "../core/random.ts";
import type { CommitOutcome } from "./backend.ts";
import type { S3Copy } from "./s3-copy.ts";
import { BadAnswer, s3Failure } from "./s3-failure.ts";
import type { S3Layout } from "./s3-layout.ts";
import { makePutTag, type S3Objects, type S3Stat, WrongLength } from "./s3-objects.ts";
import type { S3Quarantine } from "./s3-quarantine.ts";
import type { S3Removal } from "./s3-removal.ts";
import type { S3Uploads, UploadSource } from "./s3-upload.ts";
import { sameBytes } from "./same-bytes.ts";

export interface S3CommitOptions {
  readonly objects: S3Objects;
  readonly uploads: S3Uploads;
  readonly layout: S3Layout;
  readonly quarantine: S3Quarantine;
  readonly removal: Pick<S3Removal, "settled" | "notePut">;
  readonly random: Random;
  readonly open: (name: string) => Promise<S3Copy | null>;
}

const NONCE_BYTES = 8;

/** How a stage becomes the object of a key. The caller sees to it that one thing at a time happens to a key. */
export class S3Commit {
  private readonly options: S3CommitOptions;

  constructor(options: S3CommitOptions) {
    this.options = options;
  }

  async commit(key: Key, staged: UploadSource): Promise<CommitOutcome> {
    try {
      await this.options.removal.settled(key);
      return await this.decide(key, staged);
    } catch (error) {
      throw s3Failure(error, `storing ${key}`);
    }
  }

  private async decide(key: Key, staged: UploadSource): Promise<CommitOutcome> {
    const { layout, quarantine } = this.options;
    const name = layout.blob(key);
    const existing = await this.examine(key, name, staged);
    switch (existing.is) {
      case "absent":
        await this.place(name, staged);
        return "stored";
      case "equal":
        return "known";
      case "other":
        throw new CaskError(
          "KEY_COLLISION",
          `other bytes are stored under ${key} already, with the same hash; they stay`,
        );
      case "corrupt":
        await quarantine.keep(key, name, existing.stat);
        await this.place(name, staged); // over the corrupt one: at no instant is there less
        return "replaced";
    }
  }

  /** S3 answers a put when it is durable. Whether what is there is what was meant is looked at, whatever the answer was. */
  private async place(name: string, staged: UploadSource): Promise<void> {
    const { uploads, objects, random, removal } = this.options;
    const putTag = makePutTag(staged.sizeBytes, random.hex(NONCE_BYTES));
    let failure: unknown;
    try {
      await uploads.put(name, staged, putTag, () => removal.notePut(name));
    } catch (error) {
      failure = error; // it may be there all the same: its answer was lost
      removal.notePut(name);
    }
    const stat = await objects.head(name);
    if (stat?.putTag === putTag) return;
    throw failure ?? new BadAnswer(`${name} is not there as it was put, although S3 said so`);
  }

  private async examine(
    key: Key,
    name: string,
    staged: UploadSource,
  ): Promise<{ is: "absent" | "equal" | "other" } | { is: "corrupt"; stat: S3Stat }> {
    let copy: S3Copy | null;
    try {
      copy = await this.options.open(name);
    } catch (error) {
      if (!(error instanceof WrongLength)) throw error;
      const again = await this.options.objects.look(name); // to replace a good copy would be the worse mistake
      if (again?.seen === error.stat.seen) return { is: "corrupt", stat: error.stat };
      throw error;
    }
    if (!copy) return { is: "absent" };
    try {
      const isSameLength = copy.sizeBytes === staged.sizeBytes;
      if (isSameLength && (await sameBytes(copy.chunks(), staged.read()))) return { is: "equal" };
      const hasher = new KeyHasher();
      for await (const chunk of copy.chunks()) hasher.update(chunk);
      return hasher.digest() === key ? { is: "other" } : { is: "corrupt", stat: copy.stat };
    } finally {
      await copy.close();
    }
  }
}
