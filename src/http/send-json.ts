import type { ServerResponse } from "node:http";

/** Answers with JSON, in one write. Headers that were set before go along. */
export function sendJson(res: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  const headers = { "content-type": "application/json; charset=utf-8", "content-length": Buffer.byteLength(body) };
  res.writeHead(status, headers).end(body);
}
