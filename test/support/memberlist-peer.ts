import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { until } from "./processes.ts";

/** A real node of hashicorp/memberlist, in Go, from test/fixtures/memberlist-peer (its README tells the flags and what it prints). */
const SOURCE = resolve("test/fixtures/memberlist-peer");
const BINARY = join(tmpdir(), "cask-memberlist-peer", "memberlist-peer");

/** Why there can be none here, or null. Builds it the first time. */
export function whyNoMemberlist(): string | null {
  if (existsSync(BINARY)) return null;
  try {
    mkdirSync(join(BINARY, ".."), { recursive: true });
    execFileSync("go", ["build", "-o", BINARY, "."], { cwd: SOURCE, stdio: "pipe", timeout: 300_000 });
    return null;
  } catch (error) {
    return `needs Go, and its modules: ${String((error as Error).message).split("\n")[0]}`;
  }
}

export interface PeerMember {
  readonly name: string;
  readonly addr: string;
  readonly state: "alive" | "suspect" | "dead" | "left";
  readonly incarnation: number;
  readonly meta: string;
}

interface PeerEvent {
  readonly event: string;
  readonly name?: string;
  readonly addr?: string;
  readonly meta?: string;
  readonly members?: readonly PeerMember[];
  readonly health?: number;
  readonly error?: string;
}

export class MemberlistPeer {
  readonly events: PeerEvent[] = [];
  private readonly child: ChildProcess;

  private constructor(options: readonly string[]) {
    this.child = spawn(BINARY, options, { stdio: ["pipe", "pipe", "ignore"] });
    let rest = "";
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() as string;
      for (const line of lines) this.events.push(JSON.parse(line) as PeerEvent);
    });
  }

  static async start(options: Record<string, string>): Promise<MemberlistPeer> {
    const peer = new MemberlistPeer(Object.entries(options).map(([flag, value]) => `-${flag}=${value}`));
    await until("the Go node listens", async () => peer.address !== undefined);
    return peer;
  }

  /** `host:port`. */
  get address(): string | undefined {
    return this.events.find(({ event }) => event === "listening")?.addr;
  }

  saw(event: string, name: string): boolean {
    return this.events.some((each) => each.event === event && each.name === name);
  }

  async members(): Promise<readonly PeerMember[]> {
    return (await this.told()).members ?? [];
  }

  /** Its awareness score: 0 is good. */
  async health(): Promise<number> {
    return (await this.told()).health ?? Number.NaN;
  }

  async stateOf(name: string): Promise<PeerMember["state"] | undefined> {
    return (await this.members()).find((member) => member.name === name)?.state;
  }

  command(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  private async told(): Promise<PeerEvent> {
    const before = this.events.length;
    this.command("members");
    const answer = () => this.events.slice(before).find(({ event }) => event === "members");
    await until("the Go node tells its members", async () => answer() !== undefined);
    return answer() as PeerEvent;
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill("SIGCONT");
    this.child.kill("SIGKILL");
    await once(this.child, "exit");
  }
}
