import type { Hit } from "plumbline-client";
import { number, percent, t } from "../i18n";
import { plain } from "../ui/plain";
import { Table } from "../ui/Table";
import type { Details, Turn } from "./turn";

interface SearchedProps {
  turn: Turn;
  answer: Details;
  onOpen: (hit: Hit) => void;
}

/** The passages that were found, with their rank in each leg, and the time of each stage. */
export function Searched({ turn, answer, onOpen }: SearchedProps) {
  const words = t.value.searched;
  const legs = [...new Set(turn.hits.flatMap((hit) => Object.keys(hit.ranks)))].sort();
  const head = [words.rank, words.passage, ...legs.map((leg) => words.legs[leg] ?? leg), words.score];
  const rows = turn.hits.map((hit, place) => [
    place + 1,
    <button type="button" class="link clip" key={hit.chunk_id} onClick={() => onOpen(hit)}>
      <bdi>{plain([hit.title || hit.uri, ...hit.headings].join(" › "))}</bdi>
      {hit.page !== null && `, ${t.value.page(hit.page)}`}
    </button>,
    ...legs.map((leg) => hit.ranks[leg] ?? "–"),
    number(hit.score, 3),
  ]);
  const numbers = [...legs.map((_, place) => place + 2), legs.length + 2];
  return (
    <details class="searched">
      <summary>{words.title}</summary>
      <p>{words.confidence(percent(answer.confidence))}</p>
      {answer.degraded.length > 0 && (
        <>
          <h3>{words.degraded}</h3>
          <ul>
            {answer.degraded.map((each) => (
              <li key={each}>{plain(each)}</li>
            ))}
          </ul>
        </>
      )}
      <Table caption={words.title} head={head} rows={rows} numbers={numbers} />
      <h3>{words.stages}</h3>
      <dl class="stages">
        {Object.entries(answer.timings).map(([stage, ms]) => (
          <div key={stage}>
            <dt>{stage}</dt>
            <dd>{words.milliseconds(number(ms, 1))}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
