import { useEffect, useRef } from "preact/hooks";
import { number, t } from "../i18n";
import type { Span } from "./spans";

/** Characters shown before and after the passage of a long text. */
const AROUND = 50_000;

interface TextSourceProps {
  text: string;
  span: Span;
  marked: boolean;
}

/** The text of a document with the exact span of the passage marked. */
export function TextSource({ text, span, marked }: TextSourceProps) {
  const mark = useRef<HTMLElement>(null);
  useEffect(() => mark.current?.scrollIntoView({ block: "center" }), [span.start, span.end]);
  const first = Math.max(0, span.start - AROUND);
  const last = Math.min(text.length, span.end + AROUND);
  return (
    <>
      {last - first < text.length && (
        <p class="faint">{t.value.source.long(number(text.length))}</p>
      )}
      <div class="document-text" tabIndex={0} role="region" aria-label={t.value.source.text}>
        {marked ? (
          <>
            {text.slice(first, span.start)}
            <mark ref={mark}>{text.slice(span.start, span.end)}</mark>
            {text.slice(span.end, last)}
          </>
        ) : (
          text.slice(first, last)
        )}
      </div>
    </>
  );
}
