import { marked } from "marked";

// Some texts take the parser hours: whoever waits for this worker ends it.
addEventListener("message", (event: MessageEvent<string>) => {
  postMessage(marked.parse(event.data, { async: false, gfm: true }));
});
