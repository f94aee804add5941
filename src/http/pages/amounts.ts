const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** "12.3 GiB"; "unknown" for null. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return "unknown";
  let amount = bytes;
  let unit = 0;
  while (amount >= 1024 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit++;
  }
  return `${unit === 0 ? amount : amount.toFixed(amount < 10 ? 2 : 1)} ${UNITS[unit]}`;
}

/** "1 copy", "0 copies", "12 copies". */
export function formatCount(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** "under 1 s", "4 s", "12 min", "3 h", "2 d"; "never" for null. */
export function formatSeconds(seconds: number | null): string {
  if (seconds === null) return "never";
  if (seconds < 1) return "under 1 s";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`;
}
