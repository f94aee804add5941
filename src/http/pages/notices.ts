import type { MemberStatus, Status } from "../status.ts";
import { formatCount, formatSeconds } from "./amounts.ts";

/** What somebody who is woken by an alarm should read first. `bad`: act now; `warn`: know it. */
export interface Notice {
  readonly level: "bad" | "warn" | "good";
  readonly text: string;
}

/** The worst first. One good line where there is nothing else to say. */
export function noticesOf(status: Status): Notice[] {
  const notices = [...aboutNode(status), ...aboutMembers(status), ...aboutCopies(status), ...aboutWorkers(status)];
  if (notices.length === 0) return [allIsWell(status)];
  return [...notices.filter(({ level }) => level === "bad"), ...notices.filter(({ level }) => level !== "bad")];
}

function allIsWell({ repair }: Status): Notice {
  const known = repair.reconcile.missingCopies !== null;
  const text = known
    ? "All is well: every blob of this node has its copies, and no copy is known to be damaged."
    : "Nothing is known to be wrong. The first comparison with the other nodes has not ended yet.";
  return { level: "good", text };
}

function aboutNode({ node, replication, members, repair }: Status): Notice[] {
  const notices: Notice[] = [];
  const warn = (text: string) => notices.push({ level: "warn", text });
  if (!node.joined)
    warn("This node has not met its neighbors yet (CASK_NEIGHBORS): it answers 503 for what it does not have.");
  if (repair.drain.state === "draining") warn(`This node is being emptied: ${repair.drain.text}.`);
  if (repair.drain.state === "done") notices.push({ level: "good", text: `Emptied: ${repair.drain.text}.` });
  if (node.read_only_because && repair.drain.state === "no")
    warn(`This node takes no new blobs: ${node.read_only_because}.`);
  if (node.incomplete)
    warn(
      "This node has a new data folder under a known UUID. It is being filled again; until then, that it lacks a blob says nothing.",
    );
  const writers = [node, ...members.filter((member) => member.state === "alive")].filter(
    ({ writeable }) => writeable,
  ).length;
  if (writers < replication.wanted) {
    const nodes = writers === 1 ? "1 node takes" : `${writers} nodes take`;
    const text = `Only ${nodes} new blobs, and ${replication.wanted} copies are wanted: uploads are answered with 503.`;
    notices.push({ level: "bad", text });
  }
  return notices;
}

function aboutMembers({ members, disagreements }: Status): Notice[] {
  const gone = members.filter(({ state }) => state === "dead").map(deadMember);
  const differing = disagreements.map(
    (text): Notice => ({ level: "warn", text: `${text}. No surplus copy is deleted until then.` }),
  );
  return [...gone, ...differing];
}

function deadMember({ base_url, state_since_seconds }: MemberStatus): Notice {
  const text =
    `${base_url} has not answered for ${formatSeconds(state_since_seconds)}. Start it again; its copies are made anew elsewhere once it has been gone ` +
    "for CASK_REPAIR_GRACE. If it never returns, forget it below: until then unknown keys are answered with 503 instead of 404.";
  return { level: "bad", text };
}

function aboutCopies({ repair }: Status): Notice[] {
  const notices: Notice[] = [];
  const { reconcile, quarantined, scrub, repair: queue } = repair;
  if (reconcile.missingCopies) {
    const waiting = formatCount(queue.waiting + queue.retries, "blob");
    const text = `${formatCount(reconcile.missingCopies, "copy", "copies")} of this node's blobs are missing on other nodes and are being made anew (${waiting} in the queue).`;
    notices.push({ level: "warn", text });
  }
  if (quarantined) {
    const text =
      `${formatCount(quarantined, "damaged copy", "damaged copies")} in quarantine: never served, kept for you in the folder "quarantine". ` +
      "Many of them, or more each day: replace the disk.";
    notices.push({ level: "warn", text });
  }
  if (scrub.unreadable > 0) {
    const text = `${formatCount(scrub.unreadable, "copy", "copies")} can't be read, so nobody knows whether they are good: check the disk. The last one: ${scrub.lastUnreadable}.`;
    notices.push({ level: "bad", text });
  }
  return notices;
}

function aboutWorkers({ workers }: Status): Notice[] {
  return workers.flatMap(({ name, state, lastError }): Notice[] => {
    if (state === "failing")
      return [{ level: "bad", text: `The worker "${name}" fails, and tries again: ${lastError}.` }];
    return state === "paused" ? [{ level: "warn", text: `The worker "${name}" is paused by an operator.` }] : [];
  });
}
