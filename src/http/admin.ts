import { type Request, type Response, Router } from "express";
import { CaskError, messageOf } from "../core/errors.ts";
import { type NeighborAddress, readNeighbors } from "../core/setting-values.ts";
import { HEADER, parseAnnouncement, parseJsonObject, parseNodeId } from "../peer/protocol.ts";
import { clientAddress } from "./client-address.ts";
import type { HttpContext } from "./context.ts";
import { joinedPage } from "./pages/forms.ts";
import { forgottenPage } from "./pages/operations.ts";
import { sendPage } from "./pages/routes.ts";
import { readBody } from "./read-body.ts";
import { closeSignal } from "./serve-blob.ts";
import { statusJson } from "./status.ts";

/** The doors for members and operators. Those that change something want the cluster's secret. */
export function adminRoutes(context: HttpContext): Router {
  const router = Router();
  router.post("/heartbeat", (req, res) => heartbeat(context, req, res));
  router.post("/join", (req, res) => join(context, req, res));
  router.post("/forget", (req, res) => forget(context, req, res));
  router.post("/drain", (req, res) => drain(context, req, res));
  router.post("/workers/:name/:action", (req, res) => switchWorker(context, req, res));
  router.get("/status", (_req, res) => void res.json(statusJson(context)));
  router.get("/metrics", async (_req, res) => {
    const { contentType, text } = await context.metrics.page();
    res.setHeader("content-type", contentType);
    res.end(text);
  });
  router.get("/healthz", (_req, res) => void res.type("text/plain").send("ok\n"));
  router.get("/readyz", (_req, res) => readyz(context, res));
  return router;
}

/** Ready: has met its neighbors, and can take in or pass on requests. */
function readyz(context: HttpContext, res: Response): void {
  const ready = context.cluster.joined && !context.cluster.inConflict;
  const text = context.cluster.joined ? "another live node has this UUID\n" : "has not met its neighbors yet\n";
  res
    .status(ready ? 200 : 503)
    .type("text/plain")
    .send(ready ? "ready\n" : text);
}

async function heartbeat(context: HttpContext, req: Request, res: Response): Promise<void> {
  const json = await fields(context, req);
  authorize(context, req, json);
  const announcement = parseAnnouncement(json);
  try {
    res.json(await context.heartbeat.receive(announcement, closeSignal(res)));
  } catch (error) {
    if (!(error instanceof CaskError) || error.code !== "UUID_IN_USE") throw error;
    const own = context.cluster.announcement();
    const holder = own.uuid === announcement.uuid ? { holder: own } : {};
    res.status(409).json({ error: { code: error.code, message: error.message }, ...holder });
  }
}

/** `url` (a base URL, or a gossip address) and `secret`, as a form or as JSON: meet that node, and all that it knows. */
async function join(context: HttpContext, req: Request, res: Response): Promise<void> {
  const given = await fields(context, req);
  authorize(context, req, given);
  const address = parseAddress(given["url"]);
  if (!context.join)
    throw new CaskError("BAD_REQUEST", "this node has no CASK_CLUSTER_SECRET: it can't be in a cluster");
  await context.join.joinNow(address, closeSignal(res));
  const shown = String(given["url"]);
  if ((req.headers.accept ?? "").includes("text/html")) {
    sendPage(context, res, { path: "/join/", title: "Joined", body: joinedPage(shown) });
  } else res.type("text/plain").send(`joined ${shown}\n`);
}

function parseAddress(given: unknown): NeighborAddress {
  const help = "send url=http://host:port (or host:port of its gossip) of the node to join, and secret";
  if (typeof given !== "string" || given === "") throw new CaskError("BAD_REQUEST", `no url given: ${help}`);
  try {
    const [address, ...more] = readNeighbors(given);
    if (address && more.length === 0) return address;
  } catch (error) {
    throw new CaskError("BAD_REQUEST", messageOf(error), error);
  }
  throw new CaskError("BAD_REQUEST", `one node at a time: ${help}`);
}

/** `uuid` and `secret`: that member never returns. All other nodes are told, unless one of them tells this one (`forwarded`). */
async function forget(context: HttpContext, req: Request, res: Response): Promise<void> {
  const given = await fields(context, req);
  authorize(context, req, given);
  const uuid = parseNodeId(given["uuid"]);
  const { told, notTold } = await context.forget.forget(uuid, String(given["forwarded"]) === "true", closeSignal(res));
  const lines = [
    `forgotten ${uuid} on ${told.length} nodes`,
    ...notTold.map(({ base_url, reason }) => `NOT on ${base_url}: ${reason}`),
  ];
  const json = { uuid, told, not_told: notTold };
  if ((req.headers.accept ?? "").includes("text/html")) {
    sendPage(context, res, { path: "/", title: "Forgotten", body: forgottenPage(json) });
  } else answerForm(req, res, { text: lines.join("\n"), json });
}

/** `secret`, and `cancel=true` to end it: this node is emptied, to be switched off. Answers what it is at. */
async function drain(context: HttpContext, req: Request, res: Response): Promise<void> {
  const given = await fields(context, req);
  authorize(context, req, given);
  const cancels = String(given["cancel"] ?? "false") === "true";
  if (cancels) await context.blobs.drain.cancel();
  else await context.blobs.drain.begin();
  answerForm(req, res, { text: context.blobs.drain.status().text, json: context.blobs.drain.status() });
}

/** `POST /workers/<name>/pause/` or `…/resume/` with `secret`. */
async function switchWorker(context: HttpContext, req: Request, res: Response): Promise<void> {
  authorize(context, req, await fields(context, req));
  const { name, action } = req.params;
  const worker = context.workers.find((each) => each.name === name);
  if (!worker || (action !== "pause" && action !== "resume")) {
    const names = context.workers.map((each) => each.name).join(", ");
    throw new CaskError("BAD_REQUEST", `expected /workers/<name>/pause/ or /resume/ with one of ${names}`);
  }
  if (action === "pause") worker.pause();
  else worker.resume();
  context.log.warn({}, `an operator had the worker ${worker.name} ${action}d`);
  answerForm(req, res, { text: `${worker.name} ${action}d`, json: worker.status() });
}

/** To a form of a page: back to it. To programs: JSON or a line of text. */
function answerForm(req: Request, res: Response, answer: { text: string; json: unknown }): void {
  const accept = req.headers.accept ?? "";
  if (accept.includes("text/html")) res.redirect(303, "/");
  else if (accept.includes("application/json")) res.json(answer.json);
  else res.type("text/plain").send(`${answer.text}\n`);
}

/** The fields of a JSON object or an HTML form. */
async function fields(context: HttpContext, req: Request): Promise<Record<string, unknown>> {
  const body = await readBody(req, context);
  if (/^application\/x-www-form-urlencoded/i.test(req.headers["content-type"] ?? "")) {
    return body.trimStart().startsWith("{") ? parseJsonObject(body) : Object.fromEntries(new URLSearchParams(body));
  }
  return body === "" ? {} : parseJsonObject(body);
}

/** The secret comes in the header, or (forms, Go nodes) as a field. */
function authorize(context: HttpContext, req: Request, given: Record<string, unknown>): void {
  if (context.secrets.accepts(req.headers[HEADER.secret]) || context.secrets.accepts(given["secret"])) return;
  context.log.warn(
    { path: req.path, from: clientAddress(req) },
    "request with a missing or wrong cluster secret refused",
  );
  throw new CaskError("FORBIDDEN", "the cluster secret is missing or wrong");
}
