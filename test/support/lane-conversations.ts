import type { Key } from "../../src/core/key.ts";
import type { Random } from "../../src/core/random.ts";
import { fetchOf } from "./lane-server.ts";

/** Requests of one client, in pieces, as chance has it. */
export interface Conversation {
  /** `turnsCount`: so long the client waits before it sends the next. */
  readonly pieces: ReadonlyArray<{ readonly text: string; readonly turnsCount: number }>;
  /** To be sent when all is answered: it makes the server close the connection. */
  readonly last: string;
  readonly answersCount: number;
  /** Plain fetches among the requests, of blobs that are there. */
  readonly fetchesCount: number;
}

export interface Keys {
  readonly atHand: readonly Key[];
  readonly onDisk: readonly Key[];
  readonly absent: readonly Key[];
}

/** Parts between which a cut is likely. */
type Parts = readonly string[];

const LASTS = [
  "GET /end HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
  "nonsense\r\n\r\n",
  "GET / HTTP/9.9\r\nhost: x\r\n\r\n",
  "GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n",
  "GET / HTTP/1.1\r\nx-a: b\r\n\r\n",
  "GET / HTTP/1.1\r\nhost : x\r\n\r\n",
  "GET / HTTP/1.1\r\nhost: x\r\naccept: a,\r\n b\r\n\r\n",
  "GET / HTTP/1.1\r\nhost: x\rrange: a\r\n\r\n",
  "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
  "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
  "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
  "GET / HTTP/1.0\r\nhost: x\r\n\r\n",
];
const TURNS = [0, 0, 0, 1, 2, 4, 12, 12, 12];
const REQUESTS_MAX_COUNT = 24;

export function conversation(random: Random, keys: Keys): Conversation {
  const requests = Array.from({ length: 1 + Math.floor(random.next() * REQUESTS_MAX_COUNT) }, () => {
    // Mostly fetches, or the lane would hardly ever have its turn.
    return random.next() < 0.7 ? { parts: [fetchOf(present(random, keys))], isFetch: true } : other(random, keys);
  });
  const texts = cut(
    random,
    requests.map(({ parts }) => parts),
  );
  return {
    pieces: texts.map((text) => ({ text, turnsCount: pick(random, TURNS) })),
    last: pick(random, LASTS),
    answersCount: requests.length,
    fetchesCount: requests.filter(({ isFetch }) => isFetch).length,
  };
}

/** Mostly between requests, often between their parts, sometimes anywhere. */
function cut(random: Random, requests: readonly Parts[]): string[] {
  const isAnywhere = random.next() < 0.25;
  const pieces: string[] = [];
  let piece = "";
  const end = () => {
    if (piece) pieces.push(piece);
    piece = "";
  };
  for (const parts of requests) {
    if (random.next() < 0.85) end();
    parts.forEach((part, index) => {
      if (index > 0 && random.next() < 0.7) end();
      const at = Math.floor(random.next() * part.length);
      piece += part.slice(0, at);
      if (isAnywhere && random.next() < 0.4) end();
      piece += part.slice(at);
    });
  }
  end();
  return pieces;
}

function other(random: Random, keys: Keys): { readonly parts: Parts; readonly isFetch: boolean } {
  return { parts: pick(random, random.next() < 0.5 ? BODIES : HEADS)(random, keys), isFetch: false };
}

type Make = (random: Random, keys: Keys) => Parts;

/** None that asks for another protocol: node:http, which has none, forgets what comes behind it in the same piece. */
const HEADS: readonly Make[] = [
  (random, keys) => [fetchOf(pick(random, keys.absent))],
  (random, keys) => [fetchOf(present(random, keys)).replace("GET", "HEAD")],
  (random, keys) => [fetchOf(pick(random, keys.absent)).replace("GET", "HEAD")],
  (random, keys) => [fetchOf(present(random, keys), `range: bytes=${Math.floor(random.next() * 400)}-900\r\n`)],
  (random, keys) => {
    const key = present(random, keys);
    return [fetchOf(key, `if-none-match: "${key}"\r\n`)];
  },
  (random, keys) => [fetchOf(present(random, keys), 'if-none-match: "other"\r\n')],
  (random, keys) => [fetchOf(present(random, keys), `x-turns: ${Math.floor(random.next() * 6)}\r\n`)],
  (random, keys) => [
    fetchOf(present(random, keys)).replace("1.1", "1.0").replace("host", "connection: keep-alive\r\nhost"),
  ],
  (random, keys) => ["\r\n", fetchOf(present(random, keys))],
  (random, keys) => [`GET /file/${present(random, keys)}/?a HTTP/1.1\r\nhost: x\r\n\r\n`],
  (random, keys) => ["GET /no HTTP/1.1\r\nhost: x\r\nx-a: ", fetchOf(present(random, keys))],
  (random) => [`OPTIONS * HTTP/1.1\r\nhost: x\r\nx-turns: ${Math.floor(random.next() * 6)}\r\n\r\n`],
  () => ["GET /no HTTP/1.1\r\nhost: x\r\nexpect: wonders\r\n\r\n"],
];

const BODIES: readonly Make[] = [
  (random, keys) => sized("POST / HTTP/1.1", body(random, keys)),
  (random, keys) => sized("POST /early HTTP/1.1", body(random, keys)),
  (random, keys) => sized("POST / HTTP/1.1\r\nexpect: 100-continue", body(random, keys)),
  (random, keys) => sized(`POST / HTTP/1.1\r\nx-turns: ${Math.floor(random.next() * 6)}`, body(random, keys)),
  (random, keys) => sized(`GET /file/${present(random, keys)}/ HTTP/1.1`, body(random, keys)),
  (random, keys) => sized(`HEAD /file/${present(random, keys)}/ HTTP/1.1`, body(random, keys)),
  () => sized("POST / HTTP/1.1", []),
  (random, keys) => chunked("POST / HTTP/1.1", body(random, keys)),
  (random, keys) => chunked("POST /early HTTP/1.1", body(random, keys)),
  (random, keys) => chunked(`GET /file/${present(random, keys)}/ HTTP/1.1`, body(random, keys)),
];

/** Of parts that look like requests, or like the ends of some. */
function body(random: Random, keys: Keys): Parts {
  const parts = [fetchOf(present(random, keys)), fetchOf(pick(random, keys.absent)), "a", "\r\n", "0\r\n\r\n", "GET /"];
  return Array.from({ length: 1 + Math.floor(random.next() * 3) }, () => pick(random, parts));
}

function sized(line: string, parts: Parts): Parts {
  return [`${line}\r\nhost: x\r\ncontent-length: ${parts.join("").length}\r\n\r\n`, ...parts];
}

function chunked(line: string, parts: Parts): Parts {
  const chunks = parts.flatMap((part) => [`${part.length.toString(16)}\r\n`, part, "\r\n"]);
  return [`${line}\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n`, ...chunks, "0\r\n\r\n"];
}

function present(random: Random, { atHand, onDisk }: Keys): Key {
  return pick(random, random.next() < 0.7 ? atHand : onDisk);
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random.next() * from.length)] as T;
}
