import type { StoredAnswer } from "plumbline-client";
import { useState } from "preact/hooks";
import { moment, number, percent, t } from "../i18n";
import { api, collection } from "../session";
import { Dialog } from "../ui/Dialog";
import { Pager } from "../ui/Pager";
import { plain } from "../ui/plain";
import { Table } from "../ui/Table";
import { useLoad } from "../ui/useLoad";
import { Loading, Nothing } from "./Loading";

const CHOICES = {
  every: {},
  onlyBad: { rating: "down" },
  onlyAbstained: { abstained: "true" },
  onlyLow: { low: "true" },
} as const;
type Choice = keyof typeof CHOICES;

/** Stored answers with their scores and feedback, the newest first. */
export function AnswersPart() {
  const words = t.value.answers;
  const [choice, setChoice] = useState<Choice>("every");
  const [cursors, setCursors] = useState<string[]>([]);
  const [shown, setShown] = useState<StoredAnswer | null>(null);
  const cursor = cursors.at(-1);
  const list = useLoad(
    async (signal) => {
      const query = {
        collection: collection.value,
        ...CHOICES[choice],
        ...(cursor ? { cursor } : {}),
      };
      return (await api.GET("/v1/answers", { params: { query }, signal })).data ?? null;
    },
    [collection.value, choice, cursor],
  );
  return (
    <>
      <label class="inline">
        {words.only}
        <select
          value={choice}
          onChange={(event) => {
            setChoice(event.currentTarget.value as Choice);
            setCursors([]);
          }}
        >
          {(Object.keys(CHOICES) as Choice[]).map((each) => (
            <option key={each} value={each}>
              {words[each]}
            </option>
          ))}
        </select>
      </label>
      <Loading of={list}>
        {(page) => (
          <>
            {page?.answers.length ? (
              <Table
                caption={t.value.administration.parts.answers}
                head={[words.question, t.value.administration.when, words.answer, words.scores, words.rating]}
                rows={page.answers.map((each) => rowOf(each, setShown))}
              />
            ) : (
              <Nothing />
            )}
            <Pager cursors={cursors} next={page?.next_cursor ?? null} onMove={setCursors} />
          </>
        )}
      </Loading>
      {shown && <Details answer={shown} onClose={() => setShown(null)} />}
    </>
  );
}

function rowOf(answer: StoredAnswer, onOpen: (answer: StoredAnswer) => void) {
  const words = t.value.answers;
  return [
    <button type="button" class="link" key={answer.id} onClick={() => onOpen(answer)}>
      <bdi>{plain(answer.question ?? words.unkept)}</bdi>
    </button>,
    moment(answer.at),
    answer.abstained ? words.abstained : percent(answer.confidence),
    <ScoreList key={answer.id} scores={answer.scores} />,
    ratingOf(answer),
  ];
}

function ratingOf(answer: StoredAnswer): string {
  if (answer.rating === null) return "–";
  return answer.rating === "up" ? t.value.answers.good : t.value.answers.bad;
}

function ScoreList({ scores }: { scores: Record<string, number> }) {
  return (
    <ul class="bare tight">
      {Object.entries(scores).map(([name, score]) => (
        <li key={name}>
          {name} {number(score, 2)}
        </li>
      ))}
    </ul>
  );
}

function Details({ answer, onClose }: { answer: StoredAnswer; onClose: () => void }) {
  const words = t.value.answers;
  const reason = answer.reason && (t.value.abstained.reasons[answer.reason] ?? answer.reason);
  return (
    <Dialog title={<bdi>{plain(answer.question ?? words.unkept)}</bdi>} onClose={onClose} side>
      <p class="document-text">{reason || answer.answer || words.unkept}</p>
      {answer.degraded.map((each) => (
        <p class="notice" key={each}>
          {plain(each)}
        </p>
      ))}
      <ScoreList scores={answer.scores} />
      {answer.comment && (
        <p>
          <strong>{words.comment}:</strong> {answer.comment}
        </p>
      )}
      {answer.correction && (
        <p>
          <strong>{words.correction}:</strong> {answer.correction}
        </p>
      )}
      <p class="faint">
        {moment(answer.at)} · {number(answer.seconds * 1000)} ms · {number(answer.input_tokens)} +{" "}
        {number(answer.output_tokens)} Tokens · {number(answer.cost, 4)}
      </p>
      <p>
        {words.trace}{" "}
        {answer.trace_url ? (
          <a href={answer.trace_url} target="_blank" rel="noopener noreferrer">
            {answer.trace_id}
          </a>
        ) : (
          <code>{answer.trace_id}</code>
        )}
      </p>
    </Dialog>
  );
}
