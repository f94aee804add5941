import { crc32 } from "node:zlib";
import { CaskError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { makeCompound, readCompound } from "./compound.ts";
import { compress, decompress } from "./compression.ts";
import { decrypt, ENCRYPTION_OVERHEAD_BYTES, encrypt } from "./encryption.ts";
import type { Keyring } from "./keyring.ts";
import { expectLabel, labelHeader } from "./label.ts";
import { LzwInflater } from "./lzw-decoder.ts";
import { decodeMessage } from "./message-decoder.ts";
import { MESSAGE_TYPE } from "./message-types.ts";
import { type PacketMessage, Refused } from "./messages.ts";
import {
  PACKET_INFLATED_MAX_BYTES,
  PACKET_MAX_BYTES,
  PACKET_MESSAGES_MAX_COUNT,
  PACKET_NESTING_MAX_COUNT,
} from "./wire-limits.ts";

/** How a cluster speaks: the same for all that its nodes send. */
export interface Wire {
  /** At most 255 bytes; "": none. A packet with another one is refused. */
  readonly label: string;
  /** Null: nothing is encrypted. */
  readonly keyring: Keyring | null;
  readonly compress: boolean;
  /** Also reads the encryption of protocol 1, which says less about who sent it (see encryption.ts). */
  readonly acceptVersion0?: boolean;
}

/** A message as it came, and how long it was: encoded, without the layers around it. */
export interface ReadMessage {
  readonly message: PacketMessage;
  readonly bytes: number;
}

const CRC_HEADER_BYTES = 5;
const COMPOUND_HEADER_BYTES = 2;
const COMPOUND_PART_HEADER_BYTES = 2;

/**
 * One packet with these encoded messages, in memberlist's layers from the inside out: compound (of more than one), compression (if shorter),
 * checksum, encryption, label. `crc`: the receiver is known to understand it.
 */
export function sealPacket(
  wire: Wire,
  parts: readonly Uint8Array[],
  { crc }: { readonly crc: boolean },
  random: Random,
): Buffer {
  const [first] = parts;
  if (!first) throw new CaskError("INTERNAL", "a packet without a message");
  let message: Uint8Array = parts.length === 1 ? first : makeCompound(parts);
  if (wire.compress) message = shorter(compress(message), message);
  if (crc) message = Buffer.concat([crcHeader(message), message]);
  const label = Buffer.from(wire.label);
  if (wire.keyring) message = encrypt(wire.keyring, message, label, random);
  return Buffer.concat([labelHeader(label), message]);
}

/** What comes to the lengths of the parts at most: a sender that fills packets counts with it. */
export function packetOverheadBytes(wire: Wire, partCount: number): number {
  const label = labelHeader(Buffer.from(wire.label)).length;
  const compound = partCount > 1 ? COMPOUND_HEADER_BYTES + partCount * COMPOUND_PART_HEADER_BYTES : 0;
  return label + (wire.keyring ? ENCRYPTION_OVERHEAD_BYTES : 0) + CRC_HEADER_BYTES + compound;
}

/**
 * The messages of a packet, in their order, those of compounds in compounds too. Throws Refused, and nothing else, with one word for why:
 * `label`, `key` (also: not encrypted), `version`, `padding`, `short`, `crc`, `type`, `msgpack`, `text`, `vsn`, `compound`, `lzw`, `limit`.
 * A part of a compound that is refused does not keep the others from being read, as in Go; `onRefusedPart` hears of it.
 * Only `limit` ends everything: then nothing of the packet is read.
 */
export function openPacket(
  wire: Wire,
  bytes: Uint8Array,
  onRefusedPart: (refused: Refused) => void = () => undefined,
): ReadMessage[] {
  if (bytes.length > PACKET_MAX_BYTES) throw new Refused("limit", `a packet of ${bytes.length} bytes`);
  const label = Buffer.from(wire.label);
  const headerBytes = expectLabel(label, bytes, "packet");
  if (headerBytes === null) throw new Refused("label", "cannot decode label; packet has been truncated");
  const opening = new PacketOpening(onRefusedPart);
  opening.read(withoutCrc(decrypted(wire, bytes.subarray(headerBytes), label)), 0);
  return opening.messages;
}

function decrypted(wire: Wire, sealed: Uint8Array, label: Uint8Array): Uint8Array {
  return wire.keyring ? decrypt(wire.keyring, sealed, label, { acceptVersion0: wire.acceptVersion0 ?? false }) : sealed;
}

function withoutCrc(message: Uint8Array): Uint8Array {
  if (message.length < CRC_HEADER_BYTES || message[0] !== MESSAGE_TYPE.crc) return message;
  const body = message.subarray(CRC_HEADER_BYTES);
  if (!crcHeader(body).equals(message.subarray(0, CRC_HEADER_BYTES)))
    throw new Refused("crc", "invalid checksum for UDP packet");
  return body;
}

function crcHeader(message: Uint8Array): Buffer {
  const header = Buffer.alloc(CRC_HEADER_BYTES);
  header[0] = MESSAGE_TYPE.crc;
  header.writeUInt32BE(crc32(message), 1);
  return header;
}

function shorter(one: Uint8Array, other: Uint8Array): Uint8Array {
  return one.length < other.length ? one : other;
}

/** Takes one packet apart, and counts what it costs. */
class PacketOpening {
  readonly messages: ReadMessage[] = [];
  private readonly onRefusedPart: (refused: Refused) => void;
  private inflatedBytes = 0;
  private partsCount = 0;
  private inflater: LzwInflater | undefined;

  constructor(onRefusedPart: (refused: Refused) => void) {
    this.onRefusedPart = onRefusedPart;
  }

  read(message: Uint8Array, depth: number): void {
    if (depth > PACKET_NESTING_MAX_COUNT) throw new Refused("limit", "layers are nested too deep");
    if (message[0] === MESSAGE_TYPE.compound) this.readParts(message.subarray(1), depth + 1);
    else if (message[0] === MESSAGE_TYPE.compress) this.read(this.inflate(message.subarray(1)), depth + 1);
    else this.messages.push({ message: decodeMessage(message), bytes: message.length });
  }

  private readParts(body: Uint8Array, depth: number): void {
    const { parts, missingCount } = readCompound(body);
    this.partsCount += parts.length;
    if (this.partsCount > PACKET_MESSAGES_MAX_COUNT) throw new Refused("limit", "too many messages in a packet");
    for (const part of parts) this.readPart(part, depth);
    if (missingCount > 0) this.onRefusedPart(new Refused("compound", `${missingCount} truncated messages`));
  }

  private readPart(part: Uint8Array, depth: number): void {
    try {
      this.read(part, depth);
    } catch (error) {
      if (!(error instanceof Refused) || error.reason === "limit") throw error;
      this.onRefusedPart(error);
    }
  }

  private inflate(body: Uint8Array): Uint8Array {
    this.inflater ??= new LzwInflater();
    const plain = decompress(body, this.inflater, PACKET_INFLATED_MAX_BYTES - this.inflatedBytes);
    this.inflatedBytes += plain.length;
    return plain;
  }
}
