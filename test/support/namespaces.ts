import { spawnSync } from "node:child_process";

const BRIDGE = "cask-br";
const NETWORK = "10.99.77";
const FORWARD_RULE = ["FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"];

/** One line that says why network namespaces can't be used here; null where they can. */
export function whyNoNamespaces(): string | null {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "network namespaces need Linux and root";
  if (spawnSync("ip", ["-V"]).status !== 0) return "network namespaces need ip (iproute2)";
  if (spawnSync("iptables", ["-V"]).status !== 0) return "partitions need iptables";
  const probe = spawnSync("ip", ["netns", "add", "cask-probe"]);
  spawnSync("ip", ["netns", "del", "cask-probe"]);
  return probe.status === 0 ? null : "this kernel lets us make no network namespaces";
}

/** Hosts on one bridge, each in a network namespace of its own; this process reaches all of them. */
export class Namespaces {
  readonly names: readonly string[];

  private constructor(names: readonly string[]) {
    this.names = names;
  }

  static make(count: number): Namespaces {
    const spaces = new Namespaces(Array.from({ length: count }, (_, i) => `cask-n${i}`));
    spaces.remove();
    run("ip", ["link", "add", BRIDGE, "type", "bridge"]);
    run("ip", ["addr", "add", `${NETWORK}.254/24`, "dev", BRIDGE]);
    run("ip", ["link", "set", BRIDGE, "up"]);
    // Where a container engine runs, it drops what it did not make itself, also between ports of a bridge.
    run("iptables", ["-w", "-I", ...FORWARD_RULE]);
    for (const [i, name] of spaces.names.entries()) {
      run("ip", ["netns", "add", name]);
      run("ip", ["link", "add", `cask-v${i}`, "type", "veth", "peer", "name", "eth0", "netns", name]);
      run("ip", ["link", "set", `cask-v${i}`, "master", BRIDGE, "up"]);
      run("ip", ["-n", name, "addr", "add", `${spaces.address(i)}/24`, "dev", "eth0"]);
      run("ip", ["-n", name, "link", "set", "eth0", "up"]);
      run("ip", ["-n", name, "link", "set", "lo", "up"]);
    }
    return spaces;
  }

  address(i: number): string {
    return `${NETWORK}.${i + 1}`;
  }

  /** Before a command that is to run on that host. */
  prefix(i: number): readonly string[] {
    return ["ip", "netns", "exec", this.names[i] as string];
  }

  /** No packet passes between hosts of different groups, in either direction. */
  partition(...groups: ReadonlyArray<readonly number[]>): void {
    for (const [g, group] of groups.entries()) {
      const others = groups.flatMap((other, h) => (h === g ? [] : other));
      for (const i of group) {
        for (const other of others) {
          run("ip", [
            "netns",
            "exec",
            this.names[i] as string,
            "iptables",
            "-w",
            "-A",
            "INPUT",
            "-s",
            this.address(other),
            "-j",
            "DROP",
          ]);
        }
      }
    }
  }

  heal(): void {
    for (const name of this.names) run("ip", ["netns", "exec", name, "iptables", "-w", "-F", "INPUT"]);
  }

  /** Also what an earlier run may have left. */
  remove(): void {
    // The links first: with their namespace they would go a little later, and be in the way of the next ones.
    for (const i of this.names.keys()) spawnSync("ip", ["link", "del", `cask-v${i}`]);
    for (const name of this.names) spawnSync("ip", ["netns", "del", name]);
    spawnSync("ip", ["link", "del", BRIDGE]);
    while (spawnSync("iptables", ["-w", "-D", ...FORWARD_RULE]).status === 0);
  }
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
}
