import type { MemberStatus, Status } from "../status.ts";
import { type Html, html } from "./html.ts";

const WORK: Readonly<Record<string, string>> = {
  space: "looks at the free space",
  announce: "tells the others what is new of this node",
  join: "meets neighbors and lost members",
  inventory: "knows which blobs are here",
  repair: "makes copies that are missing",
  reconcile: "compares with the other owners",
  scrub: "reads and checks every copy",
  trim: "deletes surplus copies",
  compaction: "gives back the space of deleted blobs",
  drain: "hands over the blobs of a node that is to be switched off",
};

type WorkerStatus = Status["workers"][number];

/** The buttons. One form, so that the secret is typed once; Enter in its field presses none of them. */
export function operations({ workers, repair, members }: Status): Html {
  const gone = members.filter(({ state }) => state === "dead" || state === "left");
  return html`
<h2>Background work</h2>
<form class="wide" method="post">
<button disabled hidden></button>
<div class="scroll"><table>
<tr><th>Name</th><th>State</th><th></th><th>What it does</th><th>Steps</th><th>Failures</th><th>Last error</th></tr>
${workers.map(workerRow)}
</table></div>
<label>Cluster secret, for these buttons <input type="password" name="secret" autocomplete="off" required></label>
<p>${drainButton(repair.drain.state)}</p>
${gone.map(forgetButton)}
</form>`;
}

function workerRow({ name, state, steps, failures, lastError }: WorkerStatus): Html {
  const stateClass = state === "failing" ? "bad" : state === "paused" ? "warn" : "";
  const action = state === "paused" ? "resume" : "pause";
  return html`<tr><td>${name}</td><td class="number ${stateClass}">${state}</td>
<td><button class="small" formaction="/workers/${name}/${action}/">${action}</button></td><td>${WORK[name] ?? ""}</td>
<td class="number">${steps}</td><td class="number">${failures}</td><td>${lastError ?? "none"}</td></tr>`;
}

function drainButton(state: Status["repair"]["drain"]["state"]): Html {
  if (state === "no")
    return html`<button formaction="/drain/">Empty this node</button> It turns read-only and hands its blobs to the others; this page says when it can be switched off.`;
  return html`<button formaction="/drain/" name="cancel" value="true">Keep this node</button> It is not to be switched off, after all.`;
}

function forgetButton({ uuid, base_url, state }: MemberStatus): Html {
  return html`<p><button formaction="/forget/" name="uuid" value="${uuid}">Forget ${base_url}</button> It is ${state}. Only if it never returns: what only it holds is then lost.</p>`;
}

export interface ForgottenMember {
  readonly uuid: string;
  readonly told: readonly string[];
  readonly not_told: ReadonlyArray<{ readonly base_url: string; readonly reason: string }>;
}

export function forgottenPage({ uuid, told, not_told }: ForgottenMember): Html {
  return html`
<p class="notice good"><span class="mono">${uuid}</span> is forgotten on ${told.join(", ")}.</p>
${not_told.map(({ base_url, reason }) => html`<p class="notice bad">Not on ${base_url}: ${reason}</p>`)}
<p><a href="/">See the cluster</a></p>`;
}
