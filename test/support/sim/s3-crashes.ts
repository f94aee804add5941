import { SystemClock } from "../../../src/core/clock.ts";
import { type Key, keyOfBytes } from "../../../src/core/key.ts";
import { S3_PART_BYTES } from "../../../src/core/limits.ts";
import type { SeededRandom } from "../../../src/core/random.ts";
import type { Backend } from "../../../src/storage/backend.ts";
import type { FileSystem } from "../../../src/storage/file-system.ts";
import { S3Backend } from "../../../src/storage/s3.ts";
import { S3Layout } from "../../../src/storage/s3-layout.ts";
import { type FakeObject, type FakeRequest, FakeS3, type Fault } from "../fake-s3.ts";
import { BUCKET, placeOn } from "../s3-server.ts";
import type { CrashedStorage, Life } from "./crashes.ts";
import type { SimDisk } from "./sim-disk.ts";
import type { SimProcess } from "./sim-process.ts";
import { SIM_ROOT } from "./sim-root.ts";

const PREFIX = "n";
const LAYOUT = new S3Layout(PREFIX);
const BLOBS_COUNT = 8;
/** Deletes that were under way when the process died arrive at most so much later; so much is waited for them. */
const LATE_MS = 300;
const SETTLE_MS = 600;

const both = (...requests: readonly string[]) =>
  requests.flatMap((request) => [`before ${request}`, `after ${request}`]);
const STEPS_OF_PARTS = both("begin parts", "PUT part", "POST parts");
const STEPS = [
  ...both("list", "list parts", "GET owner", "PUT owner", "GET blob", "HEAD blob", "PUT blob", "DELETE blob"),
  ...both("PUT quarantine", "HEAD quarantine"),
  ...["open deleting", "sync deleting", "unlink deleting"],
  ...["write s3-claim.json.new", "sync s3-claim.json.new", "rename s3-claim.json.new"],
];

export interface S3CrashOptions {
  /** In which steps lives end. Default: all. */
  readonly steps?: readonly string[];
  readonly through?: (files: FileSystem) => FileSystem;
  /** A defect: so long is waited for deletes of a former life. */
  readonly settleMs?: number;
}

/**
 * A node's S3 backend on a server that outlives it. Each request is two steps: the process dies before the server has done it, or after that
 * and before the answer. The state folder is on the simulated disk.
 */
export class CrashedS3 implements CrashedStorage {
  readonly deletesMayBeLate = true;
  private readonly server: FakeS3;
  private readonly options: S3CrashOptions;
  private hasLarge = false;
  private readonly lives = new Map<string, Life>();
  /** Deletes of blobs that have not arrived yet. */
  private readonly late = new Set<{ readonly name: string }>();

  private constructor(server: FakeS3, options: S3CrashOptions) {
    this.server = server;
    this.options = options;
    server.fault = (request) => this.verdict(request);
  }

  static async start(options: S3CrashOptions = {}): Promise<CrashedS3> {
    return new CrashedS3(await FakeS3.start(BUCKET), options);
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  /** For some one is so large that it is put in parts: that takes long. */
  blobSizes(random: SeededRandom): number[] {
    this.hasLarge = this.options.steps === undefined && random.next() < STEPS_OF_PARTS.length / STEPS.length;
    if (this.hasLarge) return [100, 5_000, S3_PART_BYTES + 5_000];
    const length = this.options.steps ? 3 : BLOBS_COUNT; // one kind of step: few blobs, so that the next life meets the same again
    return Array.from({ length }, () => 1 + Math.floor(random.next() ** 3 * 9_000));
  }

  aim(random: SeededRandom): { step: string; time: number } {
    const { steps = this.hasLarge ? STEPS_OF_PARTS : STEPS } = this.options;
    const step = steps[Math.floor(random.next() * steps.length)] as string;
    return { step, time: step.includes("owner") || step.includes("claim") ? 1 : 1 + Math.floor(random.next() * 5) };
  }

  /** What is noted of deletes and of the claim. */
  isStep(path: string): boolean {
    return path.includes("/deleting") || path.includes("s3-claim");
  }

  open(disk: SimDisk, life: Life): Promise<Backend> {
    const { random, process = disk.start() } = life;
    const accessKeyId = `life-${this.lives.size}`;
    this.lives.set(accessKeyId, { ...life, process });
    const { settleMs = SETTLE_MS, through = (files: FileSystem) => files } = this.options;
    const { files, takeLock } = process;
    return S3Backend.open({
      place: placeOn(this.server.url, PREFIX, { credentials: { accessKeyId, secretAccessKey: "a-secret-key" } }),
      uuid: "node-a",
      stateDir: SIM_ROOT,
      clock: new MortalClock(process),
      random,
      onNotice: () => undefined,
      onLost: (error) => {
        throw error;
      },
      timing: { backoffMs: 1, deleteSettleMs: settleMs },
      files: life.process ? through(files) : files,
      takeLock,
    });
  }

  /** As a disk below the server rots: what the server knows of the object stays. */
  async spoil(_disk: SimDisk, _backend: Backend, key: Key): Promise<boolean> {
    const object = this.server.objects.get(LAYOUT.blob(key));
    if (!object) return false;
    const bytes = Buffer.from(object.bytes);
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 0xff;
    this.server.objects.set(LAYOUT.blob(key), { ...object, bytes });
    return true;
  }

  garbage(): readonly string[] {
    const { uploads, objects } = this.server;
    const found = uploads.size > 0 ? [`parts of ${uploads.size} uploads are left`] : [];
    for (const [name, { bytes }] of objects as Map<string, FakeObject>) {
      const key = LAYOUT.keyOf(name);
      const isOurs = name === LAYOUT.owner || LAYOUT.keyOfQuarantined(name) !== null;
      if (key === null ? !isOurs : keyOfBytes(bytes) !== key) found.push(`${name} holds ${bytes.length} foreign bytes`);
    }
    return found;
  }

  private verdict(request: FakeRequest): Fault {
    const [, credential = ""] = /Credential=([^/]+)/.exec(request.headers.authorization ?? "") ?? [];
    const { process, onStep, random } = this.lives.get(credential) as Life;
    if (!onStep) return undefined;
    if (process?.isDead) return { never: "undone" };
    const step = stepOf(request);
    onStep(`before ${step}`);
    if (process?.isDead) {
      if (step === "DELETE blob" && random.next() < 0.7) this.deleteLate(request.name);
      return { never: "undone" };
    }
    // At the worst moment: right after the next life was told of the blob. How fast the machine is must not matter for whether a defect shows.
    for (const deletion of this.late)
      if (deletion.name === request.name && random.next() < 0.5) setImmediate(() => this.arrive(deletion));
    onStep(`after ${step}`);
    return process?.isDead ? { never: "done" } : undefined;
  }

  private deleteLate(name: string): void {
    const deletion = { name };
    this.late.add(deletion);
    setTimeout(() => this.arrive(deletion), LATE_MS);
  }

  private arrive(deletion: { readonly name: string }): void {
    if (this.late.delete(deletion)) this.server.objects.delete(deletion.name);
  }
}

/** For a dead process no time comes. */
class MortalClock extends SystemClock {
  private readonly process: SimProcess;

  constructor(process: SimProcess) {
    super();
    this.process = process;
  }

  override async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    await super.sleep(ms, signal);
    if (this.process.isDead) await new Promise(() => undefined);
  }

  override timer(ms: number, then: () => void): () => void {
    return super.timer(ms, () => {
      if (!this.process.isDead) then();
    });
  }
}

function stepOf({ method, name, query }: FakeRequest): string {
  const areas: ReadonlyArray<readonly [string, string]> = [
    [LAYOUT.owner, "owner"],
    [LAYOUT.blobs, "blob"],
    [LAYOUT.quarantine, "quarantine"],
  ];
  if (query.has("uploadId")) return method === "PUT" ? "PUT part" : `${method} parts`;
  if (query.has("uploads")) return name === "" ? "list parts" : "begin parts";
  if (name === "") return "list";
  return `${method} ${areas.find(([begin]) => name.startsWith(begin))?.[1]}`;
}
