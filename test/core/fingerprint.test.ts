import { FINGERPRINT_BYTES, Fingerprinter } from "../../src/core/fingerprint.ts";
import { bytesOf } from "../support/store-blob.ts";

function fingerprintOf(...parts: readonly Uint8Array[]): Buffer {
  const fingerprinter = new Fingerprinter();
  for (const part of parts) fingerprinter.update(part);
  return fingerprinter.digest();
}

test("the same bytes have the same fingerprint, in whatever parts they come", () => {
  const bytes = bytesOf(100_000);
  const whole = fingerprintOf(bytes);
  expect(whole).toHaveLength(FINGERPRINT_BYTES);
  for (const cut of [1, 15, 16, 17, 4_096, 99_999]) {
    expect(fingerprintOf(bytes.subarray(0, cut), bytes.subarray(cut)).equals(whole)).toBe(true);
  }
  const shared = Buffer.from(new SharedArrayBuffer(bytes.length));
  bytes.copy(shared);
  expect(fingerprintOf(shared).equals(whole)).toBe(true);
});

test("each bit that flips, each byte more or less, and zeros at the end give another", () => {
  const bytes = bytesOf(300);
  const seen = new Set([fingerprintOf(bytes).toString("hex")]);
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    seen.add(fingerprintOf(flipped).toString("hex"));
  }
  for (let length = 0; length < bytes.length; length++)
    seen.add(fingerprintOf(bytes.subarray(0, length)).toString("hex"));
  for (let zeros = 1; zeros < 40; zeros++) seen.add(fingerprintOf(bytes, Buffer.alloc(zeros)).toString("hex"));
  expect(seen.size).toBe(1 + 8 * 300 + 300 + 39);
});
