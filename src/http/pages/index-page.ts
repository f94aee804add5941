import type { MemberStatus, Status } from "../status.ts";
import { formatBytes, formatSeconds } from "./amounts.ts";
import { type Html, html } from "./html.ts";

const STATE_CLASS: Record<MemberStatus["state"], string> = { alive: "good", suspect: "warn", dead: "bad", left: "" };

/** The cluster as this node sees it. */
export function indexPage(status: Status): Html {
  const { node, replication, members } = status;
  const alive = 1 + members.filter((member) => member.state === "alive").length;
  return html`
<p>${alive} of ${members.length + 1} nodes are alive. Each blob is kept on ${replication.wanted} of them.</p>
${warnings(status)}
<div class="scroll"><table>
<tr><th>Node</th><th>State</th><th>New blobs</th><th>Free</th><th>Answers in</th><th>Version</th></tr>
<tr><td><span class="mono">${node.uuid}</span><br><a href="${node.base_url}/">${node.base_url}</a> (this node)</td>
<td class="good">alive</td><td>${writeable(node.writeable)}</td><td class="number">${formatBytes(node.free_bytes)}</td>
<td></td><td>${node.version}</td></tr>
${members.map(memberRow)}
</table></div>
<h2>This node</h2>
<div class="scroll"><table>
<tr><th>Storage</th><td>${node.backend}, store <span class="mono">${node.store}</span></td></tr>
<tr><th>Started</th><td>${node.started}</td></tr>
<tr><th>Copies of a blob</th><td>${replication.wanted}, surplus above ${replication.max}</td></tr>
${gossipRows(status.gossip)}
</table></div>
<h2>Background work</h2>
<div class="scroll"><table>
<tr><th>Name</th><th>State</th><th>Steps</th><th>Failures</th><th>Last error</th></tr>
${status.workers.map(
  (
    worker,
  ) => html`<tr><td>${worker.name}</td><td class="${worker.state === "failing" ? "bad" : ""}">${worker.state}</td>
<td class="number">${worker.steps}</td><td class="number">${worker.failures}</td><td>${worker.lastError ?? "none"}</td></tr>`,
)}
</table></div>`;
}

function memberRow(member: MemberStatus): Html {
  return html`<tr><td><span class="mono">${member.uuid}</span><br><a href="${member.base_url}/">${member.base_url}</a></td>
<td class="${STATE_CLASS[member.state]}">${member.state} for ${formatSeconds(member.state_since_seconds)}</td>
<td>${writeable(member.writeable)}</td><td class="number">${formatBytes(member.free_bytes)}</td>
<td class="number">${member.probe_ms === null ? "" : `${member.probe_ms.toFixed(1)} ms`}</td><td>${member.version}</td></tr>`;
}

function gossipRows(gossip: Status["gossip"]): Html {
  if (!gossip) return html`<tr><th>Gossip</th><td>none: this node has no CASK_CLUSTER_SECRET</td></tr>`;
  const { address, encrypted, healthScore, packetsIn, packetsOut, streamBytesIn, streamBytesOut, drops } = gossip;
  const dropped = Object.entries(drops).map(([reason, count]) => `${count} ${reason}`);
  const health =
    healthScore === 0 ? html`<span class="good">well</span>` : html`<span class="warn">slow (${healthScore})</span>`;
  return html`<tr><th>Gossip</th><td>${address}, ${encrypted ? "encrypted" : html`<span class="warn">not encrypted</span>`}, ${health};
${packetsIn.count} packets in (${formatBytes(packetsIn.bytes)}), ${packetsOut.count} out (${formatBytes(packetsOut.bytes)});
over TCP ${formatBytes(streamBytesIn)} in, ${formatBytes(streamBytesOut)} out;
refused: ${dropped.length > 0 ? dropped.join(", ") : "none"}</td></tr>
<tr><th>Gossip by message</th><td>${messageLines(gossip)}</td></tr>`;
}

/** Of each type: how many, and how much they came to. */
function messageLines({ messagesIn, messagesOut }: NonNullable<Status["gossip"]>): Html[] {
  const types = [...new Set([...Object.keys(messagesIn), ...Object.keys(messagesOut)])].sort();
  const amount = ({ count, bytes } = { count: 0, bytes: 0 }) => `${count} (${formatBytes(bytes)})`;
  return (types as (keyof typeof messagesIn)[]).map(
    (type) => html`${type}: ${amount(messagesIn[type])} in, ${amount(messagesOut[type])} out<br>`,
  );
}

function writeable(yes: boolean): Html {
  return yes ? html`<span class="good">yes</span>` : html`<span class="warn">read-only</span>`;
}

function warnings({ node, replication, members }: Status): Html[] {
  const texts: string[] = [];
  if (!node.joined)
    texts.push("This node has not met its neighbors yet (CASK_NEIGHBORS): it answers 503 for what it does not have.");
  if (node.read_only_because) texts.push(`This node takes no new blobs: ${node.read_only_because}.`);
  if (node.incomplete)
    texts.push("This node has a new data folder under a known UUID: that it lacks a blob says nothing.");
  const writers = [node, ...members.filter((member) => member.state === "alive")].filter(
    ({ writeable }) => writeable,
  ).length;
  if (writers < replication.wanted) {
    texts.push(
      `Only ${writers} nodes take new blobs, ${replication.wanted} copies are wanted: uploads are answered with 503.`,
    );
  }
  for (const member of members) {
    const differs =
      member.state === "alive" &&
      (member.replication !== replication.wanted || member.max_replication !== replication.max);
    if (!differs) continue;
    texts.push(
      `${member.base_url} keeps ${member.replication} to ${member.max_replication} copies, this node ${replication.wanted} to ${replication.max}: set both alike.`,
    );
  }
  return texts.map((text) => html`<p class="notice">${text}</p>`);
}
