import type { Comparison, Run } from "plumbline-client";
import { useState } from "preact/hooks";
import { moment, number, t } from "../i18n";
import { api } from "../session";
import { Fault } from "../ui/Fault";
import { plain } from "../ui/plain";
import { Table } from "../ui/Table";
import { useLoad } from "../ui/useLoad";
import { Loading, Nothing } from "./Loading";

/** Measures of the list; a comparison has all. */
const LEADING = ["ndcg@10", "recall@10", "f1", "correct"];
/** Changed questions that are listed. */
const CHANGES = 20;

/** Evaluation runs, and two of them side by side. */
export function RunsPart() {
  const words = t.value.runs;
  const [picked, setPicked] = useState<[string, string]>(["", ""]);
  const list = useLoad(
    async (signal) =>
      (await api.GET("/v1/eval-runs", { params: { query: { limit: 200 } }, signal })).data?.runs ?? [],
    [],
  );
  return (
    <Loading of={list}>
      {(runs) =>
        runs.length === 0 ? (
          <Nothing />
        ) : (
          <>
            <RunTable runs={runs} />
            <p>{words.pick}</p>
            <div class="row wrap">
              {([0, 1] as const).map((side) => (
                <label class="inline" key={side}>
                  {side === 0 ? words.first : words.second}
                  <select
                    value={picked[side]}
                    onChange={(event) =>
                      setPicked(picked.with(side, event.currentTarget.value) as [string, string])
                    }
                  >
                    <option value="">–</option>
                    {runs.map((run) => (
                      <option key={run.name} value={run.name}>
                        {plain(run.name)}
                      </option>
                    ))}
                  </select>
                </label>
              ))}
            </div>
            {picked[0] && picked[1] && <Compared a={picked[0]} b={picked[1]} />}
          </>
        )
      }
    </Loading>
  );
}

function RunTable({ runs }: { runs: Run[] }) {
  const words = t.value.runs;
  const measures = LEADING.filter((name) => runs.some((run) => run.measures[name]));
  return (
    <Table
      caption={t.value.administration.parts.runs}
      head={[words.name, words.set, t.value.administration.when, ...measures]}
      rows={runs.map((run) => [
        plain(run.name),
        `${plain(run.set)} (${number(run.questions)})`,
        moment(run.created),
        ...measures.map((name) => {
          const found = run.measures[name];
          return found ? number(found.mean, 3) : "–";
        }),
      ])}
      numbers={measures.map((_, place) => place + 3)}
    />
  );
}

function Compared({ a, b }: { a: string; b: string }) {
  const found = useLoad(
    async (signal) => {
      const params = { query: { a, b } };
      const { data } = await api.GET("/v1/eval-runs/compare", { params, signal });
      return (data?.comparisons ?? []) as Comparison[];
    },
    [a, b],
  );
  if (found.error !== null) return <Fault error={found.error} onRetry={found.reload} />;
  return (
    <Loading of={found}>
      {(comparisons) => comparisons.map((each) => <Rows key={each.candidate} comparison={each} />)}
    </Loading>
  );
}

function Rows({ comparison }: { comparison: Comparison }) {
  const words = t.value.runs;
  return (
    <>
      <Table
        caption={words.compare}
        head={[words.measure, plain(comparison.baseline), plain(comparison.candidate), words.difference, words.interval, ""]}
        rows={comparison.rows.map((row) => [
          row.measure,
          number(row.baseline, 3),
          number(row.candidate, 3),
          number(row.difference, 3),
          `${number(row.interval.low, 3)} … ${number(row.interval.high, 3)}`,
          row.verdict,
        ])}
        numbers={[1, 2, 3, 4]}
      />
      <ul>
        {comparison.changes.slice(0, CHANGES).map((change) => (
          <li key={change.id}>
            <bdi>{plain(change.question)}</bdi>: {plain(change.answers[0] || "–")} →{" "}
            {plain(change.answers[1] || "–")} <span class="faint">{plain(change.cause.says)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
