// For containers: is the node in this one alive? The certificate is for the name that others use, not for loopback.
import { get as getHttp } from "node:http";
import { get as getHttps } from "node:https";

const { CASK_PORT = "8080", CASK_SSL_CERT, CASK_SSL_CERTIFICATE } = process.env;
const hasTls = Boolean(CASK_SSL_CERT || CASK_SSL_CERTIFICATE);
const get = hasTls ? getHttps : getHttp;
const url = `${hasTls ? "https" : "http"}://127.0.0.1:${CASK_PORT}/healthz`;
get(url, { rejectUnauthorized: false }, ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1)).on("error", () =>
  process.exit(1),
);
