import { useEffect, useRef } from "preact/hooks";
import { number, t } from "../i18n";
import type { Place } from "./opened";

/** Characters shown before and after the passage of a long text. */
const AROUND = 50_000;

interface TextSourceProps {
  /** The document's text, as code points. */
  points: string[];
  place: Place;
  marked: boolean;
}

/** The text of a document with the exact span of the passage marked. */
export function TextSource({ points, place, marked }: TextSourceProps) {
  const mark = useRef<HTMLElement>(null);
  useEffect(() => mark.current?.scrollIntoView({ block: "center" }), [place]);
  const first = Math.max(0, place.start - AROUND);
  const last = Math.min(points.length, place.end + AROUND);
  const part = (start: number, end: number) => points.slice(start, end).join("");
  return (
    <>
      {last - first < points.length && (
        <p class="faint">{t.value.source.long(number(points.length))}</p>
      )}
      <div class="document-text" tabIndex={0} role="region" aria-label={t.value.source.text}>
        {marked ? (
          <>
            {part(first, place.start)}
            <mark ref={mark}>{part(place.start, place.end)}</mark>
            {part(place.end, last)}
          </>
        ) : (
          part(first, last)
        )}
      </div>
    </>
  );
}
