import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** An authority of our own, in a folder, by openssl. */
export class Authority {
  readonly cert: string;
  private readonly folder: string;
  private readonly key: string;

  constructor(folder: string, name: string) {
    this.folder = folder;
    this.cert = join(folder, `${name}.pem`);
    this.key = join(folder, `${name}.key`);
    openssl(
      ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
      ["-subj", `/CN=${name}`, "-keyout", this.key, "-out", this.cert],
    );
  }

  /** For 127.0.0.1. `expired`: since the year 2000. */
  issue(name: string, { expired = false } = {}): CertificateFiles {
    const [cert, key, request, extensions] = ["pem", "key", "csr", "ext"].map((end) =>
      join(this.folder, `${name}.${end}`),
    );
    openssl(
      ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", `/CN=${name}`],
      ["-keyout", key as string, "-out", request as string],
    );
    writeFileSync(extensions as string, "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
    const signed = [
      "-CA",
      this.cert,
      "-CAkey",
      this.key,
      "-set_serial",
      String(++serial),
      "-extfile",
      extensions as string,
    ];
    openssl(
      ["x509", "-req", "-in", request as string, "-out", cert as string, ...signed],
      // x509 knows no end in the past as a date, but a negative number of days.
      ["-days", expired ? "-1" : "2"],
    );
    return { cert: cert as string, key: key as string };
  }
}

let serial = 1000;

function openssl(...args: string[][]): void {
  execFileSync("openssl", args.flat(), { stdio: "pipe" });
}
