/** A thread that reads a shared index as fast as it can: what it is told of keys that stay must be right, of others right or nothing. */
import { parentPort, workerData } from "node:worker_threads";
import type { Key } from "../../src/core/key.ts";
import { SharedIndex } from "../../src/storage/shared-index.ts";
import type { SharedMemory } from "../../src/storage/table-share.ts";
import { placeOf } from "./index-places.ts";

const { staying, going } = workerData as { staying: Key[]; going: Key[] };
const index = new SharedIndex();
const found = { right: 0, wrong: 0, unsure: 0 };
let isStopped = false;

parentPort?.on("message", (message: SharedMemory | "stop") => {
  if (message !== "stop") index.use(message);
  else {
    isStopped = true;
    parentPort?.postMessage(found);
    parentPort?.close();
  }
});

function look(key: Key): void {
  const place = index.place(key);
  if (place === null) found.unsure++;
  else if (JSON.stringify(place) === JSON.stringify(placeOf(key))) found.right++;
  else found.wrong++;
}

function round(): void {
  for (const key of staying) look(key);
  for (const key of going) look(key);
  if (!isStopped) setImmediate(round);
}
round();
