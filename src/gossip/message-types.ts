import { CaskError } from "../core/errors.ts";
import type { NodeState } from "./messages.ts";

/** The first byte of every message and layer. Source: memberlist's net.go (`messageType`). */
export const MESSAGE_TYPE = {
  ping: 0,
  indirectPing: 1,
  ack: 2,
  suspect: 3,
  alive: 4,
  dead: 5,
  pushPull: 6,
  compound: 7,
  user: 8,
  compress: 9,
  /** Streams only: an encrypted packet has no type byte. */
  encrypt: 10,
  nack: 11,
  crc: 12,
  error: 13,
  label: 244,
} as const;

export type MessageTypeName = keyof typeof MESSAGE_TYPE;

const NAMES = new Map(Object.entries(MESSAGE_TYPE).map(([name, type]) => [type as number, name as MessageTypeName]));

/** The type of an encoded message. */
export function typeNameOf(encoded: Uint8Array): MessageTypeName {
  const name = NAMES.get(encoded[0] ?? -1);
  if (!name) throw new CaskError("INTERNAL", "a message without a type that is known");
  return name;
}

/** By number, as a push/pull has them. Source: memberlist's state.go (`NodeStateType`). */
export const NODE_STATES: readonly NodeState[] = ["alive", "suspect", "dead", "left"];
