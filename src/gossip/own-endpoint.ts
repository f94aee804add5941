import { CaskError } from "../core/errors.ts";
import { addrOf } from "./endpoint.ts";
import type { Endpoint } from "./messages.ts";

export interface OwnEndpointOptions {
  /** CASK_GOSSIP_ADVERTISE: goes before all else. */
  readonly advertise: { readonly host: string; readonly port: number } | undefined;
  /** The address that is bound. */
  readonly host: string;
  readonly port: number;
  /** Its host is where others reach this node. */
  readonly baseUrl: string;
  readonly resolve: (host: string) => Promise<readonly Uint8Array[]>;
}

const ANY = new Set(["0.0.0.0", "::"]);

/** The gossip address that others are told. Rejects with BAD_CONFIG when none can be found. */
export async function ownEndpoint(options: OwnEndpointOptions): Promise<Endpoint> {
  const { advertise, host, port, baseUrl, resolve } = options;
  const name = advertise?.host ?? (ANY.has(host) ? new URL(baseUrl).hostname.replace(/^\[|\]$/g, "") : host);
  const [addr] = await resolve(name).catch((error: unknown) => {
    throw new CaskError(
      "BAD_CONFIG",
      `${name} has no address: set CASK_GOSSIP_ADVERTISE to host:port of this node`,
      error,
    );
  });
  if (!addr || ANY.has(name)) {
    throw new CaskError("BAD_CONFIG", `${name} is no address to tell others: set CASK_GOSSIP_ADVERTISE to host:port`);
  }
  return { addr, port: advertise?.port ?? port };
}

/** All addresses of a host by the system's resolver, IPv4 first; an IP address is itself. */
export function resolveWith(
  lookup: (host: string, options: { all: true }) => Promise<ReadonlyArray<{ readonly address: string }>>,
): (host: string) => Promise<readonly Uint8Array[]> {
  return async (host) => {
    const own = addrOf(host);
    if (own) return [own];
    const found = (await lookup(host, { all: true })).flatMap(({ address }) => addrOf(address) ?? []);
    return found.sort((a, b) => a.length - b.length);
  };
}
