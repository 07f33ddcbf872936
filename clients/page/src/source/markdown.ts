import DOMPurify from "dompurify";
import { marked } from "marked";

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."a abbr b blockquote br caption cite code dd del details div dl dt em figcaption figure".split(" "),
    ..."h1 h2 h3 h4 h5 h6 hr i ins kbd li mark ol p pre q s samp section small span strong".split(" "),
    ..."sub summary sup table tbody td tfoot th thead time tr u ul var".split(" "),
  ],
  ALLOWED_ATTR: ["href", "colspan", "rowspan", "start", "scope", "lang", "dir", "datetime"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true,
} as const;

/** Returns Markdown as nodes that run nothing and load nothing: images become their words. */
export function toDocument(markdown: string): DocumentFragment {
  return harmless(marked.parse(markdown, { async: false, gfm: true }));
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
  return clean;
}
