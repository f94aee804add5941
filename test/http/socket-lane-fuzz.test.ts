import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { type Key, keyOfBytes } from "../../src/core/key.ts";
import { SeededRandom, SystemRandom } from "../../src/core/random.ts";
import { type Conversation, conversation, type Keys } from "../support/lane-conversations.ts";
import { LaneServer } from "../support/lane-server.ts";
import { RawClient, withoutDates } from "../support/raw-client.ts";

/** `SEED=n npx jest test/http/socket-lane-fuzz` replays a run. */
const seed = Number(process.env["SEED"] ?? Math.floor(new SystemRandom().next() * 2 ** 32));
const CONVERSATIONS_COUNT = 600;
const AT_ONCE_COUNT = 10;
const PATIENCE_MS = 8_000;

const IN_MEMORY = [0, 1, 300, 5_000, 40_000].map((size) => Buffer.alloc(size, `${size} `));
/** The handler and the lane take a while for these. */
const ON_DISK = [10, 3_000, 20_000].map((size) => Buffer.alloc(size, `-${size}`));
const KEYS: Keys = {
  atHand: IN_MEMORY.map(keyOfBytes),
  onDisk: ON_DISK.map(keyOfBytes),
  absent: [keyOfBytes(Buffer.from("nobody has this"))],
};
const DISK = new Map<Key, Buffer>(ON_DISK.map((bytes) => [keyOfBytes(bytes), bytes]));

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Bodies come back by their keys, and blobs from memory or, after a while, from a disk. */
async function serving(hasLane: boolean): Promise<LaneServer> {
  const answer = async (req: IncomingMessage, res: ServerResponse) => {
    await turns(Number(req.headers["x-turns"] ?? 0));
    if (req.url === "/early") return res.end("early\n");
    if (req.method === "POST") return res.end(`${keyOfBytes(Buffer.concat(await req.toArray()))}\n`);
    const key = req.url?.split("/")[2] as Key;
    if (DISK.has(key)) await turns(2);
    return disk.has(key) ? onDisk.answer(req, res) : lane.answer(req, res);
  };
  // A client that has gone needs no answer.
  const handler: RequestListener = (req, res) => void answer(req, res).catch(() => res.destroy());
  const lane = new LaneServer({ hasLane, handler });
  const [disk, onDisk] = [DISK, new LaneServer({ hasLane: false })];
  for (const bytes of IN_MEMORY) lane.add(bytes);
  for (const bytes of ON_DISK) onDisk.add(bytes);
  lane.read = async (key) => {
    await turns(1 + (key.charCodeAt(7) % 3));
    return disk.get(key) ?? null;
  };
  return lane.start();
}

/** Everything that the server says. */
async function hold(server: LaneServer, { pieces, last, answersCount }: Conversation): Promise<string> {
  const client = await RawClient.at(server.port);
  while (!server.endOf(client)) await turns(1);
  for (const { text, turnsCount } of pieces) {
    await server.sendPiece(client, text);
    await turns(turnsCount);
  }
  const isOver = async () => {
    const deadline = performance.now() + PATIENCE_MS;
    while (performance.now() < deadline && !client.socket.destroyed) {
      if ((client.received.toString("latin1").match(/HTTP\/1\.1 (?!100)/g)?.length ?? 0) >= answersCount) return;
      await turns(1);
    }
  };
  await isOver(); // an answer that is on its way is not sent any more when something is no HTTP
  await server.sendPiece(client, last);
  const how = await Promise.race([client.closed.then(() => "closed"), sleep(PATIENCE_MS, "open", { ref: false })]);
  client.socket.destroy();
  return `${withoutDates(client.received.toString("latin1"))}[${how}]`;
}

test(`${CONVERSATIONS_COUNT} conversations, cut anywhere: a server with a lane says what one without it says`, async () => {
  const [withLane, without] = [await serving(true), await serving(false)];
  let fetchesCount = 0;
  const holdBoth = async (index: number) => {
    const held = conversation(new SeededRandom(seed + index * 0x9e3779b1), KEYS);
    fetchesCount += held.fetchesCount;
    const [said, expected] = await Promise.all([hold(withLane, held), hold(without, held)]);
    if (said === expected) return;
    throw new Error(
      `seed ${seed}, conversation ${index}:\n${JSON.stringify([...held.pieces, held.last], null, 1)}\nwithout the lane: ${brief(expected)}\nwith it: ${brief(said)}`,
    );
  };
  try {
    for (let i = 0; i < CONVERSATIONS_COUNT; i += AT_ONCE_COUNT)
      await Promise.all(Array.from({ length: AT_ONCE_COUNT }, (_, j) => holdBoth(i + j)));
    // Each request once, by one of the two.
    const { length: answeredCount } = withLane.answered;
    expect({ seed, count: withLane.handled.length + answeredCount }).toEqual({ seed, count: without.handled.length });
    expect([...new Set(withLane.answered)]).toEqual(["200"]);
    expect(answeredCount).toBeGreaterThan(fetchesCount / 5);
  } finally {
    await Promise.all([withLane.stop(), without.stop()]);
  }
});

/** Without bytes of blobs. */
function brief(said: string): string {
  return said.replace(/(-?\d+ ?)\1{20,}/g, "…").slice(-4_000);
}
