import fc from "fast-check";
import { encodeMetadata, parseMetadata } from "../../src/cluster/metadata.ts";
import { GOSSIP_METADATA_REST_BYTES } from "../../src/core/limits.ts";
import { announcementOf } from "../support/announcements.ts";

const GIB = 2 ** 30;

test("what a node tells of itself is read as it was", () => {
  const said = announcementOf("a", { free_bytes: 7 * GIB, incomplete: true, writeable: false, points: 128 });
  const read = parseMetadata(encodeMetadata(said, undefined));
  expect(read).toEqual({ announcement: said, secret: undefined });
});

test("free space is told coarsely, unknown stays unknown", () => {
  const told = (free_bytes: number | null) =>
    parseMetadata(encodeMetadata(announcementOf("a", { free_bytes }), undefined))?.announcement.free_bytes;
  expect([told(7.9 * GIB), told(0), told(null)]).toEqual([7 * GIB, 0, null]);
});

test("C40: the secret is in it only where Go nodes must read it", () => {
  expect(encodeMetadata(announcementOf("a"), undefined).toString()).not.toContain("secret");
  expect(parseMetadata(encodeMetadata(announcementOf("a"), "in clear"))?.secret).toBe("in clear");
});

test("a Go node's is understood: 16 points, and one copy that it promises", () => {
  const theirs = '{"uuid":"u","base_url":"http://h:1","writeable":true,"secret":"s","neighbors":null}';
  expect(parseMetadata(Buffer.from(theirs))).toMatchObject({
    secret: "s",
    announcement: { uuid: "u", base_url: "http://h:1", writeable: true, points: 16, replication: 1, start_nonce: "" },
  });
});

test.each([
  "",
  "x",
  "null",
  "[]",
  "{}",
  '{"uuid":1}',
  '{"uuid":"u","base_url":"ftp://h"}',
  '{"uuid":"u","base_url":"http://h","p":-1}',
])("%s is no cask node's", (text) => {
  expect(parseMetadata(Buffer.from(text))).toBeNull();
});

test("any bytes are read or refused, never an exception", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => parseMetadata(bytes) !== undefined));
});

describe("C28: 512 bytes", () => {
  test("more are refused, and it is said what is too long", () => {
    const long = announcementOf("a", { base_url: `http://${"x".repeat(240)}` });
    expect(() => encodeMetadata(long, "s".repeat(256))).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringContaining("CASK_CLUSTER_SECRET") }),
    );
  });

  test("what is neither UUID, URL nor secret never takes more than the settings are checked with", () => {
    const most = announcementOf("", {
      base_url: "",
      version: "999.999.999-beta.99",
      store: "f".repeat(32),
      start_nonce: "f".repeat(16),
      started_ms: 9_999_999_999_999,
      incomplete: false,
      joined: false,
      writeable: false,
      replication: 1_000,
      max_replication: 1_000,
      points: 4_096,
      free_bytes: 2 ** 60,
    });
    const rest = encodeMetadata(most, "").length - JSON.stringify(["", "", ""]).length;
    expect(rest).toBeLessThanOrEqual(GOSSIP_METADATA_REST_BYTES);
  });
});
