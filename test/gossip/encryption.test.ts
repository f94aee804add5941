import { createCipheriv } from "node:crypto";
import fc from "fast-check";
import { SeededRandom } from "../../src/core/random.ts";
import { decrypt, ENCRYPTION_OVERHEAD_BYTES, encrypt } from "../../src/gossip/encryption.ts";
import { deriveGossipKey, Keyring } from "../../src/gossip/keyring.ts";
import { hex, VECTORS } from "../support/gossip-vectors.ts";

const random = new SeededRandom(1);
const key = (fill: number, bytes = 32) => new Uint8Array(bytes).fill(fill);
const nothing = new Uint8Array();
const refusing = (reason: string) => expect.objectContaining({ name: "Refused", reason });

test("the key is derived from the secret by HKDF-SHA256 with a label of its own, and stays what it is", () => {
  // Another key would cut a running cluster in two: this value must never change.
  expect(deriveGossipKey("s3cret").toString("hex")).toBe(
    "44273cd83b19f760eec924f340dd2df1651f9756b34f6355cb3d11e08cd6f9c5",
  );
  expect(deriveGossipKey("s3cret2")).not.toEqual(deriveGossipKey("s3cret"));
});

test.each([0, 15, 17, 31, 33])("a key of %d bytes is no key", (bytes) => {
  expect(() => new Keyring([key(1, bytes)])).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
});

test("no key is no keyring", () => {
  expect(() => new Keyring([])).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
});

test("the first key encrypts, all decrypt: keys can be changed one node after the other", () => {
  const [before, both, after] = [[key(1)], [key(2), key(1)], [key(2)]].map((keys) => new Keyring(keys));
  const sealed = (keyring: Keyring | undefined) => encrypt(keyring as Keyring, Buffer.from("hi"), nothing, random);
  const opened = (keyring: Keyring | undefined, bytes: Uint8Array) =>
    decrypt(keyring as Keyring, bytes, nothing, { acceptVersion0: false }).toString();
  expect(opened(both, sealed(before))).toBe("hi");
  expect(opened(after, sealed(both))).toBe("hi");
  expect(() => opened(before, sealed(both))).toThrow(refusing("key"));
});

test("no nonce is used twice", () => {
  const keyring = new Keyring([key(1)]);
  const nonces = Array.from({ length: 1_000 }, () => encrypt(keyring, nothing, nothing, random).toString("hex", 1, 13));
  expect(new Set(nonces).size).toBe(1_000);
});

test("whatever is changed, nothing is opened", () => {
  const keyring = new Keyring([key(1), key(2, 16)]);
  const changes = fc.tuple(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ maxLength: 20 }), fc.nat(), fc.nat(7));
  fc.assert(
    fc.property(changes, fc.boolean(), ([plain, additional, at, bit], acceptVersion0) => {
      const sealed = encrypt(keyring, plain, additional, random);
      const open = () => decrypt(keyring, sealed, additional, { acceptVersion0: false });
      expect(new Uint8Array(open())).toEqual(plain);
      const index = at % sealed.length;
      sealed[index] = (sealed[index] as number) ^ (1 << bit);
      // The version is not authenticated: see the next tests.
      if (index > 0 || !acceptVersion0) expect(open).toThrow(expect.objectContaining({ name: "Refused" }));
    }),
  );
});

test("a version 1 packet, relabelled as version 0, is refused where version 0 was not asked for", () => {
  const keyring = new Keyring([key(1)]);
  const sealed = encrypt(keyring, Buffer.alloc(64, 2), nothing, random);
  sealed[0] = 0;
  expect(() => decrypt(keyring, sealed, nothing, { acceptVersion0: false })).toThrow(refusing("version"));
});

describe("version 0, asked for", () => {
  const open = (plain: Uint8Array) => {
    const nonce = new Uint8Array(12);
    const cipher = createCipheriv("aes-256-gcm", key(1), nonce);
    const sealed = Buffer.concat([Buffer.alloc(1), nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    return decrypt(new Keyring([key(1)]), sealed, nothing, { acceptVersion0: true }).toString("hex");
  };
  const padded = VECTORS.packets.filter(({ encryption }) => encryption?.version === 0);

  test.each(padded.map((vector) => [vector.name, vector] as const))("%s", (_name, vector) => {
    const message = hex(vector.message);
    const count = 16 - (message.length % 16);
    expect(open(Buffer.concat([message, Buffer.alloc(count, count)]))).toBe(vector.message);
  });

  test.each([
    ["of 0 bytes", `${"7a".repeat(15)}00`],
    ["of 17 bytes", `${"11".repeat(32)}`],
    ["longer than the message", `${"7a".repeat(15)}f5`],
    ["not all of it the same", `${"7a".repeat(14)}0302`],
    ["of no whole block", `${"02".repeat(18)}`],
  ])("padding %s is refused", (_name, plain) => {
    expect(() => open(hex(plain))).toThrow(refusing("padding"));
  });

  test("padding and nothing else is a message of no bytes", () => {
    expect(open(hex("10".repeat(16)))).toBe("");
  });

  test("less than a block is refused before it is looked at", () => {
    const bytes = new Uint8Array(ENCRYPTION_OVERHEAD_BYTES + 15);
    expect(() => decrypt(new Keyring([key(1)]), bytes, nothing, { acceptVersion0: true })).toThrow(refusing("short"));
  });
});
