import { type Alive, META_MAX_BYTES, type PushNodeState, Refused, VSN } from "./messages.ts";

/**
 * The highest incarnation that is believed. memberlist goes on to 2^32 - 1 and then wraps to 0, after which nobody listens to the member any
 * more: one forged message would silence it. Nobody gets here by refuting, so what claims more is forged.
 */
export const INCARNATION_MAX = 2 ** 32 - 2 ** 16;

/** Names are hostnames with a port, or UUIDs. */
const NAME_MAX_CHARS = 255;
const VSN_BYTES = VSN.length;
const [, OURS_MAX = 0, OURS = 0] = VSN;
const OURS_MIN = 1;

/** Why such a member can't be one, as a fixed word; null when it can. */
export function aliveProblem(claim: Alive): string | null {
  if (claim.node === "" || claim.node.length > NAME_MAX_CHARS) return "name";
  if (claim.addr?.length !== 4 && claim.addr?.length !== 16) return "address";
  if ((claim.meta?.length ?? 0) > META_MAX_BYTES) return "metadata";
  if (claim.incarnation > INCARNATION_MAX) return "incarnation";
  return versionProblem(claim.vsn) ? "version" : null;
}

/**
 * Throws Refused when an entry speaks what we don't: then nothing of the push/pull is to be merged. Each is held against ourselves, where
 * memberlist compares all with all: there one announcement of an odd range makes every push/pull in the cluster fail.
 */
export function checkVersions(entries: readonly PushNodeState[]): void {
  for (const { name, vsn } of entries) {
    const problem = versionProblem(vsn);
    if (problem) throw new Refused("version", `push/pull not merged: ${JSON.stringify(name)} ${problem}`);
  }
}

/** Shared where it is ours, as it nearly always is. */
export function trimmedVsn(vsn: Uint8Array | null): Uint8Array {
  const six = new Uint8Array((vsn ?? []).slice(0, VSN_BYTES));
  return sameBytes(six, VSN) ? VSN : six;
}

/** Nil and empty are the same. */
export function sameBytes(a: Uint8Array | null | undefined, b: Uint8Array | null | undefined): boolean {
  const length = a?.length ?? 0;
  if (length !== (b?.length ?? 0)) return false;
  if (a === b || !a || !b) return true;
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A shorter Vsn ends Go Cask's process: it must not be passed on. */
function versionProblem(vsn: Uint8Array | null): string | null {
  if (!vsn || vsn.length < VSN_BYTES) return `announces ${vsn?.length ?? 0} bytes of versions`;
  // Read one by one: an exchange of 500 members looks at 1,000 of them, and taking an array apart goes by its iterator.
  const [min, max, current] = [vsn[0] as number, vsn[1] as number, vsn[2] as number];
  const [delegateMin, delegate] = [vsn[3] as number, vsn[5] as number];
  if (min < 1 || min > OURS || max < OURS) return `understands protocols ${min} to ${max}`;
  if (current < OURS_MIN || current > OURS_MAX) return `speaks protocol ${current}`;
  if (delegateMin > 0 || delegate > 0) return `speaks delegate protocol ${delegate}`;
  return null;
}
