import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { HEAP_GROWTH_PERCENT } from "./limits.ts";

/**
 * To be called once, when the program has started: what is not needed any more goes back to the system, all of it, and from now on the heap may grow by
 * so much more before it is looked through again. V8 counts each buffer that was made as growth, but chooses the bound by how fast objects are
 * made: of a node that makes few objects and many buffers it would collect the whole heap ten times a second, which takes a fifth of the processor.
 */
export function collectLessOften(): void {
  setFlagsFromString("--expose-gc"); // seen by contexts that are made from now on
  const collect = runInNewContext("globalThis.gc") as ((how: Record<string, string>) => void) | undefined;
  collect?.({ type: "major", execution: "sync", flavor: "last-resort" });
  setFlagsFromString("--no-expose-gc");
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
}
