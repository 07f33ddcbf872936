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

/** Marks the first place of a quote in drawn content, across its elements; blanks may differ. */
export function markQuote(root: Node, quote: string): HTMLElement[] {
  const nodes = textNodes(root);
  const joined = nodes.map((node) => node.data).join("");
  const found = findQuote(joined, quote);
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

/** Returns the UTF-16 span of a quote in a text, compared by letters and digits. */
export function findQuote(text: string, quote: string): { start: number; end: number } | null {
  const whole = squeezed(text);
  const part = squeezed(quote);
  if (!part.letters) return null;
  const at = whole.letters.indexOf(part.letters);
  if (at < 0) return null;
  const start = whole.offsets[at] ?? 0;
  const end = (whole.offsets[at + part.letters.length - 1] ?? 0) + 1;
  return { start, end };
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
