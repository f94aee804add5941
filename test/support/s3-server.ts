import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import type { S3Place } from "../../src/storage/s3-client.ts";
import { type CopyPlace, filePlace } from "./copy-places.ts";
import { FakeS3 } from "./fake-s3.ts";
import { freePorts } from "./free-ports.ts";
import { until } from "./processes.ts";

const CREDENTIALS = { accessKeyId: "access-key", secretAccessKey: "hunter22-hunter22" };
export const BUCKET = "blobs";

/** An S3 server with one bucket, and a client of its own to look and to do damage behind a backend's back. */
export interface S3Server {
  readonly url: string;
  readonly client: S3Client;
  /** An object as it lies below the server: what that knows of it (ETag, metadata) stays as it was. */
  place(name: string): CopyPlace;
  stop(): Promise<void>;
}

export interface S3ServerKind {
  readonly name: string;
  /** Why it can't be used here; null: it can. */
  readonly missing: string | null;
  start(): Promise<S3Server>;
}

const hasVersitygw = spawnSync("versitygw", ["--version"]).status === 0;

export const FAKE_S3: S3ServerKind = { name: "the fake", missing: null, start: startFake };
export const VERSITYGW: S3ServerKind = {
  name: "versitygw",
  missing: hasVersitygw
    ? null
    : "versitygw is not installed (go install github.com/versity/versitygw/cmd/versitygw@latest)",
  start: startVersitygw,
};

/** The real one where it is installed. */
export const BEST_S3 = hasVersitygw ? VERSITYGW : FAKE_S3;

export function placeOn(url: string, prefix: string, more: Partial<S3Place> = {}): S3Place {
  return {
    bucket: BUCKET,
    prefix,
    region: undefined,
    endpoint: url,
    forcePathStyle: true,
    credentials: CREDENTIALS,
    ...more,
  };
}

/** The settings of a node whose blobs are there. */
export function s3Settings(url: string): Record<`CASK_${string}`, string> {
  return {
    CASK_BACKEND: "s3",
    CASK_S3_BUCKET: BUCKET,
    CASK_S3_ENDPOINT: url,
    CASK_S3_FORCE_PATH_STYLE: "true",
    CASK_S3_ACCESS_KEY: CREDENTIALS.accessKeyId,
    CASK_S3_SECRET_KEY: CREDENTIALS.secretAccessKey,
  };
}

export async function objectNames(client: S3Client, prefix = ""): Promise<string[]> {
  const page = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: prefix }));
  return (page.Contents ?? []).map(({ Key: name = "" }) => name);
}

export async function putObject(client: S3Client, name: string, bytes: Uint8Array): Promise<void> {
  await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: name, Body: bytes }));
}

async function startVersitygw(): Promise<S3Server> {
  const folder = await mkdtemp(join(tmpdir(), "cask-s3-"));
  await mkdir(join(folder, "data"));
  const [port] = (await freePorts(1)) as [number];
  const env = {
    PATH: process.env["PATH"],
    ROOT_ACCESS_KEY: CREDENTIALS.accessKeyId,
    ROOT_SECRET_KEY: CREDENTIALS.secretAccessKey,
  };
  const args = ["--port", `127.0.0.1:${port}`, "--quiet", "posix", join(folder, "data")];
  const child = spawn("versitygw", args, { env, stdio: "ignore" });
  const stop = async () => {
    await endOf(child);
    await rm(folder, { recursive: true, force: true });
  };
  return ready(port, { place: (name) => filePlace(join(folder, "data", BUCKET, name)), stop });
}

async function startFake(): Promise<S3Server> {
  const fake = await FakeS3.start(BUCKET);
  return { url: fake.url, client: clientOf(fake.url), place: (name) => fake.place(name), stop: () => fake.stop() };
}

async function ready(port: number, { place, stop }: Pick<S3Server, "place" | "stop">): Promise<S3Server> {
  const url = `http://127.0.0.1:${port}`;
  const client = clientOf(url);
  await until("the S3 server makes a bucket", async () => {
    await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
    return true;
  });
  return {
    url,
    client,
    place,
    stop: async () => {
      client.destroy();
      await stop();
    },
  };
}

export function clientOf(url: string): S3Client {
  return new S3Client({
    endpoint: url,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: CREDENTIALS,
    requestChecksumCalculation: "WHEN_REQUIRED",
  });
}

async function endOf(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}
