import type { IncomingMessage, ServerResponse } from "node:http";
import express, { type Express, type NextFunction, type Request, type Response } from "express";
import { CaskError } from "../core/errors.ts";
import { adminRoutes } from "./admin.ts";
import type { HttpContext } from "./context.ts";
import { sendError } from "./error-answer.ts";
import { localRoutes } from "./local.ts";
import { pageRoutes } from "./pages/routes.ts";
import { publicRoutes } from "./public.ts";

/** All doors of a node. */
export function createApp(context: HttpContext): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag"); // ours name the key
  app.use((req, res, next) => measure(context, req, res, next));
  app.use(publicRoutes(context), localRoutes(context), adminRoutes(context), pageRoutes(context));
  app.get("/favicon.ico", (_req, res) => void res.status(204).end());
  app.use((req) => {
    throw new CaskError("NOT_FOUND", `there is no door ${req.method} ${req.path.slice(0, 100)}`);
  });
  app.use((error: unknown, req: Request, res: Response, _next: NextFunction) => {
    sendError(req, res, malformedUrl(error), context.log);
  });
  return app;
}

/** The router throws URIError for a path with broken percent-encoding. */
function malformedUrl(error: unknown): unknown {
  const isMalformed =
    error instanceof URIError || (error instanceof Error && "status" in error && error.status === 400);
  return isMalformed ? new CaskError("BAD_REQUEST", "the path is not properly percent-encoded", error) : error;
}

const DOORS = [
  "file",
  "local",
  "heartbeat",
  "join",
  "status",
  "metrics",
  "healthz",
  "readyz",
  "config",
  "log",
  "upload",
];

/** The first part of the path, from a fixed list: a label that clients could choose would grow without bound. */
function doorOf(req: IncomingMessage): string {
  const first = (req.url ?? "/").split(/[/?]/)[1] ?? "";
  if (first === "") return "root";
  return DOORS.includes(first) ? first : "other";
}

function measure({ metrics, clock }: HttpContext, req: IncomingMessage, res: ServerResponse, next: () => void): void {
  const begunMs = clock.nowMs();
  const door = doorOf(req);
  const method = ["GET", "HEAD", "POST", "PUT"].includes(req.method ?? "") ? (req.method as string) : "other";
  res.once("close", () => {
    const status = res.writableFinished ? String(res.statusCode) : "cut";
    metrics.requests.observe({ door, method, status }, (clock.nowMs() - begunMs) / 1000);
  });
  next();
}
