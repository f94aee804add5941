import { Html, html } from "./html.ts";

/** No asset comes from elsewhere: the pages work behind any firewall. */
const STYLE = new Html(`
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #1a7f37; --warn: #b26a00; --bad: #c0392b; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc26a; --warn: #e0a03c; --bad: #ff7b6b; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 0 1rem 3rem; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; align-items: baseline; padding: 1rem 0; border-bottom: 1px solid var(--line); }
header b { font-size: 1.25rem; } nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
nav a[aria-current] { font-weight: 600; text-decoration: none; color: inherit; }
h1 { font-size: 1.35rem; margin: 1.5rem 0 .5rem; } h2 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; } td.number { font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
code, .mono { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
td:first-child { min-width: 6rem; } .nodes td:first-child { min-width: 12rem; }
.notice { border-left: 4px solid var(--warn); background: var(--soft); padding: .5rem .75rem; margin: 1rem 0; }
.notice.bad { border-color: var(--bad); font-weight: 600; } .notice.good { border-color: var(--good); } .notice.bad, .notice.warn, .notice.good { color: inherit; }
form { display: grid; gap: .75rem; max-width: 32rem; } form.wide { max-width: none; } form.wide label { max-width: 32rem; } form.wide p { margin: 0; } label { display: grid; gap: .25rem; }
input, button { font: inherit; padding: .4rem .5rem; max-width: 100%; } button { justify-self: start; padding: .4rem 1rem; cursor: pointer; }
button.small { padding: .1rem .6rem; font-size: .9em; }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; } footer { margin-top: 2rem; opacity: .7; font-size: .85rem; }
`);

const PAGES = [
  ["/", "Cluster"],
  ["/upload/", "Upload"],
  ["/join/", "Join a node"],
  ["/config/", "Settings"],
  ["/log/", "Log"],
] as const;

export interface Page {
  /** Path of the page, to mark it in the navigation. */
  readonly path: string;
  readonly title: string;
  readonly uuid: string;
  readonly version: string;
  readonly body: Html;
}

/** A whole page: navigation, content, and which node it is about. */
export function layout({ path, title, uuid, version, body }: Page): string {
  const links = PAGES.map(([href, name]) =>
    href === path ? html`<a href="${href}" aria-current="page">${name}</a>` : html`<a href="${href}">${name}</a>`,
  );
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · cask</title>
<style>${STYLE}</style>
</head>
<body>
<header><b>cask</b><nav aria-label="Pages">${links}</nav></header>
<main>
<h1>${title}</h1>
${body}
</main>
<footer>Node <span class="mono">${uuid}</span> · cask ${version} · <a href="/status/">status as JSON</a> · <a href="/metrics">metrics</a></footer>
</body>
</html>
`;
  return page.text;
}
