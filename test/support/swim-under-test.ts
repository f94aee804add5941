import { SeededRandom } from "../../src/core/random.ts";
import { decodeMessage } from "../../src/gossip/message-decoder.ts";
import { type Alive, type Endpoint, type PacketMessage, type PushNodeState, VSN } from "../../src/gossip/messages.ts";
import { PROFILES } from "../../src/gossip/profile.ts";
import { Swim, type SwimOptions } from "../../src/gossip/swim.ts";
import type { Effect } from "../../src/gossip/swim-contract.ts";

export const at = (last: number, port = 7946): Endpoint => ({ addr: Uint8Array.of(10, 0, 0, last), port });
/** Where a stranger writes from. */
export const STRANGER = at(200, 5_555);

export function newSwim(options: Partial<SwimOptions> = {}): Swim {
  return new Swim({
    name: "me",
    endpoint: at(1),
    meta: new Uint8Array(),
    vsn: VSN,
    profile: PROFILES.lan,
    random: new SeededRandom(1),
    nowMs: 0,
    packetBytes: 1_350,
    ...options,
  });
}

export function aliveFrom(node: string, last: number, incarnation = 1, more: Partial<Alive> = {}): Alive {
  return { type: "alive", node, ...at(last), meta: null, vsn: VSN, incarnation, ...more };
}

export function entry(name: string, last: number, more: Partial<PushNodeState> = {}): PushNodeState {
  return { name, ...at(last), meta: null, vsn: VSN, incarnation: 1, state: "alive", ...more };
}

/** A node that knows `b`, `c`, … at 10.0.0.2, .3, … and has nothing more to say of them. */
export function swimWith(names: readonly string[], options: Partial<SwimOptions> = {}): Swim {
  const swim = newSwim(options);
  names.forEach((name, i) => void swim.received(aliveFrom(name, i + 2), at(i + 2), 0));
  return swim;
}

export interface SentMessage {
  readonly to: number;
  readonly message: PacketMessage;
}

export const sent = (effects: readonly Effect[]): SentMessage[] =>
  effects.flatMap((effect) =>
    effect.do === "packet"
      ? effect.parts.map((part) => ({ to: effect.to.addr.at(-1) ?? 0, message: decodeMessage(part) }))
      : [],
  );

/** `joined b`, `dead c`, … */
export const told = (effects: readonly Effect[]): string[] =>
  effects.flatMap((effect) =>
    effect.do === "tell"
      ? [`${effect.event.kind} ${effect.event.kind === "forgotten" ? effect.event.name : effect.event.member.name}`]
      : [],
  );

/** Ticks whatever falls due until then, and collects what is to be done. */
export function runTo(swim: Swim, untilMs: number, answer: (effect: Effect, nowMs: number) => void = () => undefined) {
  const all: (Effect & { readonly atMs: number })[] = [];
  for (let nowMs = swim.nextDueMs(); nowMs <= untilMs; nowMs = swim.nextDueMs())
    for (const effect of swim.tick(nowMs)) {
      all.push({ ...effect, atMs: nowMs });
      answer(effect, nowMs);
    }
  return all;
}

/** Answers every ping that goes to one of these, at once. */
export function answering(swim: Swim, lasts: readonly number[]) {
  return (effect: Effect, nowMs: number) => {
    if (effect.do !== "packet" || !lasts.includes(effect.to.addr.at(-1) ?? 0)) return;
    for (const { message } of sent([effect]))
      if (message.type === "ping")
        swim.received({ type: "ack", seqNo: message.seqNo, payload: null }, effect.to, nowMs);
  };
}
