import type { Random } from "../core/random.ts";
import { ByteQueue } from "./byte-queue.ts";
import { compress } from "./compression.ts";
import { decrypt, ENCRYPTION_OVERHEAD_BYTES, encrypt } from "./encryption.ts";
import { expectLabel, labelHeader } from "./label.ts";
import { encodeStreamMessage } from "./message-encoder.ts";
import { MESSAGE_TYPE } from "./message-types.ts";
import { Refused, type StreamMessage } from "./messages.ts";
import type { Wire } from "./packet-codec.ts";
import { parseStreamBody, parseWhole, type StreamRole, takeBytes } from "./stream-body.ts";
import { LABEL_MAX_BYTES, STREAM_MESSAGE_MAX_BYTES } from "./wire-limits.ts";

/** Type byte and length: part of what is authenticated. */
const ENCRYPTED_HEADER_BYTES = 5;
const SEALED_MAX_BYTES = STREAM_MESSAGE_MAX_BYTES + ENCRYPTION_OVERHEAD_BYTES;
const STREAM_MAX_BYTES = 2 + LABEL_MAX_BYTES + ENCRYPTED_HEADER_BYTES + SEALED_MAX_BYTES;

/**
 * All that one side of a connection sends: a message, in memberlist's layers from the inside out: compression (even if longer), encryption,
 * label. `role`: which side we are; the label stands in what the dialer sends only, but both authenticate it.
 */
export function sealStream(wire: Wire, message: StreamMessage, role: StreamRole, random: Random): Buffer {
  let bytes = encodeStreamMessage(message);
  if (wire.compress) bytes = compress(bytes);
  const label = Buffer.from(wire.label);
  const parts: Uint8Array[] = role === "dialer" ? [labelHeader(label)] : [];
  if (wire.keyring) {
    const header = encryptedHeader(bytes.length + ENCRYPTION_OVERHEAD_BYTES);
    parts.push(header, encrypt(wire.keyring, bytes, Buffer.concat([header, label]), random));
  } else parts.push(bytes);
  return Buffer.concat(parts);
}

/** Reads what the other side sends, in pieces of any size. Holds no more than has come, and that is bounded. */
export class StreamReader {
  private readonly queue = new ByteQueue(STREAM_MAX_BYTES);
  private readonly parse: Generator<void, StreamMessage, void>;
  private done = false;

  /** `role`: who we are. A listener expects the label's header, a dialer none. */
  constructor(wire: Wire, role: StreamRole) {
    this.parse = parseStream(wire, this.queue, role);
  }

  /**
   * The message, once it is complete; what comes after it is ignored. Throws Refused, and nothing else, as soon as it can be told that
   * nothing good will come, for the reasons that `openPacket` names; afterwards it reads nothing more.
   */
  push(chunk: Uint8Array): StreamMessage | null {
    if (this.done) return null;
    try {
      this.queue.append(chunk);
      const { done, value } = this.parse.next();
      this.done = done === true;
      return done ? value : null;
    } catch (error) {
      this.done = true;
      throw error;
    }
  }
}

function* parseStream(wire: Wire, queue: ByteQueue, role: StreamRole): Generator<void, StreamMessage, void> {
  const label = Buffer.from(wire.label);
  if (role === "listener") yield* passLabel(label, queue);
  while (queue.length === 0) yield;
  if (queue.peek()[0] !== MESSAGE_TYPE.encrypt) {
    if (wire.keyring) throw new Refused("key", "encryption is configured but remote state is not encrypted");
    return yield* parseStreamBody(queue, role);
  }
  const plain = yield* takeDecrypted(wire, queue, label);
  const decrypted = new ByteQueue(0, plain);
  // Go looks at the first byte whether or not there is one, and its process ends: here no bytes are too few.
  return parseWhole(parseStreamBody(decrypted, role));
}

function* passLabel(expected: Uint8Array, queue: ByteQueue): Generator<void, void, void> {
  while (queue.length === 0) yield;
  for (;;) {
    const headerBytes = expectLabel(expected, queue.peek(), "stream");
    if (headerBytes !== null) {
      queue.take(headerBytes);
      return;
    }
    yield;
  }
}

function* takeDecrypted(wire: Wire, queue: ByteQueue, label: Uint8Array): Generator<void, Buffer, void> {
  if (!wire.keyring) throw new Refused("key", "remote state is encrypted and encryption is not configured");
  // A copy: the view would not outlive the next yield.
  const header = Buffer.from(yield* takeBytes(queue, ENCRYPTED_HEADER_BYTES));
  const length = header.readUInt32BE(1);
  if (length > SEALED_MAX_BYTES) throw new Refused("limit", `remote node state is larger than limit (${length})`);
  if (length < ENCRYPTION_OVERHEAD_BYTES) throw new Refused("short", `payload is too small to decrypt: ${length}`);
  const sealed = yield* takeBytes(queue, length);
  const options = { acceptVersion0: wire.acceptVersion0 ?? false };
  return decrypt(wire.keyring, sealed, Buffer.concat([header, label]), options);
}

function encryptedHeader(length: number): Buffer {
  const header = Buffer.alloc(ENCRYPTED_HEADER_BYTES);
  header[0] = MESSAGE_TYPE.encrypt;
  header.writeUInt32BE(length, 1);
  return header;
}
