import { GOSSIP_LAG_MIN_MS } from "../../src/core/limits.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { decodeMessage } from "../../src/gossip/message-decoder.ts";
import { type Endpoint, type PacketMessage, type PushPull, VSN } from "../../src/gossip/messages.ts";
import { PROFILES, type Profile, type ProfileName } from "../../src/gossip/profile.ts";
import { Swim } from "../../src/gossip/swim.ts";
import type { Effect, MemberEvent, StreamPingOutcome } from "../../src/gossip/swim-contract.ts";
import { TimedQueue } from "./timed-queue.ts";

export interface SimulatorOptions {
  /** Everything by chance follows from it. */
  readonly seed: number;
  readonly profile: ProfileName;
  /** Of packets, one way; of TCP segments too, which are then sent again later. */
  readonly loss?: number;
  readonly udpBlocked?: boolean;
  /** Nodes that are down refuse connections, as a machine does whose process ended; otherwise nothing comes back. */
  readonly refusing?: boolean;
}

export interface SimulatedNode {
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly swim: Swim;
  state: "up" | "paused" | "down";
  /** What came while it was paused. */
  readonly held: (() => void)[];
  /** When its timer is set for. */
  timerMs: number;
  packets: number;
  streams: number;
}

export interface Seen {
  readonly atMs: number;
  readonly by: string;
  readonly event: MemberEvent;
}

const DELAY_MIN_MS = 0.2;
const DELAY_MAX_MS = 2;
/** After so long a lost segment is sent again: both of the handshake, then question and answer. */
const TCP_RETRANSMITS_MS = [1_000, 1_000, 200, 200];
const JOIN_RETRY_MS = 500;
const PACKET_BYTES = 1_350;
/** While a node that was met is not alive in its view, a node with seeds exchanges with one every so often, as gossip.ts does. */
const SEEDS_EVERY_MS = 10_000;

/**
 * Many nodes in one process, on a clock and a network that are simulated: production code of the state machine and of the messages' encoding,
 * with transport and timers replaced. The same seed gives the same run.
 */
export class GossipSimulator {
  nowMs = 0;
  readonly seen: Seen[] = [];
  readonly nodes: SimulatedNode[] = [];
  loss: number;
  udpBlocked: boolean;
  private readonly refusing: boolean;
  private readonly profile: Profile;
  private readonly random: SeededRandom;
  private readonly queue = new TimedQueue();
  private readonly byAddress = new Map<number, SimulatedNode>();
  /** News is sent again and again, each time as the same bytes. */
  private readonly decoded = new WeakMap<Uint8Array, PacketMessage>();
  private cut: (from: SimulatedNode, to: SimulatedNode) => boolean = () => false;

  constructor({ seed, profile, loss = 0, udpBlocked = false, refusing = false }: SimulatorOptions) {
    this.random = new SeededRandom(seed);
    this.profile = PROFILES[profile];
    this.loss = loss;
    this.udpBlocked = udpBlocked;
    this.refusing = refusing;
  }

  /** A node that runs and knows nobody. One of the same name may have run before. */
  add(name = `node-${this.nodes.length}`, endpoint = this.newEndpoint(), incarnation = 1): SimulatedNode {
    const swim = new Swim({
      name,
      endpoint,
      meta: new TextEncoder().encode(JSON.stringify({ uuid: name })),
      vsn: VSN,
      profile: this.profile,
      random: new SeededRandom(Math.floor(this.random.next() * 2 ** 32)),
      nowMs: this.nowMs,
      packetBytes: PACKET_BYTES,
      incarnation,
    });
    const node: SimulatedNode = {
      name,
      endpoint,
      swim,
      state: "up",
      held: [],
      timerMs: Number.POSITIVE_INFINITY,
      packets: 0,
      streams: 0,
    };
    this.nodes.push(node);
    this.byAddress.set(numberOf(endpoint), node);
    this.setTimer(node);
    return node;
  }

  addMany(count: number): SimulatedNode[] {
    return Array.from({ length: count }, () => this.add());
  }

  /** Again until it worked, as gossip.ts does. */
  join(node: SimulatedNode, seed: SimulatedNode): void {
    this.exchange(node, seed.endpoint, true);
    this.queue.add(this.nowMs + this.profile.tcpTimeoutMs + JOIN_RETRY_MS, () => {
      if (node.state === "up" && node.swim.members().length === 1) this.join(node, seed);
    });
  }

  /** A cluster in which everybody knows everybody, without the history of its making. */
  ready(count: number): SimulatedNode[] {
    const nodes = this.addMany(count);
    const all = nodes.flatMap((node) => node.swim.localState().slice(0, 1));
    for (const { swim } of nodes)
      swim.merge({ type: "pushPull", join: true, nodes: all, userState: new Uint8Array() }, this.nowMs);
    for (const node of nodes) this.setTimer(node);
    return nodes;
  }

  /** Keeps calling on these nodes while one of them is not alive in `node`'s view. */
  keepSeeds(node: SimulatedNode, seeds: readonly SimulatedNode[]): void {
    this.queue.add(this.nowMs + SEEDS_EVERY_MS * (0.5 + this.random.next() / 2), () => {
      if (node.state === "down") return;
      const missing = seeds.filter((seed) => seed !== node && node.swim.member(seed.name)?.state !== "alive");
      const chosen = missing[Math.floor(this.random.next() * missing.length)];
      if (chosen && node.state === "up") this.exchange(node, chosen.endpoint, true);
      this.keepSeeds(node, seeds);
    });
  }

  kill(node: SimulatedNode): void {
    node.state = "down";
  }

  pause(node: SimulatedNode): void {
    node.state = "paused";
  }

  /** The timer fires first, too late; then comes what was held. */
  resume(node: SimulatedNode): void {
    node.state = "up";
    this.timerFires(node);
    for (const arrive of node.held.splice(0)) arrive();
  }

  leave(node: SimulatedNode): void {
    this.carryOut(node, node.swim.leave(this.nowMs));
  }

  /** Nothing goes from one to the other where this says so. */
  setCut(cut: (from: SimulatedNode, to: SimulatedNode) => boolean): void {
    this.cut = cut;
  }

  /** Nodes of different groups hear nothing of each other. */
  partition(...groups: SimulatedNode[][]): void {
    this.setCut((from, to) => groups.some((group) => group.includes(from) !== group.includes(to)));
  }

  heal(): void {
    this.setCut(() => false);
  }

  run(ms: number): void {
    const untilMs = this.nowMs + ms;
    while (this.queue.nextMs <= untilMs) this.step();
    this.nowMs = untilMs;
  }

  /** Runs until it is so, and says after how many milliseconds; infinite when it is not within `maxMs`. */
  runUntil(isSo: () => boolean, maxMs: number): number {
    const beganMs = this.nowMs;
    let lookMs = beganMs;
    while (this.nowMs - beganMs <= maxMs) {
      if (this.nowMs >= lookMs) {
        if (isSo()) return this.nowMs - beganMs;
        lookMs = this.nowMs + 10;
      }
      if (this.queue.nextMs > lookMs) this.nowMs = lookMs;
      else this.step();
    }
    return Number.POSITIVE_INFINITY;
  }

  /** Do all that run and are not paused see exactly these alive? */
  agreeOn(alive: readonly SimulatedNode[]): boolean {
    const names = alive.map((node) => node.name);
    const running = alive.filter(({ state }) => state === "up");
    return running.every(({ swim }) => {
      let count = 0;
      for (const { state } of swim.members()) if (state === "alive") count++;
      return count === names.length && names.every((name) => swim.member(name)?.state === "alive");
    });
  }

  private step(): void {
    const { atMs, then } = this.queue.take();
    this.nowMs = Math.max(this.nowMs, atMs);
    then();
  }

  private newEndpoint(): Endpoint {
    const i = this.nodes.length + 1;
    return { addr: Uint8Array.of(10, 0, i >> 8, i & 0xff), port: 7946 };
  }

  private setTimer(node: SimulatedNode): void {
    const dueMs = Math.max(this.nowMs, node.swim.nextDueMs());
    if (node.state !== "up" || dueMs >= node.timerMs || !Number.isFinite(dueMs)) return;
    node.timerMs = dueMs;
    this.queue.add(dueMs, () => {
      if (node.timerMs !== dueMs || node.state !== "up") return;
      this.timerFires(node);
    });
  }

  private timerFires(node: SimulatedNode): void {
    const dueMs = node.swim.nextDueMs();
    node.timerMs = Number.POSITIVE_INFINITY;
    const lateMs = this.nowMs - dueMs;
    if (lateMs >= GOSSIP_LAG_MIN_MS) node.swim.lagged(lateMs, this.nowMs);
    this.carryOut(node, dueMs <= this.nowMs ? node.swim.tick(this.nowMs) : []);
  }

  private carryOut(node: SimulatedNode, effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.do === "packet") this.packet(node, effect.to, effect.parts);
      else if (effect.do === "streamPing") this.streamPing(node, effect);
      else if (effect.do === "pushPull") this.exchange(node, effect.to, effect.join);
      else if (effect.do === "tell") this.seen.push({ atMs: this.nowMs, by: node.name, event: effect.event });
    }
    this.setTimer(node);
  }

  private packet(from: SimulatedNode, address: Endpoint, parts: readonly Uint8Array[]): void {
    from.packets++;
    const to = this.byAddress.get(numberOf(address));
    if (!to || this.udpBlocked || this.cut(from, to) || this.random.next() < this.loss) return;
    this.arrive(to, this.delayMs(), () => {
      for (const part of parts) this.carryOut(to, to.swim.received(this.messageOf(part), from.endpoint, this.nowMs));
    });
  }

  private messageOf(part: Uint8Array): PacketMessage {
    const known = this.decoded.get(part);
    if (known) return known;
    const message = decodeMessage(part);
    this.decoded.set(part, message);
    return message;
  }

  private streamPing(from: SimulatedNode, effect: Extract<Effect, { do: "streamPing" }>): void {
    from.streams++;
    const deadlineMs = this.nowMs + effect.timeoutMs;
    let open = true;
    const finish = (outcome: StreamPingOutcome) => {
      if (!open) return;
      open = false;
      this.carryOut(from, from.swim.streamPinged(effect.seqNo, outcome, this.nowMs));
    };
    this.queue.add(deadlineMs, () => this.whenUp(from, () => finish("silent")));
    const refuser = this.refusing ? this.byAddress.get(numberOf(effect.to)) : undefined;
    if (refuser?.state === "down" && !this.cut(from, refuser) && !this.cut(refuser, from))
      this.arrive(from, 2 * this.delayMs(), () => finish("refused"));
    this.overTcp(from, effect.to, (to) => {
      if (this.cut(to, from)) return;
      this.arrive(from, this.delayMs(), () => finish("answered"));
    });
  }

  private exchange(from: SimulatedNode, address: Endpoint, join: boolean): void {
    from.streams++;
    const deadlineMs = this.nowMs + this.profile.tcpTimeoutMs;
    const message = stateOf(from, join);
    this.overTcp(from, address, (to) => {
      if (this.cut(to, from) || this.nowMs > deadlineMs) return;
      const answer = stateOf(to, false);
      this.carryOut(to, to.swim.merge(message, this.nowMs));
      this.arrive(from, this.delayMs(), () => this.carryOut(from, from.swim.merge(answer, this.nowMs)));
    });
  }

  /** A question arrives over TCP, later for every segment that is lost on the way. */
  private overTcp(from: SimulatedNode, address: Endpoint, arrived: (to: SimulatedNode) => void): void {
    const to = this.byAddress.get(numberOf(address));
    if (!to || this.cut(from, to) || this.cut(to, from)) return;
    let delayMs = this.delayMs() + this.delayMs();
    for (const ms of TCP_RETRANSMITS_MS) while (this.random.next() < this.loss) delayMs += ms;
    this.arrive(to, delayMs, () => arrived(to));
  }

  private arrive(to: SimulatedNode, delayMs: number, then: () => void): void {
    this.queue.add(this.nowMs + delayMs, () => this.whenUp(to, then));
  }

  private whenUp(node: SimulatedNode, then: () => void): void {
    if (node.state === "up") then();
    else if (node.state === "paused") node.held.push(then);
  }

  private delayMs(): number {
    return DELAY_MIN_MS + this.random.next() * (DELAY_MAX_MS - DELAY_MIN_MS);
  }
}

/** Of the addresses that `newEndpoint` gives. */
function numberOf({ addr, port }: Endpoint): number {
  return (((addr[2] as number) << 8) | (addr[3] as number)) * 65_536 + port;
}

function stateOf(node: SimulatedNode, join: boolean): PushPull {
  return { type: "pushPull", join, nodes: node.swim.localState(), userState: new Uint8Array() };
}
