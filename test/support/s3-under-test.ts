import { SystemClock } from "../../src/core/clock.ts";
import type { CaskError } from "../../src/core/errors.ts";
import { SystemRandom } from "../../src/core/random.ts";
import { S3Backend, type S3BackendOptions } from "../../src/storage/s3.ts";
import type { S3Timing } from "../../src/storage/s3-client.ts";
import { placeOn } from "./s3-server.ts";

/** Short enough for tests, long enough for a busy machine. */
export const TEST_TIMING: Partial<S3Timing> = { attemptMs: 3_000, changeMs: 3_000, backoffMs: 20, deleteSettleMs: 500 };

export interface S3UnderTest {
  readonly backend: S3Backend;
  readonly notices: string[];
  readonly lost: CaskError[];
}

export async function openS3(
  url: string,
  { prefix, ...more }: { prefix: string; stateDir: string } & Partial<S3BackendOptions>,
): Promise<S3UnderTest> {
  const notices: string[] = [];
  const lost: CaskError[] = [];
  const backend = await S3Backend.open({
    place: placeOn(url, prefix),
    uuid: "node-a",
    clock: new SystemClock(),
    random: new SystemRandom(),
    onNotice: (message) => notices.push(message),
    onLost: (error) => lost.push(error),
    timing: TEST_TIMING,
    ...more,
  });
  return { backend, notices, lost };
}
