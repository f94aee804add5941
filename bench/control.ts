/**
 * The control: the plainest node:http server there is. Answers GET of the files in a folder from memory with one write, and reads the body of
 * a POST and throws it away. `node bench/control.ts FOLDER` prints its port.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

const folder = process.argv[2] as string;
const files = new Map<string, Buffer>();
for (const name of readdirSync(folder)) files.set(`/${name}`, readFileSync(join(folder, name)));

const server = createServer((req, res) => {
  if (req.method === "POST") {
    req.resume().on("end", () => res.writeHead(200, { "content-length": 2 }).end("ok"));
    return;
  }
  const bytes = files.get(req.url as string);
  if (bytes) res.writeHead(200, { "content-length": bytes.length, "content-type": "application/octet" }).end(bytes);
  else res.writeHead(404).end();
});
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
