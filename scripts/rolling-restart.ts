import { parseArgs } from "node:util";
import { SECRET } from "../test/support/processes.ts";
import { rollingRestart } from "../test/support/rolling-restart.ts";

/**
 * `npm run rolling-restart [-- --nodes=4 --replication=3 --rate=50 --rotate]`: every node of a cluster is restarted, one after the other, under load. With
 * `--rotate` three times, so that the cluster has another secret in the end.
 */
const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "4" },
    replication: { type: "string", default: "3" },
    rate: { type: "string", default: "50" },
    rotate: { type: "boolean", default: false },
  },
});
const next = "another secret for tests";
const rotation = [
  { CASK_CLUSTER_SECRET_OLD: next },
  { CASK_CLUSTER_SECRET: next, CASK_CLUSTER_SECRET_OLD: SECRET },
  { CASK_CLUSTER_SECRET: next },
];
const begunMs = performance.now();
const { gets, puts, restarts, slowestMs, failedGets, failedPuts, lost } = await rollingRestart({
  nodes: Number(values.nodes),
  replication: Number(values.replication),
  requestsPerSecond: Number(values.rate),
  rounds: values.rotate ? rotation : [{}],
  onProgress: (message) => console.log(message),
});
for (const failure of [...failedGets.slice(0, 10), ...failedPuts.slice(0, 10), ...lost.slice(0, 10)])
  console.log(failure);
console.log(
  `rolling-restart: ${values.nodes} nodes, ${values.replication} copies, ${restarts} restarts, ${gets} GETs, ${puts} PUTs at the others: ${failedGets.length} GETs and ` +
    `${failedPuts.length} PUTs failed, ${lost.length} acknowledged blobs lost, slowest ${Math.round(slowestMs)} ms, ` +
    `${Math.round((performance.now() - begunMs) / 1000)} s`,
);
process.exit(failedGets.length + failedPuts.length + lost.length > 0 ? 1 : 0);
