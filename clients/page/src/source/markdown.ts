import DOMPurify from "dompurify";
import { marked } from "marked";

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."a abbr b blockquote br caption cite code dd del details div dl dt em figcaption figure".split(" "),
    ..."h1 h2 h3 h4 h5 h6 hr i ins kbd li ol p pre q s samp section small span strong".split(" "),
    ..."sub summary sup table tbody td tfoot th thead time tr u ul var".split(" "),
  ],
  ALLOWED_ATTR: ["href", "colspan", "rowspan", "start", "scope", "lang", "dir", "datetime"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true,
} as const;

/** Milliseconds after which a document is not parsed any longer. */
const PATIENCE = 5000;

/** Returns Markdown as nodes that run nothing and load nothing: images become their words. */
export function toNodes(markdown: string): DocumentFragment {
  return harmless(marked.parse(markdown, { async: false, gfm: true }));
}

/** Does the same beside the page, for documents of strangers: some texts take the parser hours. */
export async function toNodesApart(markdown: string, signal: AbortSignal): Promise<DocumentFragment> {
  const worker = new Worker(new URL("./markdown.worker.ts", import.meta.url), { type: "module" });
  const stop = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
  try {
    const html = await new Promise<string>((resolve, reject) => {
      worker.onmessage = (event: MessageEvent<string>) => resolve(event.data);
      worker.onerror = reject;
      stop.onabort = () => reject(stop.reason);
      worker.postMessage(markdown);
    });
    return harmless(html);
  } finally {
    worker.terminate();
  }
}

/** Returns HTML as nodes that run nothing and load nothing. */
export function harmless(html: string): DocumentFragment {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  for (const image of parsed.querySelectorAll("img")) image.replaceWith(image.alt);
  const clean = DOMPurify.sanitize(parsed.body.innerHTML, {
    ...ALLOWED,
    ALLOWED_TAGS: [...ALLOWED.ALLOWED_TAGS],
    ALLOWED_ATTR: [...ALLOWED.ALLOWED_ATTR],
  });
  for (const link of clean.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const folded of clean.querySelectorAll("details")) folded.open = true; // a mark may be in it
  return clean;
}
