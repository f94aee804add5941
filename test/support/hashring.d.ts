/** What the tests use of the npm package, which has no types of its own. */
declare module "hashring" {
  class HashRing {
    constructor(
      servers: Record<string, { readonly vnodes: number }>,
      hash: (text: string) => number[],
      options: { readonly "vnode count": number; readonly replicas: number; readonly "max cache size"?: number },
    );
    /** So many different servers, beginning with the one that leads the key. */
    range(key: string, size: number, unique: true): string[];
  }
  export = HashRing;
}
