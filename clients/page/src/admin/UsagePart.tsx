import type { UsageReport } from "plumbline-client";
import { useState } from "preact/hooks";
import { moment, number, t } from "../i18n";
import { api, me } from "../session";
import { plain } from "../ui/plain";
import { Table } from "../ui/Table";
import { useLoad } from "../ui/useLoad";
import { Loading, Nothing } from "./Loading";

const GROUPS = ["day", "key", "subject", "model", "feature", "outcome"] as const;
type Group = (typeof GROUPS)[number];

/** Tokens and cost of a period, by day, key, user, model, feature or outcome. */
export function UsagePart() {
  const words = t.value.usage;
  const [by, setBy] = useState<Group>("day");
  const [since, setSince] = useState("");
  const report = useLoad(
    async (signal) => {
      const query = { by: [by], ...(since ? { since } : {}) };
      return (await api.GET("/v1/usage", { params: { query }, signal })).data as UsageReport;
    },
    [by, since],
  );
  return (
    <>
      <div class="row wrap">
        <label class="inline">
          {words.by}
          <select value={by} onChange={(event) => setBy(event.currentTarget.value as Group)}>
            {GROUPS.map((each) => (
              <option key={each} value={each}>
                {words.groups[each]}
              </option>
            ))}
          </select>
        </label>
        <label class="inline">
          {words.since}
          <input type="date" value={since} onChange={(event) => setSince(event.currentTarget.value)} />
        </label>
      </div>
      {isOff() && <p class="notice">{words.off}</p>}
      <Loading of={report}>{(data) => <Report report={data} by={by} />}</Loading>
    </>
  );
}

/** True if the gateway is switched off: then the service has no ledger. */
function isOff(): boolean {
  return me.value?.authenticated === false;
}

function Report({ report, by }: { report: UsageReport; by: Group }) {
  const words = t.value.usage;
  if (report.groups.length === 0) return isOff() ? null : <Nothing />;
  const groups =
    by === "day"
      ? [...report.groups].sort((a, b) => (a.day ?? "").localeCompare(b.day ?? ""))
      : report.groups;
  const most = Math.max(...groups.map((group) => group.requests), 1);
  const cells = (group: UsageReport["groups"][number], name: string) => [
    name,
    number(group.requests),
    <meter key={name} min={0} max={most} value={group.requests} aria-label={words.requests} />,
    number(group.input_tokens),
    number(group.output_tokens),
    number(group.cost, 4),
  ];
  const rows = groups.map((group) => cells(group, plain(group[by] || "–")));
  const total = report.total ? [cells(report.total, words.total).with(2, "")] : [];
  return (
    <>
      <p class="faint">{words.period(moment(report.since), moment(report.until))}</p>
      <Table
        caption={t.value.administration.parts.usage}
        head={[words.groups[by] ?? by, words.requests, "", words.input, words.output, words.cost]}
        rows={[...rows, ...total]}
        numbers={[1, 3, 4, 5]}
      />
      {report.outliers.length > 0 && <Outliers report={report} />}
    </>
  );
}

function Outliers({ report }: { report: UsageReport }) {
  const words = t.value.usage;
  return (
    <>
      <h3>{words.outliers}</h3>
      <Table
        caption={words.outliers}
        head={[t.value.administration.when, words.groups.feature ?? "", words.groups.model ?? "", words.cost]}
        rows={report.outliers.map((each) => [
          moment(each.started_at),
          plain(each.feature),
          plain(each.model),
          number(each.cost, 4),
        ])}
        numbers={[3]}
      />
    </>
  );
}
