/** What must happen in 200 seeds: a simulator that never lets it happen proves nothing about it. */
const EXPECTED: ReadonlyArray<readonly [string, RegExp]> = [
  ["an upload that is acknowledged", /^put acknowledged$/],
  ["an upload with too few copies", /^put not acknowledged$/],
  ["an upload that breaks off", /^put broken off$/],
  ["a fetch that is answered", /^get answered$/],
  ["a fetch that can't be answered", /^get DONT_KNOW$/],
  ["a copy that is handed over", /^repair repaired$/],
  ["a repair that fails", /^repair failed$/],
  ["a surplus copy that is trimmed", /^trimmed$/],
  ["a copy that goes to quarantine", /^quarantined$/],
  ["a node that is emptied", /^drained$/],
  ["a process that is killed", /^fault: killed$/],
  ["a power cut", /^power cut$/],
  ["a death between rename and the folder's sync", /^death between rename and open$/],
  ["a death between write and sync", /^death between write and (sync|datasync)$/],
  ["a death in a delete", /^death between (unlink and \w+|\w+ and unlink)$/],
  ["a disk that is replaced", /^fault: wiped$/],
  ["a process that stalls", /^fault: frozen$/],
  ["a partition", /^fault: partition$/],
  ["a one-way link", /^fault: one-way link$/],
  ["a bad network", /^fault: bad network$/],
  ["read errors", /^EIO at read$/],
  ["sync errors", /^EIO at sync$/],
  ["rename errors", /^EIO at rename$/],
  ["a full disk", /^fault: disk full$/],
  ["a disk that hangs", /^fault: disk hangs$/],
  ["flipped bits", /^fault: rot, (first|last) byte$/],
  ["a copy that is cut", /^fault: rot, cut$/],
  ["a copy that is emptied", /^fault: rot, emptied$/],
  ["a copy that grows", /^fault: rot, grown$/],
  ["a copy that is another blob", /^fault: rot, another blob$/],
  ["a copy that vanishes", /^fault: rot, gone$/],
  ["other settings on one node", /^fault: other settings$/],
  ["a read-only node", /^fault: read-only$/],
  ["one UUID twice", /^fault: UUID twice$/],
  ["and refused", /^refused: its UUID is in use$/],
  ["one root for two nodes", /^fault: one root for two$/],
  ["a stop by SIGTERM", /^fault: stopped by SIGTERM$/],
];

/** Those of them that did not happen. */
export function missingEvents(events: ReadonlyMap<string, number>): string[] {
  const seen = [...events.keys()];
  return EXPECTED.filter(([, pattern]) => !seen.some((event) => pattern.test(event))).map(([name]) => name);
}
