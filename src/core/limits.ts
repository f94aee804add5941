/** Every bound on a size, a count, a queue or a wait. The unit is the last word of the name. */

const KIB = 1024;
const MIB = 1024 * KIB;

/** Blobs up to this size are held whole in memory, hashed before their first byte leaves. Larger ones stream. */
export const WHOLE_BLOB_MAX_BYTES = MIB;
/** What a blob in the cache takes besides its bytes: its key, its place in the map, the objects around the bytes. */
export const CACHE_ENTRY_BYTES = 400;
/** How much of what V8 found in use the heap may grow by, with the buffers made since, before it looks through all of it again. */
export const HEAP_GROWTH_PERCENT = 300;
/** Uploads up to this size go into the cache: they are read back and hashed for that. */
export const CACHED_UPLOAD_MAX_BYTES = 64 * KIB;
/** What all stages in memory hold together; beyond it a stage goes to a temporary file at once. */
export const STAGED_IN_MEMORY_MAX_BYTES = 32 * MIB;
/** How much is read from a disk at once. Each slow reader of a large blob holds one of these. */
export const READ_CHUNK_BYTES = 64 * KIB;
/** Readers of large blobs get pieces of this size instead, as long as what all of them hold is within the second. */
export const READ_LARGE_CHUNK_BYTES = MIB;
export const READ_LARGE_CHUNKS_MAX_BYTES = 24 * MIB;
/** Such pieces that lie in memory which is used again, and which the thread that hashes sees. */
export const READ_LARGE_PIECES_MAX_COUNT = 24;
/** Pieces for blobs that are read whole: readers beyond them get memory that is made for each. */
export const READ_WHOLE_PIECES_MAX_COUNT = 32;
/** Reads of records up to this size are made together, by one thread, once so many are under way, and until so many in a row had no company. */
export const READ_BATCH_BLOB_MAX_BYTES = 68 * KIB;
export const READ_BATCH_LEAST_COUNT = 5;
export const READ_COMPANY_COUNT = 8;
export const READ_BATCH_MAX_COUNT = 32;
export const READ_BATCH_MAX_BYTES = 272 * KIB;
/** While the thread has so many batches to do, more reads don't wait for it: its disk may hang. */
export const READ_BATCHES_AT_ONCE_COUNT = 4;
/** A batch that has taken so long, and so long for each read, is left: these bytes are not in the system's memory. */
export const READ_BATCH_LEAST_SLOW_MS = 1;
export const READ_SLOW_MS = 0.05;
/** So many reads are then made one by one before the next is tried. */
export const READ_SLOW_REST_COUNT = 1_000;
/** Bodies that the hashing thread takes at a time; of more, the main thread would only wait for it. */
export const HASHED_IN_THREAD_MAX_COUNT = 4;
/** So many of one body may wait to be hashed there while their reader goes on. */
export const HASHED_BEHIND_MAX_COUNT = 2;
/** Large uploads are collected in pieces of this size, as long as there are any of so many. */
export const UPLOAD_PIECE_BYTES = MIB;
export const UPLOAD_PIECES_MAX_COUNT = 24;
/** A stage begins to sync to disk each time it has taken this much, so that the last sync is short. */
export const SYNC_EVERY_BYTES = 16 * MIB;
/** A body of unknown length may bring free space this far down before it is refused (0 bytes free would stop the node). */
export const STAGE_RESERVE_BYTES = 64 * MIB;
/** A first chunk from here on is kept by its stage as it is, when it is a pool's piece. Smaller ones are copied: meanwhile no other upload can come in by that piece. */
export const STAGED_PIECE_LEAST_BYTES = 256 * KIB;
/** A stage that goes to disk looks at the free space each time it has taken this much; for smaller ones all together it is looked at so often. */
export const SPACE_CHECK_EVERY_BYTES = 8 * MIB;

/** Requests to one peer at a time; more wait in a queue. */
export const PEER_CONNECTIONS_MAX_COUNT = 64;
/** Requests that wait for one of these; more are refused with OVERLOADED. */
export const PEER_QUEUE_MAX_COUNT = 10_000;
/** Blobs up to this size go to another node together with others that go there at the same time. */
export const BATCHED_BLOB_MAX_BYTES = 16 * KIB;
export const BATCH_MAX_COUNT = 64;
export const BATCH_MAX_BYTES = 512 * KIB;
/** Batches on their way to one node, at most. */
export const BATCHES_AT_ONCE_COUNT = 4;
/** Up to so many uploads to one node go by themselves: one that waited for the others would take twice as long. */
export const PUTS_ALONE_COUNT = 4;
/** With so many fetches from one node under way, further ones go together. */
export const GETS_ALONE_COUNT = 4;
export const GETS_WAITING_MAX_COUNT = 1_024;
/** A node of a version without batches is offered one again after so long. */
export const BATCH_OFFER_AGAIN_MS = 60_000;
/** Waiting for a connection to a peer. */
export const PEER_CONNECT_TIMEOUT_MS = 1_000;
/** A question that needs no disk time to speak of (heartbeat, existence). */
export const PEER_ASK_TIMEOUT_MS = 1_500;
/** A peer that takes or sends no bytes for so long is given up. */
export const PEER_STALL_TIMEOUT_MS = 3_000;
/** What a peer may need to make a copy durable, on top of PEER_STALL_TIMEOUT_MS: its size over this rate. */
export const PEER_SYNC_LEAST_BYTES_PER_MS = 20_000;
/** Ask the next peer when one has not begun to answer a GET by then. */
export const GET_HEDGE_MS = 250;
/** The own disk is given up when it has not answered by then. A GET does not wait for that: it is hedged. */
export const LOCAL_READ_TIMEOUT_MS = 5_000;
/** The first owners have so long to answer a GET before all members are asked who has the blob. */
export const GET_FIRST_PHASE_MS = 750;
/** Begin another copy when one is not durable by then. */
export const PUT_HEDGE_MS = 1_500;
/** The search for a key among all members, from its begin to its end. */
export const SEARCH_TIMEOUT_MS = 1_000;
/** Members that are asked at the same time during a search. */
export const SEARCH_AT_ONCE_COUNT = 64;
/** Small fetched blobs that are being kept as own copies at a time; further ones are not kept. */
export const KEEPS_AT_ONCE_COUNT = 8;
/** A fetched blob is not kept when the own disk takes longer over a piece of it: the reader is waiting. */
export const KEEP_WRITE_TIMEOUT_MS = 500;
/** Keys in one question about existence. */
export const HAS_KEYS_MAX_COUNT = 1_000;
/** Keys of one question that the own store is asked for at a time. */
export const HAS_AT_ONCE_COUNT = 16;
/** Keys in one request for vouches. */
export const VOUCH_KEYS_MAX_COUNT = 200;
/** Copies that are trimmed together have so many bytes at most (one larger copy goes alone): they are all read on each node that is asked. */
export const VOUCH_BYTES_MAX = 64 * MIB;
/** A node that is asked for vouches has so long, and its bytes over the rate: then the asking node gives up. */
export const VOUCH_TIMEOUT_MS = 10_000;
export const VOUCH_LEAST_BYTES_PER_MS = 10_000;
/** Questions to a Go node at a time about what it holds: it takes one key each. */
export const GO_HEADS_AT_ONCE_COUNT = 16;
/** Blobs of a Go node whose sizes are remembered: it does not tell them before it has sent all bytes. */
export const GO_SIZES_MAX_COUNT = 10_000;
/** Key ranges in one question for digests. */
export const DIGEST_RANGES_MAX_COUNT = 1_000;
/** Keys in one answer to what a range holds. */
export const KEYS_PAGE_MAX_COUNT = 2_000;
/** JSON or form bodies of doors that take no blobs. */
export const SMALL_BODY_MAX_BYTES = 256 * KIB;
/** A heartbeat lists all members. */
export const HEARTBEAT_ANSWER_MAX_BYTES = 512 * KIB;
/** New members that are asked over HTTP, at a time, what they know of this node. */
export const INTRODUCTIONS_AT_ONCE_COUNT = 32;
/** One that did not answer is asked again after so long. */
export const INTRODUCTION_RETRY_MS = 5_000;
/** Parts of a multipart body (one file, and fields that are ignored). */
export const MULTIPART_PARTS_MAX_COUNT = 100;
/** Requests and connections of a node at a time. */
export const CONNECTIONS_MAX_COUNT = 10_000;
/** Uploads that may be under way at a time: each holds a stage. */
export const UPLOADS_MAX_COUNT = 2_000;
/** Members that are remembered; more are refused. */
export const MEMBERS_MAX_COUNT = 1_000;
/** Times at which copies were last verified, kept in memory. The oldest are forgotten. */
export const VERIFIED_TIMES_MAX_COUNT = 100_000;
/** Fingerprints of the pieces of copies, in memory of each thread that serves: 16 bytes for each MiB, of blobs where that is cheaper than to hash them. An entry takes so much besides. */
export const FINGERPRINTED_BLOB_LEAST_BYTES = 256 * KIB;
export const FINGERPRINTS_ENTRY_BYTES = 240;
export const FINGERPRINTS_MAX_BYTES = 4 * MIB;
/** For how long a verified and unchanged copy may serve ranges without being verified again. */
export const VERIFIED_TRUST_MS = 24 * 3600 * 1_000;
/** Free space is looked at again before a body is taken when the last look is older. */
export const SPACE_LOOK_MAX_AGE_MS = 1_000;
/** Lines kept for the page /log/. */
export const LOG_LINES_MAX_COUNT = 500;
export const LOG_LINE_MAX_CHARS = 2_000;
/** A worker that fails waits at least so long, whatever its interval, and at most so long however often it fails. */
export const WORKER_BACKOFF_MIN_MS = 100;
export const WORKER_BACKOFF_MAX_MS = 60_000;
/** A new member is taken in after so long also when the disk that is to remember it hangs. */
export const REMEMBER_TIMEOUT_MS = 500;
/** On SIGTERM: time for requests under way. */
export const STOP_TIMEOUT_MS = 10_000;
/** Meanwhile, for connections whose requests have been answered. */
export const STOP_LOOK_EVERY_MS = 50;
/** A seed that does not answer is tried again after this, doubled up to the second. */
export const SEED_RETRY_MS = 500;
export const SEED_RETRY_MAX_MS = 10_000;
/** A neighbor's name may stand for so many nodes. */
export const SEED_ADDRESSES_MAX_COUNT = 64;
/** Saying good-bye to the other nodes on SIGTERM. */
export const LEAVE_TIMEOUT_MS = 1_500;
/** The background look at free space. */
export const SPACE_LOOK_EVERY_MS = 5_000;
/** Gossip connections at a time, those that came in. memberlist refuses the 128th push/pull. */
export const GOSSIP_STREAMS_MAX_COUNT = 128;
/** Gossip exchanges that this node begins at a time. */
export const GOSSIP_DIALS_AT_ONCE_COUNT = 32;
export const GOSSIP_DIALS_WAITING_MAX_COUNT = 256;
/** A gossip timer that fires so much too late says that this process was paused or is overloaded. */
export const GOSSIP_LAG_MIN_MS = 250;
/** Bytes of a packet: fits an Ethernet frame with room for tunnels, as memberlist reckons. */
export const GOSSIP_PACKET_BYTES = 1_400;
/** What a member may say of itself in gossip: memberlist's bound. */
export const GOSSIP_METADATA_BYTES = 512;
/** All of it but UUID, base URL and secret, at most. */
export const GOSSIP_METADATA_REST_BYTES = 240;
/** After another live process with this node's UUID was seen, this node takes no blobs for so long. Each further sight counts anew. */
export const CONFLICT_READ_ONLY_MS = 30_000;
/** Keys that wait for repair; reconcile finds the others again. */
export const REPAIR_QUEUE_MAX_COUNT = 50_000;
/** Keys whose repair failed and is tried again, and after how long at first and at most. */
export const REPAIR_RETRIES_MAX_COUNT = 10_000;
export const REPAIR_RETRY_MS = 5_000;
/** Keys that are repaired in one go, each node being asked once about all of them. */
export const REPAIR_BATCH_COUNT = 64;
/** Blobs that are sent or fetched at a time. */
export const REPAIR_AT_ONCE_COUNT = 4;
/** Background work waits so long before each blob while clients are being served. */
export const FOREGROUND_YIELD_MS = 5;
/** In so many parts a range is cut whose digests differ. */
export const RECONCILE_PARTS_COUNT = 16;
/** A range in which both hold so few keys is compared key by key. */
export const RECONCILE_LEAF_KEYS_COUNT = 256;
/** Keys that one comparison with one peer may find missing; the next one finds the rest. */
export const RECONCILE_FINDINGS_MAX_COUNT = 20_000;
/** After a pass that found something missing, or a peer that did not answer, the next one comes so soon, unless there is much waiting. */
export const RECONCILE_AGAIN_MS = 2_000;
/** Keys that wait to be trimmed. */
export const TRIM_QUEUE_MAX_COUNT = 50_000;
/** A trim that did not get its vouches is tried again after this (or CASK_TRIM_GRACE, if that is less), times a random number from 1 to 2. */
export const TRIM_RETRY_MS = 60_000;
export const TRIM_IDLE_MS = 1_000;
/** Keys for which a GET may be followed by a repair, remembered so that it does not happen again within the interval. */
export const READ_REPAIR_MAX_COUNT = 10_000;
export const READ_REPAIR_INTERVAL_MS = 600_000;
/** The scrub keeps its place on disk so often. */
export const SCRUB_SAVE_EVERY_MS = 10_000;
/** The scrub rests after a pass for so many times as long as the pass took, but so long at least and at most. */
export const SCRUB_PAUSE_SHARE = 3;
export const SCRUB_PAUSE_MIN_MS = 10_000;
export const SCRUB_PAUSE_MAX_MS = 3_600_000;
/** The scrub reads so many copies at a time. */
export const SCRUB_AT_ONCE_COUNT = 2;
/** A drain that begins while uploads are being stored looks again after this. */
export const DRAIN_COMMITS_WAIT_MS = 500;
/** A drain that could not hand over all blobs tries again after this. */
export const DRAIN_RETRY_MS = 10_000;
/** Keys that a listing at start takes in before it lets others go on. */
export const LISTED_PER_TURN_COUNT = 1_000;
/** One attempt to read from S3, from its begin to the head of the answer; then so long for each piece. Twice fits into LOCAL_READ_TIMEOUT_MS. */
export const S3_ATTEMPT_MS = 2_400;
/** One attempt of a request that writes, deletes or lists. */
export const S3_CHANGE_MS = 10_000;
/** What an attempt that carries a body may need on top. */
export const S3_LEAST_BYTES_PER_MS = 200;
/** The server copies an object, or puts the parts of a large one together: that is allowed so long. */
export const S3_COMPLETE_MS = 120_000;
/** Attempts of one S3 request, and the pause before the second, doubled each time. */
export const S3_ATTEMPTS_MAX_COUNT = 4;
export const S3_BACKOFF_MS = 200;
/** Blobs up to this size are one PUT; larger ones go in parts of at least this size. */
export const S3_PART_BYTES = 8 * MIB;
/** S3 takes no more parts for one object. */
export const S3_PARTS_MAX_COUNT = 10_000;
/** Parts of one blob that are on their way at a time, and blobs that are being uploaded at a time: what they hold in memory is the product. */
export const S3_PARTS_AT_ONCE_COUNT = 2;
export const S3_UPLOADS_AT_ONCE_COUNT = 6;
/** S3 copies larger objects only in parts: these go through the node when they are put into quarantine. */
export const S3_COPY_MAX_BYTES = 5 * 1024 * MIB;
/** Objects in one page of a listing: S3's bound. */
export const S3_PAGE_MAX_COUNT = 1_000;
/** A DELETE that was not answered is taken to be on its way for so long. Until then nothing new is put under its name. */
export const S3_DELETE_SETTLE_MS = 60_000;
/** The owner object of a prefix is renewed so often; one that was not renewed for the second time belongs to a node that is gone. */
export const S3_OWNER_RENEW_MS = 30_000;
export const S3_OWNER_STALE_MS = 120_000;
/** What an operator has removed from the quarantine in S3 is seen after so long. */
export const S3_QUARANTINE_LIST_MS = 60_000;
/** Larger blobs are never put into segments, whatever the setting. */
export const SEGMENT_THRESHOLD_MAX_BYTES = 512 * KIB;
/** A segment takes no more records when it has this size; a larger batch begins the next. */
export const SEGMENT_MAX_BYTES = 256 * MIB;
/**
 * Records that are written and synced together. With all that waits in one batch, all clients get their answers at once, and nothing comes in while the
 * disk works: halves take turns. 1.26 times the rate of 8 MiB for 32 uploads of 64 KiB at a time.
 */
export const SEGMENT_BATCH_MAX_BYTES = MIB;
/** Segments that are kept open to be read. */
export const SEGMENT_FILES_OPEN_MAX_COUNT = 256;
/** Copies that vanished unseen and are remembered as such; of more the node says that they are absent. */
export const VANISHED_KEYS_MAX_COUNT = 50_000;
/** A serving thread tells the owner of the data what it answered so often, and of so many keys at most that were fetched. */
export const SERVED_REPORT_EVERY_MS = 250;
export const SERVED_KEYS_MAX_COUNT = 1_000;
/** Small uploads that a serving thread has handed over and that are not answered yet; further ones are passed on as they come. */
export const HANDED_UPLOADS_MAX_COUNT = 1_024;
/** Where a serving thread makes its objects, most of which are soon gone: what fits into the processor's cache is made faster than what V8 would take. */
export const SERVING_YOUNG_GENERATION_MIB = 16;
/** Another serving thread begins so long after one has ended: longer each time, until one listens. */
export const SERVING_RESTART_MIN_MS = 100;
export const SERVING_RESTART_MAX_MS = 30_000;
/** Records whose deletion failed and is tried again; the next start finds those beyond. */
export const LEFTOVER_RECORDS_MAX_COUNT = 10_000;
/** How much of a segment is read at once when its records are looked for. */
export const SEGMENT_SCAN_BYTES = MIB;
/** The places of all copies are noted when so much has been written since, or twice what the note takes, if that is more. */
export const CHECKPOINT_EVERY_BYTES = 256 * MIB;
/** Entries of a checkpoint that are written at once. */
export const CHECKPOINT_PIECE_ENTRIES = 8_192;
/** Copies that are moved out of a segment at a time while it is compacted, and their bytes at most. */
export const COMPACT_AT_ONCE_COUNT = 64;
export const COMPACT_AT_ONCE_BYTES = 4 * MIB;
