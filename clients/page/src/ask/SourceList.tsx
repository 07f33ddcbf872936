import type { Citation } from "plumbline-client";
import { percent, t } from "../i18n";
import { plain } from "../ui/plain";

interface SourceListProps {
  citations: Citation[];
  onOpen: (citation: Citation) => void;
}

/** The sources of an answer, a card for each quote. */
export function SourceList({ citations, onOpen }: SourceListProps) {
  const distinct = citations.filter(
    (each, place) => citations.findIndex((other) => isSame(other, each)) === place,
  );
  return (
    <ul class="sources bare" aria-label={t.value.citations}>
      {distinct.map((each) => (
        <li key={`${each.marker} ${each.start}`}>
          <button type="button" class="source-card" onClick={() => onOpen(each)}>
            <span class="source-name">
              <span class="marker" aria-hidden="true">
                {each.marker}
              </span>{" "}
              <bdi>{plain(each.title || each.uri)}</bdi>
              {each.page !== null && `, ${t.value.page(each.page)}`}
            </span>
            <q class="quote">{each.quote}</q>
            <span class="faint">{t.value.support(percent(each.support))}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function isSame(one: Citation, other: Citation): boolean {
  return one.document_id === other.document_id && one.start === other.start && one.end === other.end;
}
