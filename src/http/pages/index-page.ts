import type { MemberStatus, Status } from "../status.ts";
import { formatBytes, formatSeconds } from "./amounts.ts";
import { type Html, html } from "./html.ts";
import { noticesOf } from "./notices.ts";
import { operations } from "./operations.ts";
import { repairSection } from "./repair-section.ts";

const STATE_CLASS: Record<MemberStatus["state"], string> = { alive: "good", suspect: "warn", dead: "bad", left: "" };

/** The cluster as this node sees it. */
export function indexPage(status: Status): Html {
  const { node, replication, members } = status;
  const alive = 1 + members.filter((member) => member.state === "alive").length;
  return html`
<p>${alive} of ${members.length + 1} nodes are alive. Each blob is kept on ${replication.wanted} of them.</p>
${noticesOf(status).map(({ level, text }) => html`<p class="notice ${level}">${text}</p>`)}
<div class="scroll nodes"><table>
<tr><th>Node</th><th>State</th><th>New blobs</th><th>Free</th><th>Answers in</th><th>Version</th></tr>
<tr><td><span class="mono">${node.uuid}</span><br><a href="${node.base_url}/">${node.base_url}</a> (this node)</td>
<td class="good">alive</td><td>${writeable(node.writeable)}</td><td class="number">${formatBytes(node.free_bytes)}</td>
<td></td><td>${node.version}</td></tr>
${members.map(memberRow)}
</table></div>
${repairSection(status)}
${operations(status)}
<h2>This node</h2>
<div class="scroll"><table>
<tr><th>Storage</th><td>${node.backend}, store <span class="mono">${node.store}</span></td></tr>
<tr><th>Started</th><td>${node.started}</td></tr>
<tr><th>Copies of a blob</th><td>${replication.wanted}, surplus above ${replication.max}</td></tr>
${gossipRows(status.gossip)}
</table></div>`;
}

function memberRow(member: MemberStatus): Html {
  const live = member.state === "alive" || member.state === "suspect";
  return html`<tr><td><span class="mono">${member.uuid}</span><br><a href="${member.base_url}/">${member.base_url}</a></td>
<td class="number ${STATE_CLASS[member.state]}">${member.state} for ${formatSeconds(member.state_since_seconds)}${member.draining ? ", being emptied" : ""}${member.incomplete ? ", being filled again" : ""}</td>
${live ? livePart(member) : html`<td></td><td></td><td></td>`}<td>${member.version}</td></tr>`;
}

/** What the dead said last would mislead. */
function livePart({ writeable: writes, free_bytes, probe_ms }: MemberStatus): Html {
  return html`<td>${writeable(writes)}</td><td class="number">${formatBytes(free_bytes)}</td>
<td class="number">${probe_ms === null ? "" : `${probe_ms.toFixed(1)} ms`}</td>`;
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
