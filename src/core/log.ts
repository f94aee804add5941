import { type DestinationStream, type Logger as PinoLogger, type LoggerOptions as PinoOptions, pino } from "pino";
import { CaskError, messageOf, systemCode } from "./errors.ts";
import { LOG_LINE_MAX_CHARS, LOG_LINES_MAX_COUNT } from "./limits.ts";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
export type LogFields = Record<string, unknown>;

/** One line to standard output for each call: JSON with `level`, `time`, `msg`, and the fields. An error goes into `err`. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  fatal(fields: LogFields, message: string): void;
  child(fields: LogFields): Logger;
}

/** A line as the page /log/ shows it. */
export interface LogLine {
  readonly time: string;
  readonly level: string;
  readonly message: string;
  /** The other fields, as JSON. */
  readonly fields: string;
}

/** The last lines of the log, in memory, bounded in number and length. */
export class LogRing {
  private readonly kept: LogLine[] = [];

  /** Oldest first. */
  lines(): readonly LogLine[] {
    return this.kept;
  }

  write(json: string): void {
    const { level, time, msg, pid: _pid, hostname: _hostname, ...fields } = JSON.parse(json) as Record<string, unknown>;
    const rest = Object.keys(fields).length > 0 ? JSON.stringify(fields) : "";
    this.kept.push({
      time: String(time),
      level: pino.levels.labels[Number(level)] ?? String(level),
      message: String(msg ?? "").slice(0, LOG_LINE_MAX_CHARS),
      fields: rest.slice(0, LOG_LINE_MAX_CHARS),
    });
    if (this.kept.length > LOG_LINES_MAX_COUNT) this.kept.shift();
  }
}

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly ring: LogRing;
  /** Where lines go; default standard output. */
  readonly output?: DestinationStream;
}

const REDACTED = [
  "secret",
  "*.secret",
  "clusterSecret",
  "*.clusterSecret",
  'headers["x-cask-cluster-secret"]',
  '*.headers["x-cask-cluster-secret"]',
];

export function createLogger({ level, ring, output = process.stdout }: LoggerOptions): Logger {
  const both: DestinationStream = {
    write(line) {
      ring.write(line);
      output.write(line);
    },
  };
  const options: PinoOptions = {
    level,
    redact: REDACTED,
    serializers: { err: errorFields },
    timestamp: pino.stdTimeFunctions.isoTime, // people read logs beside each other, without a page in between
  };
  const logger: PinoLogger = pino(options, both);
  return logger;
}

/** A stack is for defects. An expected failure has said all in its messages, and a node that is away for an hour makes many of them. */
function errorFields(error: Error): LogFields {
  if (!(error instanceof CaskError) || !isExpected(error)) return pino.stdSerializers.err(error);
  const said: string[] = [];
  for (let each: unknown = error; each !== undefined; each = (each as { readonly cause?: unknown }).cause) {
    const message = messageOf(each);
    if (!said.some((earlier) => earlier.includes(message))) said.push(message);
  }
  return { code: error.code, message: said.join(": ") };
}

/** Thrown on purpose, because of nothing worse than what a system or a library said with a code. */
function isExpected(error: unknown): boolean {
  if (!(error instanceof CaskError)) return systemCode(error) !== undefined;
  return error.code !== "INTERNAL" && (error.cause === undefined || isExpected(error.cause));
}

export function silentLogger(): Logger {
  return pino({ level: "silent" });
}
