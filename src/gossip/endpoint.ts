import { isIP } from "node:net";
import type { Endpoint } from "./messages.ts";

const MAPPED_PREFIX_BYTES = 12;

/** "127.0.0.1:7946", "[::1]:7946". An IPv4 address in 16 bytes shows as IPv4. */
export function formatEndpoint({ addr, port }: Endpoint): string {
  const host = hostOf(addr);
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The address as text, as sockets take it; "" for anything but 4 or 16 bytes. */
export function hostOf(addr: Uint8Array): string {
  if (addr.length === 4) return addr.join(".");
  if (addr.length !== 16) return "";
  if (isMapped(addr)) return addr.subarray(MAPPED_PREFIX_BYTES).join(".");
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((addr[2 * i] as number) << 8) | (addr[2 * i + 1] as number)).toString(16),
  );
  return groups.join(":");
}

/** 4 bytes for IPv4 (also when it is written as `::ffff:1.2.3.4`), 16 for IPv6. Null for what is no IP address. */
export function addrOf(ip: string): Uint8Array | null {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  const text = mapped ?? ip.replace(/%.*$/, ""); // without the zone of a link-local address
  if (isIP(text) === 4) return Uint8Array.from(text.split(".").map(Number));
  return isIP(text) === 6 ? ipv6(text) : null;
}

/** Are they the same host and port, in whichever form each is written? */
export function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  if (a.port !== b.port) return false;
  const sameForm = a.addr.length === b.addr.length;
  return sameForm ? a.addr.every((byte, i) => byte === b.addr[i]) : hostOf(a.addr) === hostOf(b.addr);
}

function ipv6(text: string): Uint8Array {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const hex = (high: string | undefined, low: string | undefined) => ((Number(high) << 8) | Number(low)).toString(16);
  const plain = dotted ? `${dotted[1]}${hex(dotted[2], dotted[3])}:${hex(dotted[4], dotted[5])}` : text;
  const [left = "", right] = plain.split("::");
  const groups = (part: string | undefined) => (part ? part.split(":") : []);
  const missing = 8 - groups(left).length - groups(right).length;
  const all = [...groups(left), ...Array<string>(right === undefined ? 0 : missing).fill("0"), ...groups(right)];
  return Uint8Array.from(
    all.flatMap((group) => {
      const value = Number.parseInt(group, 16);
      return [value >> 8, value & 0xff];
    }),
  );
}

function isMapped(addr: Uint8Array): boolean {
  return addr.subarray(0, MAPPED_PREFIX_BYTES).every((byte, i) => byte === (i < 10 ? 0 : 0xff));
}
