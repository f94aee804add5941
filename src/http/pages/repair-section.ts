import type { Status } from "../status.ts";
import { formatBytes, formatCount, formatSeconds } from "./amounts.ts";
import { type Html, html } from "./html.ts";

type Repair = Status["repair"];

/** What is being done for the copies, in words. */
export function repairSection({ repair }: Status): Html {
  return html`
<h2>The copies</h2>
<div class="scroll"><table>
<tr><th>On this node</th><td>${onThisNode(repair)}</td></tr>
<tr><th>Missing elsewhere</th><td>${missing(repair)}</td></tr>
<tr><th>Compared with others</th><td>${compared(repair)}</td></tr>
<tr><th>Read and checked</th><td>${scrubbed(repair)}</td></tr>
<tr><th>Unverified</th><td>${unverified(repair)}</td></tr>
<tr><th>In quarantine</th><td>${quarantined(repair)}</td></tr>
<tr><th>Surplus</th><td>${surplus(repair)}</td></tr>
<tr><th>Emptying this node</th><td>${draining(repair)}</td></tr>
</table></div>`;
}

function onThisNode({ inventory }: Repair): string {
  return inventory.keys === null
    ? "being counted; nothing is compared until that is done"
    : formatCount(inventory.keys, "blob");
}

function missing({ reconcile, repair }: Repair): Html {
  const { missingCopies } = reconcile;
  if (missingCopies === null) return html`not known yet: the first comparison has not ended`;
  const queue = `${formatCount(repair.waiting, "blob")} in the queue, ${repair.retries} to be tried again, ${formatBytes(repair.sent_bytes)} sent since the start`;
  if (missingCopies === 0) return html`<span class="good">none</span>; ${queue}`;
  return html`<span class="warn">${formatCount(missingCopies, "copy", "copies")}</span>; ${queue}`;
}

function compared({ reconcile }: Repair): string {
  const { passes, parts, partsDone, lastPassSeconds } = reconcile;
  const now = parts > 0 ? `; at present ${partsDone} of ${formatCount(parts, "part")} of the ring` : "";
  if (passes === 0) return `not yet${now}`;
  return `${formatCount(passes, "time")}, the last one took ${formatSeconds(lastPassSeconds)}${now}`;
}

function scrubbed({ scrub }: Repair): string {
  const { passes, visited, of, secondsLeft, lastPassSeconds } = scrub;
  const share = of ? ` of ${of} (${Math.min(100, Math.floor((visited / of) * 100))} %)` : "";
  const left = secondsLeft === null ? "" : `, about ${formatSeconds(secondsLeft)} left`;
  const before = lastPassSeconds === null ? "" : `; the last complete pass took ${formatSeconds(lastPassSeconds)}`;
  return `pass ${passes + 1}: ${visited}${share}${left}${before}`;
}

function unverified({ scrub }: Repair): Html {
  if (scrub.unreadable === 0) return html`<span class="good">none</span>`;
  return html`<span class="bad">${formatCount(scrub.unreadable, "copy", "copies")} could not be read</span>; the last one: ${scrub.lastUnreadable}`;
}

function quarantined({ quarantined: count, quarantined_since_start }: Repair): Html {
  if (count === null) return html`not known: the disk does not say`;
  if (count === 0) return html`<span class="good">none</span>`;
  return html`<span class="warn">${formatCount(count, "damaged copy", "damaged copies")}</span>; ${quarantined_since_start} found since the start`;
}

function surplus({ trim }: Repair): string {
  const { waiting, deleted, refused, blockedBecause, dryRun } = trim;
  const counts = `${formatCount(waiting, "copy", "copies")} may go, ${deleted} deleted since the start`;
  const held = blockedBecause === null ? "" : `; held back: ${blockedBecause}`;
  const doubts = refused > 0 ? `; ${formatCount(refused, "time")} too few nodes vouched for theirs` : "";
  return `${counts}${doubts}${held}${dryRun ? "; CASK_TRIM_DRY_RUN: nothing is deleted" : ""}`;
}

function draining({ drain }: Repair): Html {
  if (drain.state === "no") return html`no`;
  const share = drain.keys > 0 ? ` (${Math.min(100, Math.floor((drain.vouched / drain.keys) * 100))} %)` : "";
  const lacking = drain.lacking > 0 ? `; ${formatCount(drain.lacking, "blob")} could not be handed over yet` : "";
  if (drain.state === "done") return html`<span class="good">done</span>: ${drain.text}`;
  return html`${drain.text}${share}${lacking}`;
}
