import { MEMBERS_MAX_COUNT } from "../core/limits.ts";

/**
 * What may come in by gossip: each is checked before anything is allocated for it. Honest nodes stay far below all of them.
 * Why some are smaller than memberlist's own: docs/decisions/030-gossip-takes-less-than-memberlist.md.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

/** A packet as it arrives. memberlist reads as much. */
export const PACKET_MAX_BYTES = 64 * KIB;
/** All that a packet inflates to, its layers added up. */
export const PACKET_INFLATED_MAX_BYTES = 256 * KIB;
/** Compounds and compressions inside each other. memberlist makes a compression of a compound. */
export const PACKET_NESTING_MAX_COUNT = 8;
/** Messages of a packet. memberlist's queue of received messages has as many places. */
export const PACKET_MESSAGES_MAX_COUNT = 1_024;
/** A compound counts its parts in one byte, and the length of each in two. */
export const COMPOUND_PARTS_MAX_COUNT = 255;
export const COMPOUND_PART_MAX_BYTES = 65_535;
export const LABEL_MAX_BYTES = 255;
/** MessagePack values inside each other. As in go-msgpack, where this many are refused and one less is not. */
export const MSGPACK_DEPTH_MAX_COUNT = 1_024;

/** One message of a stream, also when inflated. A member takes at most 900 bytes of a push/pull, 300 as a rule. */
export const STREAM_MESSAGE_MAX_BYTES = 2 * MIB;
/** One MessagePack value in it: a header or a member. */
export const STREAM_VALUE_MAX_BYTES = 64 * KIB;
/** Members in a push/pull: more than we keep, because a list has the dead too. */
export const STREAM_NODES_MAX_COUNT = 4 * MEMBERS_MAX_COUNT;
/** What a push/pull carries beside the members. Go Cask sends less than 1 KiB of JSON. */
export const STREAM_USER_STATE_MAX_BYTES = 256 * KIB;
export const STREAM_USER_MESSAGE_MAX_BYTES = 256 * KIB;
