import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { useLoad } from "../ui/useLoad";
import { loadOriginal } from "./content";
import { harmless, toNodesApart } from "./markdown";
import type { Place } from "./opened";
import { markQuote, type Passage } from "./spans";

/** Characters above which a document is shown as text: drawing it would hold up the tab. */
const MOST_CHARS = 2_000_000;

interface RichSourceProps {
  kind: "html" | "markdown";
  place: Place;
  passage: Passage;
  onFailure: (error: unknown) => void;
  onUnmarked: () => void;
}

/** An HTML or Markdown document, drawn without anything that runs or loads, the quote marked. */
export function RichSource({ kind, place, passage, onFailure, onUnmarked }: RichSourceProps) {
  const box = useRef<HTMLDivElement>(null);
  const { data, error } = useLoad(async (signal) => {
    const original = await (await loadOriginal(place.collection, place.documentId, signal)).text();
    if (original.length > MOST_CHARS) throw new Error(t.value.source.noRendering);
    return kind === "html"
      ? harmless(original)
      : await toNodesApart(withoutFrontMatter(original), signal);
  }, [place]);
  useEffect(() => {
    if (error !== null) onFailure(error);
  }, [error]);
  useEffect(() => {
    if (!data || !box.current) return;
    box.current.replaceChildren(data.cloneNode(true));
    const marks = markQuote(box.current, passage);
    if (passage.quote && marks.length === 0) onUnmarked();
    marks[0]?.scrollIntoView({ block: "center" });
  }, [data]);
  if (!data) return <p role="status">{t.value.loading}</p>;
  return (
    <div
      ref={box}
      class="prose drawn"
      tabIndex={0}
      role="region"
      aria-label={t.value.source.rendered}
    />
  );
}

function withoutFrontMatter(markdown: string): string {
  return markdown.replace(/^\ufeff?---\r?\n[\s\S]*?\r?\n---\r?\n/, "");
}
