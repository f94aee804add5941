import type { Key } from "../core/key.ts";

/** More than a request of these headers takes; what is longer is looked at by node:http alone. */
export const PLAIN_HEAD_MAX_BYTES = 2048;

/**
 * Headers that change nothing about the answer to a fetch, nor about where the request ends. Anything else, and any of these in another spelling than `name: value`,
 * is for node:http to understand.
 */
const HARMLESS = [
  "user-agent",
  "accept(?:-encoding|-language|-charset)?",
  "cache-control",
  "pragma",
  "referer",
  "dnt",
  "priority",
  "via",
  "traceparent",
  "tracestate",
  "baggage",
  "b3",
  "forwarded",
  "x-(?:forwarded-(?:for|host|port|proto|server)|real-ip|request-id|correlation-id|b3-[a-z]+)",
  "sec-(?:fetch-[a-z]+|gpc|ch-ua(?:-[a-z]+)*)",
].join("|");
const VALUE = "[\\x20-\\x7e]*\\r\\n";
const OTHERS = `(?:(?:connection: ?keep-alive\\r\\n)|(?:${HARMLESS}): ${VALUE})*`;

/** What it takes to be such a request: in this case, as methods and paths have one. */
const REQUEST_LINE = /^GET \/file\/(sha1:[0-9a-f]{40})\/? HTTP\/1\.1\r\n/;
/** One host, and the end of the text behind the blank line. */
const HEADERS = new RegExp(`${OTHERS}host: ${VALUE}${OTHERS}\\r\\n$`, "iy");

/** The key that a request asks for which is no more than that: not conditional, not for a part, without a body. Null: node:http is to read it. */
export function plainFetch(request: string): Key | null {
  const line = REQUEST_LINE.exec(request);
  if (!line) return null;
  HEADERS.lastIndex = line[0].length;
  return HEADERS.test(request) ? (line[1] as Key) : null;
}

/** Lines of which the last one, and no other, is blank. A line ends in one way here, which all parsers take for its end. */
const ONE_HEAD = /^(?:[^\r\n]+\r\n)+\r\n$/;

/** Is there one place alone where the head of a request can end, and is it the end of the text? */
export function endsWhereAHeadEnds(text: string): boolean {
  return ONE_HEAD.test(text);
}
