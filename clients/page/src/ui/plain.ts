/** Characters that reorder or hide the text around them, and control characters. */
const TRICKS = /[\u0000-\u0008\u000b-\u001f\u007f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** Returns a name or a message that shows what it has: tricks with directions become visible. */
export function plain(text: string): string {
  return text.replace(TRICKS, "\u25a1");
}
