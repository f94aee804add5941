import { randomBytes, randomUUID } from "node:crypto";

/** Chance, handed in, so that a failed run can be repeated from its seed. The only file that may call Math.random. */
export interface Random {
  /** A number from 0 (included) to 1 (excluded). */
  next(): number;
  uuid(): string;
  /** `bytes` random bytes in hexadecimal: for nonces and names of temporary files. */
  hex(bytes: number): string;
}

export class SystemRandom implements Random {
  next(): number {
    return Math.random();
  }

  uuid(): string {
    return randomUUID();
  }

  hex(bytes: number): string {
    return randomBytes(bytes).toString("hex");
  }
}

/** mulberry32: small, fast, good enough to choose test cases and jitter; never for secrets. */
export class SeededRandom implements Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  hex(bytes: number): string {
    let text = "";
    for (let i = 0; i < bytes; i++)
      text += Math.floor(this.next() * 256)
        .toString(16)
        .padStart(2, "0");
    return text;
  }

  uuid(): string {
    const h = this.hex(16);
    return `${h.slice(0, 8)}-${h.slice(8, 12)}-4${h.slice(13, 16)}-8${h.slice(17, 20)}-${h.slice(20)}`;
  }
}
