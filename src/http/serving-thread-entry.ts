/** The program of a serving thread. */
import { parentPort, workerData } from "node:worker_threads";
import { SystemClock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { ServingData, ServingNews, ServingOrder } from "./serving-messages.ts";
import { ServingThread } from "./serving-thread.ts";

const tell = (news: ServingNews, moved: ArrayBuffer[] = []) => parentPort?.postMessage(news, moved);
const nothing = () => undefined;
/** Only what must not happen is told: all else is the owner's to log. */
const log: Logger = {
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: (_fields, message) => tell({ told: "error", message }),
  fatal: (_fields, message) => tell({ told: "error", message }),
  child: () => log,
};
const thread = new ServingThread({ data: workerData as ServingData, tell, clock: new SystemClock(), log });
parentPort?.on("message", (order: ServingOrder) => {
  if (order.do === "stop") void thread.stop().finally(() => parentPort?.close());
  else thread.obey(order);
});
void thread.start();
