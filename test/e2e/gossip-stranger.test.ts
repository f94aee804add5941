import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeMessage, encodeStreamMessage } from "../../src/gossip/message-encoder.ts";
import { type PacketMessage, type PushPull, VSN } from "../../src/gossip/messages.ts";
import { ProcessCluster, SECRET, type Status, until } from "../support/processes.ts";

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(2, { CASK_REPLICATION: "2" });
});
afterAll(() => cluster.stop());

const gossipPort = (index: number) => Number(cluster.node(index).settings["CASK_GOSSIP_PORT"]);
const membersOf = ({ members, gossip }: Status) => ({ members, names: gossip?.members.map(({ name }) => name).sort() });

function aliveNamed(node: string, incarnation: number): PacketMessage {
  const meta = Buffer.from(JSON.stringify({ uuid: node, base_url: "http://127.0.0.1:1", writeable: true }));
  return { type: "alive", incarnation, node, addr: Uint8Array.of(127, 0, 0, 1), port: 1, meta, vsn: VSN };
}

/** Sends packets from one port; answers what came back to it. */
async function sendPackets(packets: readonly Uint8Array[]): Promise<Buffer[]> {
  const socket = createSocket("udp4");
  const answers: Buffer[] = [];
  socket.on("message", (bytes) => void answers.push(bytes));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  for (const packet of packets) socket.send(packet, gossipPort(0), "127.0.0.1");
  await sleep(500);
  await new Promise<void>((done) => socket.close(() => done()));
  return answers;
}

async function sendStream(bytes: Uint8Array): Promise<Buffer> {
  const socket = connect(gossipPort(0), "127.0.0.1");
  const received: Buffer[] = [];
  socket.on("data", (chunk) => void received.push(chunk)).on("error", () => undefined);
  await once(socket, "connect");
  socket.end(bytes);
  await once(socket, "close");
  return Buffer.concat(received);
}

describe("C40: a stranger without the key", () => {
  test("gets nothing from the port and changes nothing, by packets", async () => {
    const before = membersOf(await cluster.node(0).status());
    const ping: PacketMessage = { type: "ping", seqNo: 1, node: "node0" };
    const forged: PacketMessage[] = [
      ping,
      aliveNamed("stranger", 1),
      aliveNamed("node1", 2 ** 32 - 1),
      { type: "dead", incarnation: 2 ** 32 - 1, node: "node1", from: "node1" },
      { type: "suspect", incarnation: 2 ** 31, node: "node0", from: "node1" },
    ];
    const inventions = Array.from({ length: 2_000 }, (_, i) => encodeMessage(aliveNamed(`invented${i}`, 1)));
    expect(await sendPackets([...forged.map((message) => encodeMessage(message)), ...inventions])).toEqual([]);
    const after = await cluster.node(0).status();
    expect(membersOf(after)).toEqual({ ...before, members: expect.anything() });
    expect(after.members.map(({ uuid, state }) => [uuid, state])).toEqual([["node1", "alive"]]);
    const refused = Object.values(after.gossip?.drops ?? {}).reduce((sum, count) => sum + count, 0);
    expect(refused).toBeGreaterThan(100);
  });

  test("gets nothing by connections, whatever it says", async () => {
    const pushPull: PushPull = { type: "pushPull", join: true, nodes: [], userState: Buffer.alloc(0) };
    for (const bytes of [
      encodeStreamMessage(pushPull),
      encodeStreamMessage({ type: "ping", seqNo: 1, node: "node0" }),
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      Buffer.from([10, 0, 0, 0, 40, 1, ...Array(39).fill(7)]),
      Buffer.alloc(0),
    ]) {
      expect((await sendStream(bytes)).length).toBe(0);
    }
  });

  test("can replay a captured packet, and changes nothing with it", async () => {
    // What a node sends to a neighbor that it takes for one of its own: to us.
    const { packets, streams } = await captureFrom();
    expect(streams.length).toBeGreaterThan(0);
    const before = (await cluster.node(0).status()).gossip?.members.map(({ name }) => name).sort();
    await sendPackets(packets);
    for (const stream of streams) expect((await sendStream(stream)).includes(SECRET)).toBe(false);
    const after = (await cluster.node(0).status()).gossip?.members.map(({ name }) => name).sort();
    expect(after).toEqual(expect.arrayContaining(before ?? []));
    expect((await cluster.node(0).status()).members.find(({ uuid }) => uuid === "node1")?.state).toBe("alive");
    for (const bytes of [...packets, ...streams]) {
      expect(bytes.includes(SECRET)).toBe(false);
      expect(bytes.includes("base_url")).toBe(false);
    }
  });
});

/** Everything that a node of the same secret sends to a port that it was told is a neighbor's. */
async function captureFrom(): Promise<{ packets: Buffer[]; streams: Buffer[] }> {
  const streams: Buffer[] = [];
  const packets: Buffer[] = [];
  const server = createServer((socket) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => void chunks.push(chunk)).on("error", () => undefined);
    socket.on("end", () => {
      streams.push(Buffer.concat(chunks));
      socket.end();
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const udp = createSocket("udp4").on("message", (bytes) => void packets.push(bytes));
  udp.bind(port, "127.0.0.1");
  await once(udp, "listening");
  const lone = await ProcessCluster.prepare(1, {
    CASK_UUID: "lone",
    CASK_CLUSTER_SECRET: SECRET,
    CASK_NEIGHBORS: `127.0.0.1:${port}`,
  });
  lone.node(0).start();
  try {
    await until("it tries to join", async () => streams.length > 0);
  } finally {
    await lone.stop();
    server.close();
    udp.close();
  }
  return { packets, streams };
}
