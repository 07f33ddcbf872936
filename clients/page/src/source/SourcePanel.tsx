import { PlumblineError } from "plumbline-client";
import { useState } from "preact/hooks";
import { t } from "../i18n";
import { Dialog } from "../ui/Dialog";
import { Fault } from "../ui/Fault";
import { plain } from "../ui/plain";
import { useLoad } from "../ui/useLoad";
import { loadOriginal, loadSource, type Source } from "./content";
import type { Place } from "./opened";
import { PdfSource } from "./PdfSource";
import { RichSource } from "./RichSource";
import { offsetOf, passageAt } from "./spans";
import { TextSource } from "./TextSource";

interface SourcePanelProps {
  place: Place;
  onClose: () => void;
}

/** Shows a passage in its document: drawn where it is a PDF, HTML or Markdown, or as text. */
export function SourcePanel({ place, onClose }: SourcePanelProps) {
  const { data, error, reload } = useLoad(
    (signal) => loadSource(place.collection, place.documentId, signal),
    [place],
  );
  return (
    <Dialog title={<bdi>{plain(place.title)}</bdi>} onClose={onClose} side>
      <p class="faint">
        {place.page !== null && <span>{t.value.page(place.page)} · </span>}
        {place.headings.length > 0 && <bdi>{plain(place.headings.join(" › "))} · </bdi>}
        <bdi>{plain(place.uri)}</bdi>
      </p>
      {error !== null && <Missing place={place} error={error} onRetry={reload} />}
      {!data && error === null && <p role="status">{t.value.loading}</p>}
      {data && <Shown place={place} source={data} />}
    </Dialog>
  );
}

interface MissingProps {
  place: Place;
  error: unknown;
  onRetry: () => void;
}

function Missing({ place, error, onRetry }: MissingProps) {
  const gone = error instanceof PlumblineError && error.status === 404;
  return (
    <>
      {gone ? (
        <p class="fault" role="alert">
          {t.value.source.gone}
        </p>
      ) : (
        <Fault error={error} onRetry={onRetry} />
      )}
      <Quote text={place.quote} />
    </>
  );
}

function Quote({ text }: { text: string }) {
  return (
    <figure>
      <figcaption>{t.value.source.quote}</figcaption>
      <blockquote class="document-text">{text}</blockquote>
    </figure>
  );
}

function Shown({ place, source }: { place: Place; source: Source }) {
  const drawn = drawerOf(source.record.media_type);
  const [tab, setTab] = useState<"drawn" | "text">(drawn ? "drawn" : "text");
  const [notice, setNotice] = useState("");
  const start = offsetOf(source.text, place.start);
  const span = { start, end: start + place.quote.length };
  const found = passageAt(source.text, span);
  const changed = found.quote !== place.quote;
  const passage = changed ? { before: "", quote: place.quote, after: "" } : found;
  const toText = (error: unknown) => {
    const isOfServer = error instanceof PlumblineError;
    setNotice(isOfServer ? plain(error.message) : t.value.source.noRendering);
    setTab("text");
  };
  return (
    <>
      {changed && (
        <>
          <p class="fault" role="alert">
            {t.value.source.changed}
          </p>
          <Quote text={place.quote} />
        </>
      )}
      <div class="row wrap">
        {drawn && (
          <div role="group" class="tabs" aria-label={t.value.source.title}>
            {(["drawn", "text"] as const).map((each) => (
              <button
                key={each}
                type="button"
                aria-pressed={tab === each}
                onClick={() => setTab(each)}
              >
                {each === "drawn" ? t.value.source.rendered : t.value.source.text}
              </button>
            ))}
          </div>
        )}
        <OriginalButton place={place} />
      </div>
      {notice && (
        <p class="notice" role="status">
          {notice}
        </p>
      )}
      {tab === "text" || !drawn ? (
        <TextSource text={source.text} span={span} marked={!changed} />
      ) : drawn === "pdf" ? (
        <PdfSource
          place={place}
          passage={passage}
          onFailure={toText}
          onUnmarked={() => setNotice(t.value.source.notFoundInRendering)}
        />
      ) : (
        <RichSource
          kind={drawn}
          place={place}
          passage={passage}
          onFailure={toText}
          onUnmarked={() => setNotice(t.value.source.notFoundInRendering)}
        />
      )}
    </>
  );
}

function drawerOf(mediaType: string): "pdf" | "html" | "markdown" | null {
  if (mediaType === "application/pdf") return "pdf";
  if (mediaType === "text/html" || mediaType === "application/xhtml+xml") return "html";
  return mediaType === "text/markdown" ? "markdown" : null;
}

/** Saves the original: it is loaded with the key, which stands in no address. */
function OriginalButton({ place }: { place: Place }) {
  const [fault, setFault] = useState<unknown>(null);
  const save = async () => {
    setFault(null);
    try {
      const url = URL.createObjectURL(await loadOriginal(place.collection, place.documentId));
      const link = document.createElement("a");
      link.href = url;
      link.download = plain(place.uri.split("/").pop() || place.title);
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch (error) {
      setFault(error);
    }
  };
  return (
    <>
      <button type="button" class="quiet" onClick={save}>
        {t.value.source.original}
      </button>
      {fault !== null && <Fault error={fault} />}
    </>
  );
}
