import { type Html, html } from "./html.ts";

export function uploadPage(maxUpload: string): Html {
  return html`
<form action="/upload/" method="post" enctype="multipart/form-data">
<label>File, up to ${maxUpload} <input type="file" name="file" required></label>
<button>Store it</button>
</form>
<p>From a shell: <code>curl -F file=@NAME http://HOST:PORT/</code></p>`;
}

export interface UploadedFile {
  readonly key: string;
  readonly success: boolean;
  readonly copies: number;
  readonly wanted: number;
  readonly problem: string | null;
}

export function uploadedPage({ key, success, copies, wanted, problem }: UploadedFile): Html {
  const text = success
    ? `Stored: ${copies} durable copies.`
    : `Only ${copies} of ${wanted} copies were made: try again later.`;
  return html`
<p class="notice ${success ? "good" : "bad"}">${text}</p>
${problem ? html`<p>${problem}</p>` : null}
<p>Key: <a class="mono" href="/file/${key}/">${key}</a> · <a href="/file/${key}/copies/">who holds it</a></p>
<p><a href="/upload/">Store another one</a></p>`;
}

export function joinPage(): Html {
  return html`
<p>Nodes named in <code>CASK_NEIGHBORS</code> are met by themselves. Here you can name one more.</p>
<form action="/join/" method="post">
<label>Its base URL, or its gossip address <input name="url" placeholder="http://host:8080 or host:7946" required></label>
<label>Cluster secret <input type="password" name="secret" autocomplete="off" required></label>
<button>Join</button>
</form>`;
}

export function joinedPage(url: string): Html {
  return html`
<p class="notice good">Met the node at ${url}, and those that it knows.</p>
<p><a href="/">See the cluster</a></p>`;
}

/** What went wrong with a form, for who sent it from a browser. */
export function errorPage(code: string, message: string, back: string): Html {
  return html`
<p class="notice bad">${message}</p>
<p class="mono">${code}</p>
<p><a href="${back}">Back</a></p>`;
}
