import { duration, number, percent, t } from "../i18n";
import { Fault } from "../ui/Fault";
import { plain } from "../ui/plain";
import { type Batch, dismiss, retry, stop } from "./jobs";

/** A batch of files: how far it is, what failed and why. */
export function BatchCard({ batch }: { batch: Batch }) {
  const words = t.value.docs;
  const { job } = batch;
  const total = job?.counts.total ?? batch.files;
  const ended = job ? total - (job.counts.pending ?? 0) - (job.counts.running ?? 0) : 0;
  const open = job?.state === "pending" || job?.state === "running";
  const unsent = batch.pending.length > 0 && batch.error === null;
  const share = job ? ended / Math.max(1, total) : batch.sent;
  const label = job ? words.job(number(ended), number(total)) : words.uploading(percent(batch.sent));
  return (
    <li class="batch">
      <div class="row wrap">
        <strong>{label}</strong>
        <span class="faint">→ {plain(batch.collection)}</span>
        <span class="grow" />
        {open && (
          <button type="button" onClick={() => void stop(batch)}>
            {words.stop}
          </button>
        )}
        {!open && (
          <button type="button" class={unsent ? "" : "quiet"} onClick={() => dismiss(batch)}>
            {unsent ? t.value.cancel : words.dismiss}
          </button>
        )}
      </div>
      <progress aria-label={label} max={1} value={share} />
      <p class="faint" role="status">
        {job && details(batch).join(" · ")}
      </p>
      {batch.notices.map((notice) => (
        <p key={notice} class="notice">
          {plain(notice)}
        </p>
      ))}
      {job && job.failures.length > 0 && <Failures batch={batch} open={open} />}
      {batch.error !== null && <Fault error={batch.error} onRetry={() => void retry(batch)} />}
    </li>
  );
}

/** Returns the counts by stage, state and result, and the time that is left. */
function details({ job }: Batch): string[] {
  if (!job) return [];
  const words = t.value.docs;
  const stages = Object.entries(job.stages).map(([name, n]) => `${number(n)} ${words.stages[name] ?? name}`);
  const states = Object.entries(job.counts)
    .filter(([name, n]) => n > 0 && name !== "total" && name !== "succeeded")
    .map(([name, n]) => `${number(n)} ${words.states[name] ?? name}`);
  const outcomes = Object.entries(job.outcomes).map(
    ([name, n]) => `${number(n)} ${words.outcomes[name] ?? name}`,
  );
  const left = job.eta_seconds === null ? [] : [words.eta(duration(job.eta_seconds))];
  return [...stages, ...states, ...outcomes, ...left];
}

function Failures({ batch, open }: { batch: Batch; open: boolean }) {
  const words = t.value.docs;
  return (
    <details open>
      <summary>{words.failures}</summary>
      <ul>
        {batch.job?.failures.map((failure) => (
          <li key={failure.document_id}>
            <bdi>{plain(failure.uri || failure.document_id || "")}</bdi>: {plain(failure.error ?? "")}
          </li>
        ))}
      </ul>
      {!open && (
        <button type="button" onClick={() => void retry(batch)}>
          {words.retryFailed}
        </button>
      )}
    </details>
  );
}
