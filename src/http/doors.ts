export interface Door {
  readonly name: string;
  readonly path: RegExp;
  readonly methods: readonly string[];
}

/** Every door and its methods, for the label of the metric and for the answer to a wrong method. HEAD comes with GET. */
const DOORS: readonly Door[] = [
  { name: "root", path: /^\/$/, methods: ["GET", "POST"] },
  { name: "copies", path: /^\/file\/[^/]+\/copies\/?$/, methods: ["GET"] },
  { name: "file", path: /^\/file\/[^/]+\/?$/, methods: ["GET", "PUT"] },
  { name: "local", path: /^\/local\/?$/, methods: ["POST"] },
  { name: "has", path: /^\/local\/has\/?$/, methods: ["POST"] },
  { name: "batch", path: /^\/local\/(batch|fetch)\/?$/, methods: ["POST"] },
  { name: "repair", path: /^\/local\/(vouch|digests|keys)\/?$/, methods: ["POST"] },
  { name: "local", path: /^\/local\/[^/]+\/?$/, methods: ["GET", "PUT"] },
  { name: "heartbeat", path: /^\/heartbeat\/?$/, methods: ["POST"] },
  { name: "drain", path: /^\/drain\/?$/, methods: ["POST"] },
  { name: "workers", path: /^\/workers\/[^/]+\/[^/]+\/?$/, methods: ["POST"] },
  { name: "forget", path: /^\/forget\/?$/, methods: ["POST"] },
  { name: "join", path: /^\/join\/?$/, methods: ["GET", "POST"] },
  { name: "upload", path: /^\/upload\/?$/, methods: ["GET", "POST"] },
  { name: "page", path: /^\/(config|log)\/?$/, methods: ["GET"] },
  { name: "status", path: /^\/status\/?$/, methods: ["GET"] },
  { name: "metrics", path: /^\/metrics\/?$/, methods: ["GET"] },
  { name: "health", path: /^\/(healthz|readyz)\/?$/, methods: ["GET"] },
];

/** A blob's door and a key in its one right spelling, nothing else: what is written otherwise is for express to understand. */
export const BLOB_PATH = /^\/(file|local)\/(sha1:[0-9a-f]{40})\/?$/;

/** Doors for clients: background work goes after their requests. */
export const CLIENT_DOORS = new Set(["root", "file", "copies", "upload"]);

export function doorAt(path: string): Door | undefined {
  return DOORS.find((door) => door.path.test(path));
}
