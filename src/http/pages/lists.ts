import type { LogLine } from "../../core/log.ts";
import type { ShownSetting } from "../context.ts";
import { type Html, html, withCode } from "./html.ts";

export function configPage(settings: readonly ShownSetting[]): Html {
  return html`
<p>Settings come from environment variables alone and are read at start. Secrets are not shown.</p>
<div class="scroll"><table>
<tr><th>Variable</th><th>Value</th><th>Meaning</th></tr>
${settings.map(({ name, value, meaning }) => html`<tr><td class="mono">${name}</td><td class="mono">${value}</td><td>${withCode(meaning)}</td></tr>`)}
</table></div>`;
}

const LEVEL_CLASS: Record<string, string> = { warn: "warn", error: "bad", fatal: "bad" };

/** Newest first. */
export function logPage(lines: readonly LogLine[]): Html {
  const rows = [...lines].reverse().map(
    ({ time, level, message, fields }) => html`<tr><td class="mono number">${time}</td>
<td class="${LEVEL_CLASS[level] ?? ""}">${level}</td><td>${message} <span class="mono">${fields}</span></td></tr>`,
  );
  return html`
<p>The last ${lines.length} lines, the newest first.</p>
<div class="scroll"><table><tr><th>Time</th><th>Level</th><th>Message</th></tr>${rows}</table></div>`;
}
