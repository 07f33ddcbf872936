/** Returns the code points of a text: the server counts them, JavaScript counts UTF-16 units. */
export function codePoints(text: string): string[] {
  return Array.from(text);
}

/** Returns the UTF-16 offset of a code point. */
export function offsetOf(text: string, codePoint: number): number {
  let offset = 0;
  for (let left = codePoint; left > 0 && offset < text.length; left--) {
    offset += (text.codePointAt(offset) ?? 0) > 0xffff ? 2 : 1;
  }
  return offset;
}

/** A quote, and the text around it in its document. */
export interface Passage {
  before: string;
  quote: string;
  after: string;
}

/** A part of a text, by UTF-16 offsets. */
export interface Span {
  start: number;
  end: number;
}

/** Characters around a quote that tell its places apart. */
const AROUND = 1000;

/** Returns the quote at a span of a text, with what is around it. */
export function passageAt(text: string, { start, end }: Span): Passage {
  return {
    before: text.slice(Math.max(0, start - AROUND), start),
    quote: text.slice(start, end),
    after: text.slice(end, end + AROUND),
  };
}

/** Marks a quote in drawn content, across its elements; returns the marks, none if it is not there. */
export function markQuote(root: Node, passage: Passage): HTMLElement[] {
  const nodes = textNodes(root);
  const joined = nodes.map((node) => node.data).join("");
  const found = findQuote(joined, passage);
  if (!found) return [];
  const marks: HTMLElement[] = [];
  let before = 0;
  for (const node of nodes) {
    const [start, end] = [found.start - before, found.end - before];
    before += node.data.length;
    if (end <= 0 || start >= node.data.length) continue;
    marks.push(markPart(node, Math.max(0, start), Math.min(node.data.length, end)));
  }
  return marks;
}

function textNodes(root: Node): Text[] {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes: Text[] = [];
  while (walker.nextNode()) nodes.push(walker.currentNode as Text);
  return nodes;
}

function markPart(node: Text, start: number, end: number): HTMLElement {
  const part = node.splitText(start);
  part.splitText(end - start);
  const mark = document.createElement("mark");
  part.replaceWith(mark);
  mark.append(part);
  return mark;
}

/** Characters that the text of a document and its drawing do not share: blanks, markup, bullets. */
const IGNORED = /[\s\u00ad*_`#>|~\\[\]+•◦▪-]/u;

/**
 * Returns the span of a quote in a text, compared by letters and digits; null if it is not there.
 * Of several places it is the one that has most in common with what is around the quote.
 */
function findQuote(text: string, passage: Passage): Span | null {
  const { letters, offsets } = squeezed(text);
  const quote = squeezed(passage.quote).letters;
  const before = squeezed(passage.before).letters;
  const after = squeezed(passage.after).letters;
  if (!quote) return null;
  let best = { at: -1, common: -1 };
  for (let at = letters.indexOf(quote); at >= 0; at = letters.indexOf(quote, at + 1)) {
    const common =
      commonLength((n) => letters[at - 1 - n], (n) => before[before.length - 1 - n]) +
      commonLength((n) => letters[at + quote.length + n], (n) => after[n]);
    if (common > best.common) best = { at, common };
  }
  if (best.at < 0) return null;
  const start = offsets[best.at] ?? 0;
  const end = (offsets[best.at + quote.length - 1] ?? 0) + 1;
  return { start, end };
}

type Character = (place: number) => string | undefined;

/** Returns the number of characters that two rows have in common at their beginning. */
function commonLength(one: Character, other: Character): number {
  let length = 0;
  while (one(length) !== undefined && one(length) === other(length)) length++;
  return length;
}

function squeezed(text: string): { letters: string; offsets: number[] } {
  const kept: string[] = [];
  const offsets: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (IGNORED.test(character)) continue;
    kept.push(character);
    offsets.push(at);
  }
  return { letters: kept.join(""), offsets };
}
