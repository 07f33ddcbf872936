import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { loadOriginal } from "./content";
import type { Place } from "./opened";
import type { PdfFile } from "./pdf";
import type { Passage } from "./spans";

interface PdfSourceProps {
  place: Place;
  passage: Passage;
  onFailure: (error: unknown) => void;
  onUnmarked: () => void;
}

/** A page of a PDF, drawn by PDF.js, with the quote marked in its text layer. */
export function PdfSource({ place, passage, onFailure, onUnmarked }: PdfSourceProps) {
  const box = useRef<HTMLDivElement>(null);
  const [file, setFile] = useState<PdfFile | null>(null);
  const [page, setPage] = useState(place.page ?? 1);
  useEffect(() => {
    const controller = new AbortController();
    let opened: PdfFile | null = null;
    const open = async () => {
      const { openPdf } = await import("./pdf"); // heavy: loaded with the first PDF
      const bytes = await loadOriginal(place.collection, place.documentId, controller.signal);
      opened = await openPdf(await bytes.arrayBuffer());
      if (controller.signal.aborted) opened.close();
      else setFile(opened);
    };
    open().catch((error: unknown) => !controller.signal.aborted && onFailure(error));
    return () => {
      controller.abort();
      opened?.close();
    };
  }, [place]);
  useEffect(() => {
    if (!file || !box.current) return;
    const isMarked = passage.quote !== "" && page === (place.page ?? 1);
    const drawing = file.draw(box.current, page, isMarked ? passage : null);
    drawing.done.then((found) => found || onUnmarked(), onFailure);
    return drawing.cancel;
  }, [file, page]);
  return (
    <>
      {file ? (
        <div class="row wrap" role="group" aria-label={t.value.source.pdfPage}>
          <button type="button" disabled={page <= 1} onClick={() => setPage(page - 1)}>
            {t.value.source.previousPage}
          </button>
          <span role="status">{t.value.source.pageOf(page, file.pages)}</span>
          <button type="button" disabled={page >= file.pages} onClick={() => setPage(page + 1)}>
            {t.value.source.nextPage}
          </button>
        </div>
      ) : (
        <p role="status">{t.value.loading}</p>
      )}
      <div
        ref={box}
        class="pdf-page"
        tabIndex={0}
        role="region"
        aria-label={t.value.source.rendered}
      />
    </>
  );
}
