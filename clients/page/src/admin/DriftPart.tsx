import type { Drift } from "plumbline-client";
import { useState } from "preact/hooks";
import { moment, number, t } from "../i18n";
import { api, collection } from "../session";
import { CollectionChoice } from "../ui/CollectionChoice";
import { plain } from "../ui/plain";
import { Table } from "../ui/Table";
import { useLoad } from "../ui/useLoad";
import { Loading } from "./Loading";

const DAY_SECONDS = 86_400;
const DAYS = [1, 7, 30];

/** Whether answers of the last days differ from those of the time before, signal by signal. */
export function DriftPart() {
  const words = t.value.drift;
  const [days, setDays] = useState(1);
  const found = useLoad(
    async (signal) => {
      const query = {
        collection: collection.value,
        current: days * DAY_SECONDS,
        reference: days * 7 * DAY_SECONDS,
      };
      return (await api.GET("/v1/drift", { params: { query }, signal })).data as Drift;
    },
    [collection.value, days],
  );
  return (
    <>
      <div class="row wrap">
        <CollectionChoice />
        <label class="inline">
          {words.window}
          <select value={days} onChange={(event) => setDays(Number(event.currentTarget.value))}>
            {DAYS.map((each) => (
              <option key={each} value={each}>
                {words.days(each)}
              </option>
            ))}
          </select>
        </label>
      </div>
      <Loading of={found}>{(drift) => <Report drift={drift} />}</Loading>
    </>
  );
}

function Report({ drift }: { drift: Drift }) {
  const words = t.value.drift;
  return (
    <>
      <p class="faint">
        {moment(drift.since)} – {moment(drift.begins)} – {moment(drift.until)}
      </p>
      <Table
        caption={t.value.administration.parts.drift}
        head={[words.signal, words.reference, words.current, words.verdict]}
        rows={drift.rows.map((row) => [
          row.signal,
          row.reference === null ? "–" : number(row.reference, 3),
          row.current === null ? "–" : number(row.current, 3),
          row.drifted ? <strong class="bad">{words.drifted}</strong> : row.says || words.steady,
        ])}
        numbers={[1, 2]}
      />
      {drift.unlike.length > 0 && (
        <>
          <h3>{words.unlike}</h3>
          <ul>
            {drift.unlike.map((question, place) => (
              <li key={place}>
                <bdi>{plain(question ?? t.value.answers.unkept)}</bdi>
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}
