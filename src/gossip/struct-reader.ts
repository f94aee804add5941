import { Refused } from "./messages.ts";
import { MsgpackReader } from "./msgpack-reader.ts";

export type FieldKind = "u8" | "u16" | "u32" | "int" | "bool" | "bytes" | "text";

/** Go's fields **in the order in which Go declares them**, which is the one of a struct that is written as an array. */
export type StructLayout = Readonly<Record<string, FieldKind>>;

type ValueOf<K extends FieldKind> = K extends "text"
  ? string
  : K extends "bytes"
    ? Uint8Array | null
    : K extends "bool"
      ? boolean
      : number;

export type StructOf<L extends StructLayout> = { readonly [Name in keyof L]: ValueOf<L[Name]> };

/** memberlist's structs. Source: memberlist's net.go and util.go. */
export const STRUCTS = {
  ping: { SeqNo: "u32", Node: "text", SourceAddr: "bytes", SourcePort: "u16", SourceNode: "text" },
  indirectPingReq: {
    SeqNo: "u32",
    Target: "bytes",
    Port: "u16",
    Node: "text",
    Nack: "bool",
    SourceAddr: "bytes",
    SourcePort: "u16",
    SourceNode: "text",
  },
  ackResp: { SeqNo: "u32", Payload: "bytes" },
  nackResp: { SeqNo: "u32" },
  /** For the log only, so that it need not be text. */
  errResp: { Error: "bytes" },
  suspect: { Incarnation: "u32", Node: "text", From: "text" },
  alive: { Incarnation: "u32", Node: "text", Addr: "bytes", Port: "u16", Meta: "bytes", Vsn: "bytes" },
  dead: { Incarnation: "u32", Node: "text", From: "text" },
  pushPullHeader: { Nodes: "int", UserStateLen: "int", Join: "bool" },
  userMsgHeader: { UserMsgLen: "int" },
  pushNodeState: {
    Name: "text",
    Addr: "bytes",
    Port: "u16",
    Meta: "bytes",
    Incarnation: "u32",
    State: "int",
    Vsn: "bytes",
  },
  compress: { Algo: "u8", Buf: "bytes" },
} as const satisfies Record<string, StructLayout>;

/**
 * A struct as Go reads it: fields that are missing or nil are zero, unknown ones are passed over, the last of a doubled one counts, what
 * follows it is ignored. Throws Refused for all that go-msgpack refuses.
 */
export function readStruct<L extends StructLayout>(bytes: Uint8Array, layout: L): StructOf<L> {
  const reader = new MsgpackReader(bytes);
  const values = zeroOf(layout);
  const container = reader.container();
  const names = container?.kind === "array" ? Object.keys(layout) : null;
  for (let i = 0; i < (container?.count ?? 0); i++) {
    const name = names ? names[i] : reader.key();
    if (name !== undefined && Object.hasOwn(layout, name)) values[name] = readField(reader, layout[name] as FieldKind);
    else reader.skip(1);
  }
  return values as StructOf<L>;
}

function zeroOf(layout: StructLayout): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const name in layout) values[name] = ZEROS[layout[name] as FieldKind];
  return values;
}

const ZEROS: Readonly<Record<FieldKind, unknown>> = {
  u8: 0,
  u16: 0,
  u32: 0,
  int: 0,
  bool: false,
  bytes: null,
  text: "",
};

function readField(reader: MsgpackReader, kind: FieldKind): unknown {
  switch (kind) {
    case "u8":
      return reader.uint(0xff);
    case "u16":
      return reader.uint(0xffff);
    case "u32":
      return reader.uint(0xffff_ffff);
    case "int":
      return reader.int();
    case "bool":
      return reader.bool();
    case "bytes":
      return reader.raw();
    case "text":
      return reader.text();
  }
}

/** A count or length that Go writes as `int`, where nobody stops it from being negative or huge: both end a Go process. */
export function checkedCount(what: string, value: number, max: number): number {
  if (value < 0 || value > max) throw new Refused("limit", `${what} (${value}) exceeds limit`);
  return value;
}
