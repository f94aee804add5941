import { spawnSync } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { connect } from "node:tls";
import { Authority, type CertificateFiles } from "../support/certificates.ts";
import { type NodeProcess, type NodeSettings, ProcessCluster, type Status, until } from "../support/processes.ts";
import { TemporaryFolders } from "../support/temporary-folder.ts";

const folders = new TemporaryFolders();
afterAll(() => folders.removeAll());

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const testWithOpenssl = hasOpenssl ? test : test.skip;
if (!hasOpenssl) console.log("openssl is not installed: no TLS clusters are tested");

const secure = (url: string) => url.replaceAll("http://", "https://");

function tlsSettings(node: NodeProcess, { cert, key }: CertificateFiles, ca: string): NodeSettings {
  return {
    CASK_SSL_CERT: cert,
    CASK_SSL_KEY: key,
    CASK_SSL_CA: ca,
    CASK_BASE_URL: secure(node.url),
    CASK_NEIGHBORS: secure(node.settings["CASK_NEIGHBORS"] ?? ""),
  };
}

function ask(node: NodeProcess, path: string, ca: string, body?: Buffer): Promise<{ status: number; bytes: Buffer }> {
  return new Promise((resolve, reject) => {
    const options = { ca: readFileSync(ca), method: body ? "POST" : "GET", agent: false as const };
    const outgoing = request(secure(node.url) + path, options, (incoming) => {
      const parts: Buffer[] = [];
      incoming.on("data", (part: Buffer) => parts.push(part)).on("error", reject);
      incoming.on("end", () => resolve({ status: incoming.statusCode ?? 0, bytes: Buffer.concat(parts) }));
    });
    outgoing.on("error", reject).end(body);
  });
}

async function hasMet(node: NodeProcess, ca: string, count: number): Promise<boolean> {
  const { members } = JSON.parse((await ask(node, "/status/", ca)).bytes.toString()) as Status;
  return members.filter(({ state }) => state === "alive").length === count;
}

function served(node: NodeProcess, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port: Number(new URL(node.url).port), ca: readFileSync(ca) }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

testWithOpenssl(
  "a cluster with an authority of its own; certificates and then the authority are changed without an upload that fails",
  async () => {
    const folder = await folders.make();
    const [first, second] = [new Authority(folder, "first"), new Authority(folder, "second")];
    const cluster = await ProcessCluster.prepare(3, { CASK_REPLICATION: "3", CASK_MAX_REPLICATION: "3" });
    const ca = join(folder, "trusted.pem");
    copyFileSync(first.cert, ca);
    const pairs = cluster.nodes.map((_, i) => first.issue(`node${i}`));
    const client = join(folder, "client.pem");
    writeFileSync(client, readFileSync(first.cert, "utf8") + readFileSync(second.cert, "utf8"));
    const failures: string[] = [];
    let stopped = false;
    try {
      for (const [i, node] of cluster.nodes.entries()) node.start(tlsSettings(node, pairs[i] as CertificateFiles, ca));
      for (const node of cluster.nodes) await until("all have met", () => hasMet(node, client, 2));

      let uploads = 0;
      const uploading = (async () => {
        while (!stopped) {
          const node = cluster.node(uploads % 3);
          const { status, bytes } = await ask(node, "/", client, Buffer.from(`blob ${uploads++}`));
          if (status !== 200) failures.push(`${status}: ${bytes}`);
        }
      })();
      const renew = async (change: () => void, message: RegExp) => {
        const before = cluster.nodes.map((node) => node.output.match(new RegExp(message, "g"))?.length ?? 0);
        change();
        for (const node of cluster.nodes) node.signal("SIGHUP");
        await until("all have read them again", async () =>
          cluster.nodes.every(
            (node, i) => (node.output.match(new RegExp(message, "g"))?.length ?? 0) > (before[i] ?? 0),
          ),
        );
        const soFar = uploads;
        await until("uploads go on", async () => uploads > soFar + 3);
      };
      const again = /read the certificates again/;
      const serials = await Promise.all(cluster.nodes.map((node) => served(node, client)));
      await renew(() => cluster.nodes.forEach((_, i) => void first.issue(`node${i}`)), again);
      for (const [i, node] of cluster.nodes.entries()) expect(await served(node, client)).not.toBe(serials[i]);

      await renew(() => copyFileSync(client, ca), again); // both authorities
      await renew(() => cluster.nodes.forEach((_, i) => void second.issue(`node${i}`)), again);
      await renew(() => copyFileSync(second.cert, ca), again);
      await renew(() => writeFileSync(ca, "no certificate"), /could not be read again, the former stay in use/);
      await renew(() => copyFileSync(second.cert, ca), again);
      const { status, bytes } = await ask(cluster.node(0), "/", second.cert, Buffer.from("after all"));
      expect(status).toBe(200);
      const { key } = JSON.parse(bytes.toString()) as { key: string };
      expect((await ask(cluster.node(2), `/file/${key}/`, second.cert)).bytes.toString()).toBe("after all");
      stopped = true;
      await uploading;
      expect(failures).toEqual([]);
      expect(uploads).toBeGreaterThan(20);
    } finally {
      stopped = true;
      await cluster.stop();
    }
  },
  90_000,
);

testWithOpenssl(
  "an unknown authority and an expired certificate are told in clear words",
  async () => {
    const folder = await folders.make();
    const [own, other] = [new Authority(folder, "own"), new Authority(folder, "other")];
    const cluster = await ProcessCluster.prepare(3);
    const [good, stranger, expired] = cluster.nodes as [NodeProcess, NodeProcess, NodeProcess];
    try {
      good.start(tlsSettings(good, own.issue("good"), own.cert));
      stranger.start(tlsSettings(stranger, other.issue("stranger"), other.cert));
      expired.start(tlsSettings(expired, own.issue("expired", { expired: true }), own.cert));
      await until("the good node tells what is wrong with the stranger", async () =>
        /is of an authority that this node does not know: name it in CASK_SSL_CA/.test(good.output),
      );
      // The expired one can reach others, and so is a member; but nobody can give it a copy.
      await until("an upload tells what is wrong with the expired one", async () => {
        const { bytes } = await ask(good, "/", own.cert, Buffer.from("a blob"));
        return /certificate has expired; renew the certificate there/.test(bytes.toString());
      });
      expect(expired.output).toMatch(/CASK_SSL_CERT: .* has expired \(.*\): others will refuse to speak to this node/);
    } finally {
      await cluster.stop();
    }
  },
  60_000,
);
