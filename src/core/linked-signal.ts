/** A controller whose signal also aborts with `parent`, as long as it is not unlinked. */
export interface LinkedController {
  readonly controller: AbortController;
  /** To be called when the work is done: a parent that lives long must not collect listeners. */
  unlink(): void;
}

/** (A signal made by `AbortSignal.any` is kept in memory by Node until one of its parents aborts, if anybody still listens to it.) */
export function linkedTo(parent: AbortSignal | undefined): LinkedController {
  const controller = new AbortController();
  const onAbort = () => controller.abort(parent?.reason);
  if (parent?.aborted) onAbort();
  else parent?.addEventListener("abort", onAbort, { once: true });
  return { controller, unlink: () => parent?.removeEventListener("abort", onAbort) };
}
