import { type ErrorRequestHandler, type Request, type Response, Router } from "express";
import type { CaskError } from "../../core/errors.ts";
import type { HttpContext } from "../context.ts";
import { sendError } from "../error-answer.ts";
import { store, tooFew } from "../public.ts";
import { statusJson } from "../status.ts";
import { formatBytes } from "./amounts.ts";
import { errorPage, joinPage, uploadedPage, uploadPage } from "./forms.ts";
import type { Html } from "./html.ts";
import { indexPage } from "./index-page.ts";
import { layout } from "./layout.ts";
import { configPage, logPage } from "./lists.ts";

/** The pages for people. They show what the JSON doors answer. */
export function pageRoutes(context: HttpContext): Router {
  const router = Router();
  const page = (path: string, title: string, body: () => Html) => {
    router.get(path, (_req, res) => sendPage(context, res, { path, title, body: body() }));
  };
  page("/", "Cluster", () => indexPage(statusJson(context)));
  page("/upload/", "Upload", () => uploadPage(formatBytes(context.maxUploadBytes)));
  page("/join/", "Join a node", joinPage);
  page("/log/", "Log", () => logPage(context.logRing.lines()));
  router.get("/config/", (req, res) => config(context, req, res));
  router.post("/upload/", (req, res) => upload(context, req, res));
  return router;
}

/** JSON, as Go Cask answers it; a page for browsers. */
function config(context: HttpContext, req: Request, res: Response): void {
  if (req.accepts(["json", "html"]) === "html") {
    sendPage(context, res, { path: "/config/", title: "Settings", body: configPage(context.settings) });
    return;
  }
  const { cluster } = context;
  const settings = Object.fromEntries(context.settings.map(({ name, value }) => [name, value]));
  res.json({ uuid: cluster.uuid, base_url: cluster.baseUrl, writeable: cluster.isWriteable, settings });
}

async function upload(context: HttpContext, req: Request, res: Response): Promise<void> {
  const result = await store(context, req, res);
  const problem = result.success ? null : tooFew(result).message;
  const { key, success, wanted } = result;
  const body = uploadedPage({ key, success, copies: result.copies.length, wanted, problem });
  sendPage(context, res.status(success ? 200 : 503), {
    path: "/upload/",
    title: success ? "Stored" : "Not stored safely",
    body,
  });
}

/** What a browser sent by a form is answered with a page that leads back to it. `from`: the page with the form; null: its own path. */
export function formErrors(context: HttpContext, from: string | null): ErrorRequestHandler {
  return (thrown: unknown, req: Request, res: Response, _next) => {
    const back = from ?? `${req.baseUrl}/`;
    const page = ({ code, message }: CaskError) =>
      pageText(context, { path: back, title: "That did not work", body: errorPage(code, message, back) });
    setPageHeaders(res);
    sendError(req, res, thrown, { ...context, page });
  };
}

interface Content {
  readonly path: string;
  readonly title: string;
  readonly body: Html;
}

export function sendPage(context: HttpContext, res: Response, content: Content): void {
  setPageHeaders(res);
  res.setHeader("content-type", "text/html; charset=utf-8");
  res.end(pageText(context, content));
}

function pageText({ cluster, version }: HttpContext, content: Content): string {
  return layout({ ...content, uuid: cluster.uuid, version });
}

function setPageHeaders(res: Response): void {
  res.setHeader("x-content-type-options", "nosniff");
  res.setHeader(
    "content-security-policy",
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
  );
  res.setHeader("cache-control", "no-store");
}
