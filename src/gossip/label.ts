import { CaskError } from "../core/errors.ts";
import { MESSAGE_TYPE } from "./message-types.ts";
import { Refused } from "./messages.ts";
import { LABEL_MAX_BYTES } from "./wire-limits.ts";

/** Before everything else in a packet, and in what the dialer of a stream sends: never in the answer. Empty without a label. */
export function labelHeader(label: Uint8Array): Buffer {
  if (label.length > LABEL_MAX_BYTES) throw new CaskError("BAD_CONFIG", `a gossip label of ${label.length} bytes`);
  return label.length === 0 ? Buffer.alloc(0) : Buffer.from([MESSAGE_TYPE.label, label.length, ...label]);
}

/**
 * Bytes of the label header that `bytes` begin with (0: there is none, which is the empty label); null: more bytes are needed to say.
 * Throws Refused when it is not the expected label.
 */
export function expectLabel(expected: Uint8Array, bytes: Uint8Array, what: "packet" | "stream"): number | null {
  let headerBytes = 0;
  if (bytes[0] === MESSAGE_TYPE.label) {
    const [, length] = bytes;
    if (length === 0) throw new Refused("label", "label header cannot be empty when present");
    if (length === undefined || bytes.length < 2 + length) return null;
    headerBytes = 2 + length;
  }
  const found = bytes.subarray(Math.min(2, headerBytes), headerBytes);
  if (Buffer.compare(found, expected) !== 0) throw new Refused("label", `discarding ${what} with unacceptable label`);
  return headerBytes;
}
