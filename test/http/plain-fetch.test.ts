import { endsWhereAHeadEnds, PLAIN_HEAD_MAX_BYTES, plainFetch } from "../../src/http/plain-fetch.ts";

const KEY = `sha1:${"0123456789abcdef0123456789abcdef01234567"}`;
const LINE = `GET /file/${KEY}/ HTTP/1.1`;

/** A request of these lines. */
function head(...lines: string[]): string {
  return [...lines, "", ""].join("\r\n");
}

/** What clients send, to the byte, but for the lines that don't matter. */
const CLIENTS: Record<string, string> = {
  "the shortest": head(LINE, "Host: a"),
  "without the slash at the end": head(`GET /file/${KEY} HTTP/1.1`, "Host: a"),
  wrk: head(LINE, "Host: 127.0.0.1:7070"),
  "wrk with -H": head(LINE, "Host: 127.0.0.1:7070", "Connection: keep-alive"),
  curl: head(LINE, "Host: 127.0.0.1:7070", "User-Agent: curl/8.5.0", "Accept: */*"),
  "fetch of undici": head(
    LINE,
    "host: 127.0.0.1:7070",
    "connection: keep-alive",
    "accept: */*",
    "accept-language: *",
    "sec-fetch-mode: cors",
    "user-agent: node",
    "accept-encoding: gzip, deflate",
  ),
  "request of undici": head(LINE, "host: 127.0.0.1:7070", "connection: keep-alive"),
  "node:http": head(LINE, "Host: 127.0.0.1:7070", "Connection: keep-alive"),
  Go: head(LINE, "Host: node:7070", "User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip"),
  "requests of Python": head(
    LINE,
    "Host: node:7070",
    "User-Agent: python-requests/2.32.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept: */*",
    "Connection: keep-alive",
  ),
  "a browser": head(
    LINE,
    "Host: node:7070",
    "Connection: keep-alive",
    "Cache-Control: no-cache",
    "Pragma: no-cache",
    'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Site: none",
    "Sec-GPC: 1",
    "DNT: 1",
    "Referer: http://node:7070/",
    "Priority: u=0, i",
  ),
  "nginx, with what it tells of the client": head(
    LINE,
    "Host: node",
    "X-Real-IP: 10.0.0.7",
    "X-Forwarded-For: 10.0.0.7, 10.0.0.8",
    "X-Forwarded-Host: files.example",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Server: proxy",
    "X-Request-ID: 4bf92f35",
    "Forwarded: for=10.0.0.7;proto=https",
    "Via: 1.1 proxy",
    "User-Agent: curl/8.5.0",
  ),
  "with what follows it through other programs": head(
    LINE,
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate: a=b",
    "baggage: c=d",
    "b3: 0",
    "X-B3-TraceId: 1",
    "X-Correlation-Id: 2",
    "Host: a",
  ),
  "the host last, header names in any case": head(LINE, "ACCEPT: */*", "hOST: a"),
  "values that are empty or end in blanks": head(LINE, "accept: ", "host:  a  "),
  "a connection: without a blank": head(LINE, "connection:keep-alive", "host: a"),
};

test.each(Object.entries(CLIENTS))("a plain fetch: %s", (_name, text) => {
  expect(plainFetch(text)).toBe(KEY);
  expect(text.length).toBeLessThanOrEqual(PLAIN_HEAD_MAX_BYTES);
  expect(endsWhereAHeadEnds(text)).toBe(true);
});

const WITH = (...lines: string[]) => head(LINE, "host: a", ...lines);

describe("for node:http to read", () => {
  test.each([
    ["another method", head(`HEAD /file/${KEY}/ HTTP/1.1`, "host: a")],
    ["a PUT", head(`PUT /file/${KEY}/ HTTP/1.1`, "host: a")],
    ["a method in lower case", head(`get /file/${KEY}/ HTTP/1.1`, "host: a")],
    ["a method behind a blank", head(` ${LINE}`, "host: a")],
    ["a blank line in front", head("", LINE, "host: a")],
    ["two blanks", head(`GET  /file/${KEY}/ HTTP/1.1`, "host: a")],
    ["a tab in place of a blank", head(`GET\t/file/${KEY}/ HTTP/1.1`, "host: a")],
    ["a blank behind the version", head(`${LINE} `, "host: a")],
    ["HTTP/1.0", head(`GET /file/${KEY}/ HTTP/1.0`, "host: a")],
    ["HTTP/2.0", head(`GET /file/${KEY}/ HTTP/2.0`, "host: a")],
    ["http/1.1", head(`GET /file/${KEY}/ http/1.1`, "host: a")],
    ["a path in upper case", head(`GET /FILE/${KEY}/ HTTP/1.1`, "host: a")],
    ["a path with another case of the algorithm", head(`GET /file/SHA1:${KEY.slice(5)}/ HTTP/1.1`, "host: a")],
    ["an encoded path", head(`GET /file/${KEY.replace(":", "%3A")}/ HTTP/1.1`, "host: a")],
    ["an encoded letter", head(`GET /%66ile/${KEY}/ HTTP/1.1`, "host: a")],
    ["hexadecimal in upper case", head(`GET /file/${KEY.replaceAll("abcdef", "ABCDEF")}/ HTTP/1.1`, "host: a")],
    ["a digit that is none", head(`GET /file/${KEY.slice(0, -1)}g/ HTTP/1.1`, "host: a")],
    ["a digit too few", head(`GET /file/${KEY.slice(0, -1)}/ HTTP/1.1`, "host: a")],
    ["a digit too many", head(`GET /file/${KEY}0/ HTTP/1.1`, "host: a")],
    ["a query", head(`GET /file/${KEY}/?a=1 HTTP/1.1`, "host: a")],
    ["an empty query", head(`GET /file/${KEY}? HTTP/1.1`, "host: a")],
    ["a fragment", head(`GET /file/${KEY}/#a HTTP/1.1`, "host: a")],
    ["the copies", head(`GET /file/${KEY}/copies HTTP/1.1`, "host: a")],
    ["two slashes at the end", head(`GET /file/${KEY}// HTTP/1.1`, "host: a")],
    ["two slashes at the begin", head(`GET //file/${KEY}/ HTTP/1.1`, "host: a")],
    ["dots", head(`GET /file/../file/${KEY}/ HTTP/1.1`, "host: a")],
    ["the whole address", head(`GET http://a/file/${KEY}/ HTTP/1.1`, "host: a")],
    ["the door for nodes", head(`GET /local/${KEY}/ HTTP/1.1`, "host: a")],
    ["nothing", ""],
    ["a line alone", `${LINE}\r\n`],
    ["a line without its end", LINE],
  ])("the request line: %s", (_name, text) => {
    expect(plainFetch(text)).toBeNull();
  });

  test.each([
    "Range: bytes=0-1",
    'If-None-Match: "a"',
    'If-Range: "a"',
    'If-Match: "a"',
    "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
    "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
    "Connection: close",
    "Connection: Close",
    "Connection: keep-alive, upgrade",
    "Connection: keep-alive, close",
    "Connection: upgrade",
    "Connection: keep-alive ",
    "Connection:  keep-alive",
    "Connection: ",
    "Proxy-Connection: close",
    "Keep-Alive: timeout=5",
    "Upgrade: h2c",
    "Upgrade: websocket",
    "HTTP2-Settings: a",
    "Expect: 100-continue",
    "Content-Length: 0",
    "Content-Length: 10",
    "Content-Type: text/plain",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "TE: trailers",
    "Trailer: a",
    "Authorization: Basic YTpi",
    "Cookie: a=b",
    "Origin: http://a",
    "X-Cask-Cluster-Secret: a",
    "X-Cask-Node: a",
    "X-Forwarded-Method: DELETE",
    "X-HTTP-Method-Override: DELETE",
    "Max-Forwards: 0",
    "Accept-Ranges: bytes",
    "X-Anything: a",
    ": a",
  ])("the header %s", (line) => {
    expect(plainFetch(WITH(line))).toBeNull();
    expect(plainFetch(head(LINE, line, "host: a"))).toBeNull();
  });

  test.each([
    ["no host", head(LINE, "accept: */*")],
    ["no headers at all", head(LINE)],
    ["two hosts", head(LINE, "host: a", "host: a")],
    ["two hosts with others between them", head(LINE, "host: a", "accept: */*", "Host: b")],
    ["a folded line", head(LINE, "host: a", "accept: a,", " b")],
    ["a line folded by a tab", head(LINE, "host: a", "accept: a,", "\tb")],
    ["a folded line which looks like a header", head(LINE, "host: a", " accept: b")],
    ["no blank behind the colon", head(LINE, "host:a")],
    ["no blank behind the colon of another header", WITH("accept:*/*")],
    ["a blank before the colon", WITH("accept : */*")],
    ["a blank before the colon of the host", head(LINE, "host : a")],
    ["a tab behind the colon", WITH("accept:\t*/*")],
    ["a tab in a value", WITH("accept: a\tb")],
    ["a line without a colon", WITH("accept")],
    ["line ends without CR", head(LINE, "host: a").replaceAll("\r", "")],
    ["one line end without CR", head(LINE, "host: a", "accept: */*").replace("a\r\n", "a\n")],
    ["one line end without LF", head(LINE, "host: a", "accept: */*").replace("a\r\n", "a\r")],
    ["the last line end without CR", head(LINE, "host: a").replace(/\r\n$/, "\n")],
    ["a request line that ends without CR", head(LINE, "host: a").replace("1.1\r\n", "1.1\n")],
    ["CR in a value", WITH("accept: a\rb")],
    ["CR in front of a line end", WITH("accept: a\r")],
    ["LF in a value, and a header behind it", WITH("accept: a\nRange: bytes=0-1")],
    ["NUL in a value", WITH("accept: a\0b")],
    ["DEL in a value", WITH("accept: a\x7fb")],
    ["a byte over 0x7f in a value", WITH("accept: a\x80b")],
    ["a letter of latin1 in a value", WITH("user-agent: \xe4")],
    ["a separator of lines that Unicode has", WITH("accept: a\u2028b")],
    ["NUL in the host", head(LINE, "host: a\0")],
    ["NUL in a name", WITH("acc\0ept: a")],
    ["a letter that is an s or a k when case is ignored", WITH("u\u017fer-agent: a")],
    ["the beginning of a name", WITH("accept-enc: a")],
    ["more behind a name", WITH("hosts: a")],
    ["the blank line missing", head(LINE, "host: a").slice(0, -2)],
    ["the last byte missing", head(LINE, "host: a").slice(0, -1)],
    ["the last header cut", head(LINE, "host: a", "accept: */*").slice(0, -6)],
    ["a byte behind the blank line", `${WITH()}a`],
    ["a line end behind the blank line", `${WITH()}\r\n`],
    ["another request behind it", WITH() + WITH()],
    ["the same request, behind another one", head("GET / HTTP/1.1", "host: a") + WITH()],
  ])("%s", (_name, text) => {
    expect(plainFetch(text)).toBeNull();
  });
});

test("a request is looked at from its beginning, whatever was looked at before", () => {
  for (let i = 0; i < 3; i++) {
    expect(plainFetch(WITH())).toBe(KEY);
    expect(plainFetch(`${WITH()}a`)).toBeNull();
    expect(plainFetch("")).toBeNull();
  }
});

test("of the bytes of a long head each is looked at", () => {
  const filler = `accept: ${"a".repeat(1_500)}`;
  expect(plainFetch(WITH(filler))).toBe(KEY);
  for (const at of [0, 1, 700, 1_498, 1_499]) {
    const broken = `accept: ${"a".repeat(at)}\x01${"a".repeat(1_499 - at)}`;
    expect(plainFetch(WITH(broken))).toBeNull();
  }
  expect(plainFetch(WITH(filler, "range: bytes=0-1"))).toBeNull();
});

describe("the place where a head ends", () => {
  test.each([
    ["a request", head("GET / HTTP/1.1", "host: a")],
    ["without headers", head("GET / HTTP/1.1")],
    ["whatever a request may be", head("POST /a?b HTTP/1.0", "content-length: 10")],
    ["the rest of one", head("st: a", "accept: b")],
    ["any bytes but line ends", head("\0\xff", " a", "\tb")],
  ])("is the end of the text: %s", (_name, text) => {
    expect(endsWhereAHeadEnds(text)).toBe(true);
  });

  test.each([
    ["nothing", ""],
    ["the blank line alone", "\r\n"],
    ["two of them", "\r\n\r\n"],
    ["a line without the blank one", "GET / HTTP/1.1\r\n"],
    ["no line end", "GET / HTTP/1.1"],
    ["the last byte missing", head("GET / HTTP/1.1", "host: a").slice(0, -1)],
    ["a byte behind it", `${head("GET / HTTP/1.1", "host: a")}a`],
    ["one more line end", `${head("GET / HTTP/1.1", "host: a")}\r\n`],
    ["two requests", head("GET / HTTP/1.1", "host: a").repeat(2)],
    ["the end of one and a second one", `\r\n${head("GET / HTTP/1.1", "host: a")}`],
    ["the last line of a body and a request", `body\r\n\r\n${head("GET / HTTP/1.1", "host: a")}`],
    ["an end without CR within", `GET / HTTP/1.1\r\nhost: a\n\n${head("GET / HTTP/1.1", "host: a")}`],
    ["an end without LF within", `GET / HTTP/1.1\r\nhost: a\r\r${head("GET / HTTP/1.1", "host: a")}`],
    ["a mixed end within", `GET / HTTP/1.1\r\nhost: a\n\r\n${head("GET / HTTP/1.1", "host: a")}`],
    ["the other mixed end within", `GET / HTTP/1.1\r\nhost: a\r\n\n${head("GET / HTTP/1.1", "host: a")}`],
    ["an end without CR", "GET / HTTP/1.1\nhost: a\n\n"],
    ["a last line end without CR", "GET / HTTP/1.1\r\nhost: a\r\n\n"],
  ])("is not, or not for certain: %s", (_name, text) => {
    expect(endsWhereAHeadEnds(text)).toBe(false);
  });
});
