import express, { type Express, type NextFunction, type Request, type Response } from "express";
import { CaskError } from "../core/errors.ts";
import { adminRoutes } from "./admin.ts";
import type { HttpContext } from "./context.ts";
import { doorAt } from "./doors.ts";
import { sendError } from "./error-answer.ts";
import { localRoutes } from "./local.ts";
import { formErrors, pageRoutes } from "./pages/routes.ts";
import { publicRoutes } from "./public.ts";

/** All doors of a node, by express. Its hottest ones are answered before: fast-lane.ts. */
export function createApp(context: HttpContext): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag"); // ours name the key
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

/** Nobody answered: no such door, or not for this method. */
function refuse(req: Request, res: Response): never {
  const door = doorAt(req.path);
  const shown = `${req.method} ${req.path.slice(0, 100)}`;
  if (!door) throw new CaskError("NOT_FOUND", `there is no door ${shown}; the README lists them`);
  const allowed = door.methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method])).join(", ");
  res.setHeader("allow", allowed);
  throw new CaskError("BAD_METHOD", `${shown}: this door takes ${allowed}`);
}
