import { once } from "node:events";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { formatEndpoint } from "../../src/gossip/endpoint.ts";
import type { Endpoint } from "../../src/gossip/messages.ts";
import { isRefusedConnection, NetTransport } from "../../src/gossip/net-transport.ts";
import type { GossipStream } from "../../src/gossip/transport.ts";
import { collect } from "../support/store-blob.ts";

const started: NetTransport[] = [];
afterEach(() => Promise.all(started.splice(0).map((transport) => transport.stop())));
const never = new AbortController().signal;

async function listen(host = "127.0.0.1", onStream: (stream: GossipStream) => void = (stream) => stream.destroy()) {
  const transport = new NetTransport({ host, port: 0 });
  started.push(transport);
  const packets: Array<{ text: string; from: Endpoint }> = [];
  const port = await transport.start({
    packet: (bytes, from) => void packets.push({ text: Buffer.from(bytes).toString(), from }),
    stream: onStream,
  });
  return { transport, packets, endpoint: { addr: Uint8Array.of(127, 0, 0, 1), port } };
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await new Promise((done) => setTimeout(done, 10));
  expect(condition()).toBe(true);
}

test("packets and streams come in on one port, and it is seen from where", async () => {
  const one = await listen();
  const other = await listen("127.0.0.1", (stream) => {
    void collect(stream.chunks).then((bytes) => stream.end(Buffer.from(`got ${bytes}`)));
  });
  one.transport.send(other.endpoint, Buffer.from("a packet"));
  await until(() => other.packets.length > 0);
  expect(other.packets[0]?.text).toBe("a packet");
  expect(formatEndpoint(other.packets[0]?.from as Endpoint)).toBe(formatEndpoint(one.endpoint));
  const stream = await one.transport.dial(other.endpoint, never);
  stream.end(Buffer.from("a stream"));
  expect((await collect(stream.chunks)).toString()).toBe("got a stream");
});

test("who has read one message can still answer, before the other side ends its half", async () => {
  const other = await listen("127.0.0.1", async (stream) => {
    for await (const chunk of stream.chunks) {
      stream.end(Buffer.from(`answer to ${Buffer.from(chunk)}`));
      break;
    }
  });
  const { connect } = await import("node:net");
  const socket = connect(other.endpoint.port, "127.0.0.1");
  socket.write("first"); // and no end
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toBe("answer to first");
  socket.destroy();
});

test("nobody there: PEER_FAILED; an abort ends the connection, before and after it was made", async () => {
  const gone = await listen();
  await gone.transport.stop();
  const one = await listen();
  const refused: unknown = await one.transport.dial(gone.endpoint, never).catch((error) => error);
  expect(refused).toMatchObject({ code: "PEER_FAILED" });
  expect(isRefusedConnection(refused)).toBe(true);
  const held: GossipStream[] = [];
  const other = await listen("127.0.0.1", (stream) => void held.push(stream));
  const controller = new AbortController();
  const stream = await one.transport.dial(other.endpoint, controller.signal);
  const reading = expect(collect(stream.chunks)).rejects.toBeDefined();
  controller.abort(new Error("enough"));
  await reading;
  const aborted: unknown = await one.transport.dial(other.endpoint, controller.signal).catch((error) => error);
  expect([String(aborted), isRefusedConnection(aborted)]).toEqual(["Error: enough", false]);
});

test("a port that is taken is refused, and it is said what to set", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const transport = new NetTransport({ host: "127.0.0.1", port });
  const handlers = { packet: () => undefined, stream: () => undefined };
  await expect(transport.start(handlers)).rejects.toMatchObject({
    code: "BAD_CONFIG",
    message: expect.stringContaining("set CASK_GOSSIP_PORT"),
  });
  server.close();
});

const hasIPv6 = Object.values(networkInterfaces())
  .flat()
  .some((address) => address?.family === "IPv6");
if (!hasIPv6) console.log("net-transport.test: IPv6 is skipped, this machine has none");
(hasIPv6 ? test : test.skip)("bound to all addresses of IPv6, IPv4 goes both ways too", async () => {
  const dual = await listen("::");
  const four = await listen();
  dual.transport.send(four.endpoint, Buffer.from("to IPv4"));
  four.transport.send(dual.endpoint, Buffer.from("from IPv4"));
  await until(() => four.packets.length > 0 && dual.packets.length > 0);
  expect([four.packets[0]?.text, dual.packets[0]?.text]).toEqual(["to IPv4", "from IPv4"]);
  expect(dual.packets[0]?.from.addr).toHaveLength(4);
});
