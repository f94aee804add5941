import { CaskError, messageOf } from "../core/errors.ts";

/** The answer can't be true (a length that does not fit, bytes that are missing): another attempt may bring a right one. */
export class BadAnswer extends Error {
  /** So often it is asked, at most, before this is believed. */
  readonly attemptsMax: number = Number.POSITIVE_INFINITY;
}

/** S3 said that this one object does not exist. A missing bucket, or a 404 of something in between, is another thing. */
export function saysNoSuchKey(error: unknown): boolean {
  return fieldsOf(error).name === "NoSuchKey";
}

export function hasStatus(error: unknown, ...statuses: readonly number[]): boolean {
  return statuses.includes(statusOf(error) ?? 0);
}

/** A condition of the request was not met. 409: another conditional request for the object was under way. */
export function saysChanged(error: unknown): boolean {
  return hasStatus(error, 412);
}

/** Was the request refused for a reason that another attempt will not change? What is no clear refusal is tried again. */
export function isRefusal(error: unknown): boolean {
  const { name, $retryable: retryable } = fieldsOf(error);
  if (error instanceof BadAnswer || retryable !== undefined) return false;
  if (name === "CredentialsProviderError") return true;
  const status = statusOf(error);
  if (status === undefined || status < 400 || status >= 500) return false;
  const passing = [408, 409, 425, 429];
  return !passing.includes(status) && name !== "RequestTimeout" && name !== "RequestTimeTooSkewed";
}

/** After this error the request may still be on its way to where it takes effect: nobody answered who had done with it. */
export function mayStillHappen(error: unknown): boolean {
  const status = statusOf(error);
  return status === undefined || (status >= 500 && status !== 503 && status !== 501);
}

/** What S3 said, in our words. Without a cause: the SDK's errors hold requests, and with them credentials. */
export function s3Failure(error: unknown, doing: string): CaskError {
  if (error instanceof CaskError) return error;
  const { name } = fieldsOf(error);
  const status = statusOf(error);
  const named = typeof name === "string" && name !== "" && name !== "Error";
  const said = named ? `${name}: ${messageOf(error)}` : messageOf(error);
  const text = status === undefined ? said : `${said} (HTTP ${status})`;
  return new CaskError("STORAGE_FAILED", `S3 failed while ${doing}: ${text}`);
}

export function statusOf(error: unknown): number | undefined {
  const { $metadata: metadata } = fieldsOf(error);
  if (typeof metadata !== "object" || metadata === null || !("httpStatusCode" in metadata)) return undefined;
  return typeof metadata.httpStatusCode === "number" ? metadata.httpStatusCode : undefined;
}

function fieldsOf(error: unknown): {
  readonly name?: unknown;
  readonly $metadata?: unknown;
  readonly $retryable?: unknown;
} {
  return typeof error === "object" && error !== null ? error : {};
}
