import crypto from "node:crypto";
import { SecretCheck } from "../../src/http/secret-check.ts";
import { deriveNodeSecret } from "../../src/peer/protocol.ts";

const SECRET = "the cluster's secret";
const OLD = "the secret before it";

test("takes the secret, the old one, and what is derived from each; nothing else", () => {
  const check = new SecretCheck([SECRET, OLD]);
  for (const given of [SECRET, OLD, deriveNodeSecret(SECRET), deriveNodeSecret(OLD)]) {
    expect(check.accepts(given)).toBe(true);
  }
  for (const given of ["", SECRET.slice(1), `${SECRET} `, SECRET.toUpperCase(), undefined, null, [SECRET], {}, 0]) {
    expect(check.accepts(given)).toBe(false);
  }
});

test("C41: without a secret nothing is accepted, an empty one neither", () => {
  const check = new SecretCheck([]);
  for (const given of ["", undefined, deriveNodeSecret("")]) expect(check.accepts(given)).toBe(false);
});

test("C41: compares in constant time: each given one with each accepted one, by digests of one length", () => {
  const compare = jest.spyOn(crypto, "timingSafeEqual");
  try {
    const check = new SecretCheck([SECRET, OLD]);
    for (const given of [SECRET, "x", "", undefined]) {
      compare.mockClear();
      check.accepts(given);
      expect(compare).toHaveBeenCalledTimes(4);
    }
  } finally {
    compare.mockRestore();
  }
});
