import type { Hit } from "plumbline-client";
import { t } from "../i18n";
import { plain } from "../ui/plain";
import type { Details, Turn } from "./turn";

/** Passages that are shown in place of an answer. */
const CLOSEST = 3;

interface AbstainedProps {
  turn: Turn;
  answer: Details;
  onOpen: (hit: Hit) => void;
}

/** Says why there is no answer, and what comes closest. */
export function Abstained({ turn, answer, onOpen }: AbstainedProps) {
  const words = t.value.abstained;
  const reason = answer.reason ? words.reasons[answer.reason] : undefined;
  return (
    <div class="abstained">
      <p>
        <strong>{words.title}.</strong> {reason ?? answer.reason}{" "}
        {answer.missing.length > 0 && words.missing(plain(answer.missing.join(", ")))}
      </p>
      {turn.hits.length > 0 && (
        <>
          <h3>{words.closest}</h3>
          <ul class="sources bare">
            {turn.hits.slice(0, CLOSEST).map((hit) => (
              <li key={hit.chunk_id}>
                <button type="button" class="source-card" onClick={() => onOpen(hit)}>
                  <span class="source-name">
                    <bdi>{plain(hit.title || hit.uri)}</bdi>
                    {hit.page !== null && `, ${t.value.page(hit.page)}`}
                  </span>
                  <span class="quote">{hit.text}</span>
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}
