import type { Citation } from "plumbline-client";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { toDocument } from "../source/markdown";
import { codePoints } from "../source/spans";
import type { Retracted, Turn } from "./turn";

/** Characters above which an answer is not parsed as Markdown: that would hold up the tab. */
const MARKDOWN_CHARS = 100_000;
/** Characters around a marker's number while Markdown is parsed: private use, so no text has them. */
const OPEN = "\ue000";
const CLOSE = "\ue001";
/** Characters around a retracted piece. */
const OUT = "\ue002";
const IN = "\ue003";
const PRIVATE = /[\ue000-\ue003]/g;
const SIGN = /[\ue000-\ue003]/;

interface AnswerTextProps {
  turn: Turn;
  onOpen: (citation: Citation) => void;
}

/** The answer as Markdown; each marker is a button that opens its source. */
export function AnswerText({ turn, onOpen }: AnswerTextProps) {
  if (turn.text.length > MARKDOWN_CHARS) return <LongText text={turn.text} />;
  return <MarkdownAnswer turn={turn} onOpen={onOpen} />;
}

function LongText({ text }: { text: string }) {
  const [all, setAll] = useState(false);
  return (
    <>
      <p class="faint">{t.value.chat.long}</p>
      <pre class="plain-answer">{all ? text : text.slice(0, MARKDOWN_CHARS)}</pre>
      {!all && (
        <button type="button" onClick={() => setAll(true)}>
          {t.value.chat.showAll}
        </button>
      )}
    </>
  );
}

function MarkdownAnswer({ turn, onOpen }: AnswerTextProps) {
  const content = useMemo(
    () => toDocument(withMarks(turn.text, turn.citations, turn.retracted)),
    [turn.text, turn.citations, turn.retracted],
  );
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const shown = content.cloneNode(true) as DocumentFragment;
    toButtons(shown, turn.citations, onOpen);
    box.current?.replaceChildren(shown);
  }, [content]);
  return <div class="prose answer" ref={box} />;
}

/** Returns the text with signs around the markers of citations and the retracted pieces. */
function withMarks(text: string, citations: Citation[], retracted: Retracted[]): string {
  const signs: [number, string][] = [];
  for (const [place, { marker_start, marker_end }] of citations.entries()) {
    signs.push([marker_start, `${OPEN}${place}${CLOSE}`], [marker_end, ""]);
  }
  for (const { start, end } of retracted) signs.push([start, OUT], [end, IN]);
  const markers = citations.map((each) => [each.marker_start, each.marker_end] as const);
  const inMarker = (at: number) => markers.some(([start, end]) => start <= at && at < end);
  const starts = new Map<number, string>();
  for (const [at, sign] of signs) starts.set(at, (starts.get(at) ?? "") + sign);
  let made = "";
  const points = codePoints(text.replace(PRIVATE, "\u25a1"));
  for (let at = 0; at <= points.length; at++) {
    made += starts.get(at) ?? "";
    if (at < points.length && !inMarker(at)) made += points[at];
  }
  return made;
}

/** Puts buttons and deletions in the place of the signs. */
function toButtons(
  root: DocumentFragment,
  citations: Citation[],
  onOpen: (citation: Citation) => void,
): void {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const texts: Text[] = [];
  while (walker.nextNode()) texts.push(walker.currentNode as Text);
  let out = false;
  for (const node of texts) {
    if (!out && !SIGN.test(node.data)) continue;
    const parts: Node[] = [];
    for (const piece of node.data.split(/(\ue000\d+\ue001|\ue002|\ue003)/)) {
      if (piece === OUT || piece === IN) out = piece === OUT;
      else if (piece.startsWith(OPEN)) parts.push(button(citations[Number(piece.slice(1, -1))], onOpen));
      else if (piece) parts.push(out ? deleted(piece) : document.createTextNode(piece));
    }
    node.replaceWith(...parts);
  }
}

function button(citation: Citation | undefined, onOpen: (citation: Citation) => void): Node {
  if (!citation) return document.createTextNode("");
  const made = document.createElement("button");
  made.type = "button";
  made.className = "marker";
  made.textContent = String(citation.marker);
  made.setAttribute("aria-label", t.value.citation(citation.marker, citation.title));
  made.addEventListener("click", () => onOpen(citation));
  return made;
}

function deleted(text: string): Node {
  const made = document.createElement("del");
  made.title = t.value.chat.retracted;
  made.textContent = text;
  return made;
}
