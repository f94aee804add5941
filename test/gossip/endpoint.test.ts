import fc from "fast-check";
import { addrOf, formatEndpoint, hostOf, sameEndpoint } from "../../src/gossip/endpoint.ts";
import { at } from "../support/swim-under-test.ts";

test.each([
  ["127.0.0.1", [127, 0, 0, 1]],
  ["::ffff:10.1.2.3", [10, 1, 2, 3]],
  ["::1", [...Array(15).fill(0), 1]],
  ["::", Array(16).fill(0)],
  ["2001:db8::8:1", [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1]],
  ["fe80::1%eth0", [0xfe, 0x80, ...Array(13).fill(0), 1]],
  ["64:ff9b::192.0.2.33", [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 33]],
])("%s as bytes", (text, bytes) => {
  expect([...(addrOf(text) ?? [])]).toEqual(bytes);
});

test.each(["", "host", "1.2.3", "1.2.3.4.5", "256.1.1.1", ":::", "127.0.0.1:80"])('"%s" is no address', (text) => {
  expect(addrOf(text)).toBeNull();
});

test("an IPv4 address in 16 bytes, as nodes bound to all interfaces announce it, is the same endpoint", () => {
  const long = { addr: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 1, 2, 3), port: 7946 };
  expect(formatEndpoint(long)).toBe("10.1.2.3:7946");
  expect(sameEndpoint(long, { addr: Uint8Array.of(10, 1, 2, 3), port: 7946 })).toBe(true);
  expect(sameEndpoint(long, { addr: Uint8Array.of(10, 1, 2, 3), port: 7947 })).toBe(false);
  for (const last of [3, 4])
    expect(sameEndpoint(at(3), { addr: new Uint8Array(at(last).addr), port: 7946 })).toBe(last === 3);
  expect(formatEndpoint({ addr: Uint8Array.of(...Array(15).fill(0), 1), port: 1 })).toBe("[0:0:0:0:0:0:0:1]:1");
});

test("bytes of another length are no host", () => {
  for (const length of [0, 3, 5, 15, 17]) expect(hostOf(new Uint8Array(length))).toBe("");
});

test("there and back", () => {
  const addresses = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  fc.assert(fc.property(addresses, (addr) => hostOf(addrOf(hostOf(addr)) ?? new Uint8Array()) === hostOf(addr)));
});
