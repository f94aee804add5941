import type { IncomingMessage, ServerResponse } from "node:http";
import express, { type Express, type NextFunction, type Request, type Response } from "express";
import { CaskError } from "../core/errors.ts";
import { adminRoutes } from "./admin.ts";
import type { HttpContext } from "./context.ts";
import { sendError } from "./error-answer.ts";
import { localRoutes } from "./local.ts";
import { formErrors, pageRoutes } from "./pages/routes.ts";
import { publicRoutes } from "./public.ts";

/** All doors of a node. */
export function createApp(context: HttpContext): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag"); // ours name the key
  app.use((req, res, next) => measure(context, req, res, next));
  app.use(publicRoutes(context), localRoutes(context), adminRoutes(context), pageRoutes(context));
  app.get("/favicon.ico", (_req, res) => void res.status(204).end());
  app.use(refuse);
  app.use(["/upload", "/join"], formErrors(context, null));
  app.use(["/forget", "/drain", "/workers"], formErrors(context, "/"));
  app.use((error: unknown, req: Request, res: Response, _next: NextFunction) => {
    sendError(req, res, malformedUrl(error), context);
  });
  return app;
}

/** The router throws URIError for a path with broken percent-encoding. */
function malformedUrl(error: unknown): unknown {
  const isMalformed = typeof error === "object" && error !== null && "status" in error && error.status === 400;
  return isMalformed ? new CaskError("BAD_REQUEST", "the path is not properly percent-encoded", error) : error;
}

/** Every door and its methods, for the label of the metric and for the answer to a wrong method. HEAD comes with GET. */
const DOORS: ReadonlyArray<{ readonly name: string; readonly path: RegExp; readonly methods: readonly string[] }> = [
  { name: "root", path: /^\/$/, methods: ["GET", "POST"] },
  { name: "copies", path: /^\/file\/[^/]+\/copies\/?$/, methods: ["GET"] },
  { name: "file", path: /^\/file\/[^/]+\/?$/, methods: ["GET", "PUT"] },
  { name: "local", path: /^\/local\/?$/, methods: ["POST"] },
  { name: "has", path: /^\/local\/has\/?$/, methods: ["POST"] },
  { name: "repair", path: /^\/local\/(vouch|digests|keys)\/?$/, methods: ["POST"] },
  { name: "local", path: /^\/local\/[^/]+\/?$/, methods: ["GET", "PUT"] },
  { name: "heartbeat", path: /^\/heartbeat\/?$/, methods: ["POST"] },
  { name: "drain", path: /^\/drain\/?$/, methods: ["POST"] },
  { name: "workers", path: /^\/workers\/[^/]+\/[^/]+\/?$/, methods: ["POST"] },
  { name: "forget", path: /^\/forget\/?$/, methods: ["POST"] },
  { name: "join", path: /^\/join\/?$/, methods: ["GET", "POST"] },
  { name: "upload", path: /^\/upload\/?$/, methods: ["GET", "POST"] },
  { name: "page", path: /^\/(config|log)\/?$/, methods: ["GET"] },
  { name: "status", path: /^\/status\/?$/, methods: ["GET"] },
  { name: "metrics", path: /^\/metrics\/?$/, methods: ["GET"] },
  { name: "health", path: /^\/(healthz|readyz)\/?$/, methods: ["GET"] },
];

/** Requests of clients: background work goes after them. */
const CLIENT_DOORS = new Set(["root", "file", "copies", "upload"]);

function doorAt(path: string) {
  return DOORS.find((door) => door.path.test(path));
}

/** Nobody answered: no such door, or not for this method. */
function refuse(req: Request, res: Response): never {
  const door = doorAt(req.path);
  const shown = `${req.method} ${req.path.slice(0, 100)}`;
  if (!door) throw new CaskError("NOT_FOUND", `there is no door ${shown}; the README lists them`);
  const allowed = door.methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method])).join(", ");
  res.setHeader("allow", allowed);
  throw new CaskError("BAD_METHOD", `${shown}: this door takes ${allowed}`);
}

function measure(
  { metrics, clock, blobs }: HttpContext,
  req: IncomingMessage,
  res: ServerResponse,
  next: () => void,
): void {
  const begunMs = clock.nowMs();
  // From a fixed list: a label that clients could choose would grow without bound.
  const door = doorAt((req.url ?? "/").split("?")[0] as string)?.name ?? "other";
  const method = ["GET", "HEAD", "POST", "PUT"].includes(req.method ?? "") ? (req.method as string) : "other";
  const ended = CLIENT_DOORS.has(door) ? blobs.foreground.begin() : () => undefined;
  res.once("close", () => {
    ended();
    const status = res.writableFinished ? String(res.statusCode) : "cut";
    metrics.requests.observe({ door, method, status }, (clock.nowMs() - begunMs) / 1000);
  });
  next();
}
