import { signal } from "@preact/signals";
import { type Accepted, isAbort, type Job, PlumblineError, upload, waitForJob } from "plumbline-client";
import { t } from "../i18n";
import { newId } from "../ids";
import { api, loadCollections } from "../session";
import { portionsOf } from "./portions";

/** Names of files in a sentence. */
const NAMED = 5;

/** A batch of files on its way into a collection. */
export interface Batch {
  id: string;
  collection: string;
  files: number;
  /** The share of its bytes that is sent. */
  sent: number;
  notices: string[];
  job: Job | null;
  error: unknown;
  /** The files themselves, until they are sent: an upload that failed is tried again with them. */
  pending: readonly File[];
  /** Cancels the request that sends them; null while none does. */
  sending: AbortController | null;
}

/** Batches of this tab, the latest first. */
export const batches = signal<Batch[]>([]);
/** Grows whenever documents may have changed. */
export const changes = signal(0);

/** Sends files, a portion after the other, and follows their jobs until they have ended. */
export async function send(collection: string, files: readonly File[]): Promise<void> {
  const { portions, empty, doubled } = portionsOf(files);
  const words = t.value.docs;
  const notices = [
    ...(empty.length > 0 ? [words.empties(named(empty))] : []),
    ...(doubled.length > 0 ? [words.doubled(named(doubled))] : []),
  ];
  const made = (portions.length > 0 ? portions : [[]]).map((pending, place) =>
    newBatch(collection, pending, place === 0 ? notices : []),
  );
  batches.value = [...made, ...batches.value];
  for (const batch of made) if (batch.pending.length > 0) await transfer(batch.id);
}

/** Returns names for a sentence: the first ones, and how many there are besides. */
function named(names: string[]): string {
  const rest = names.length - NAMED;
  return names.slice(0, NAMED).join(", ") + (rest > 0 ? ` + ${rest}` : "");
}

function newBatch(collection: string, pending: readonly File[], notices: string[]): Batch {
  const [files, sent] = [pending.length, pending.length > 0 ? 0 : 1];
  const fresh = { job: null, error: null, sending: null };
  return { id: newId(), collection, files, sent, notices, pending, ...fresh };
}

/** Sends a batch, or sends it once more after a failure or a sign-in; its job is followed beside. */
async function transfer(id: string): Promise<void> {
  const batch = batches.value.find((each) => each.id === id);
  if (!batch) return;
  const sending = new AbortController();
  change(id, { error: null, sending });
  try {
    const accepted: Accepted = await upload(api, {
      collection: batch.collection,
      files: batch.pending,
      onProgress: (sent) => change(id, { sent }),
      signal: sending.signal,
    });
    const notices = [...batch.notices, ...accepted.notices];
    change(id, { sent: 1, pending: [], notices, sending: null });
    changes.value++;
    void follow(id, accepted.job_id);
  } catch (error) {
    if (!isAbort(error)) change(id, { error, sending: null });
  }
}

/** Adds the jobs that are under way on the server, such as those of before a reload. */
export function adopt(jobs: readonly Job[]): void {
  const known = new Set(batches.value.map((each) => each.job?.id));
  for (const job of jobs.filter((each) => !known.has(each.id))) {
    const batch: Batch = {
      id: job.id,
      collection: job.collection,
      files: job.counts.total ?? 0,
      sent: 1,
      notices: [],
      job,
      error: null,
      pending: [],
      sending: null,
    };
    batches.value = [...batches.value, batch];
    void follow(batch.id, job.id);
  }
}

/** Tries the failed documents of a job again. */
export async function retry(batch: Batch): Promise<void> {
  if (!batch.job) return transfer(batch.id);
  change(batch.id, { error: null });
  try {
    await api.POST("/v1/jobs/{job_id}/retry", { params: { path: { job_id: batch.job.id } } });
    await follow(batch.id, batch.job.id);
  } catch (error) {
    change(batch.id, { error });
  }
}

/** Cancels the documents of a job that have not begun. */
export async function stop(batch: Batch): Promise<void> {
  if (!batch.job) return;
  try {
    await api.DELETE("/v1/jobs/{job_id}", { params: { path: { job_id: batch.job.id } } });
  } catch (error) {
    change(batch.id, { error });
  }
}

/** Takes a batch out of the view. Of files that are not wholly sent, nothing is ingested. */
export function dismiss({ id, sending }: Batch): void {
  sending?.abort();
  batches.value = batches.value.filter((each) => each.id !== id);
}

async function follow(id: string, jobId: string): Promise<void> {
  let done = -1;
  for (;;) {
    try {
      for await (const job of waitForJob(api, jobId)) {
        change(id, { job, error: null });
        const now = (job.counts.succeeded ?? 0) + (job.counts.failed ?? 0);
        if (now !== done) changes.value++;
        done = now;
      }
      await loadCollections();
      return;
    } catch (error) {
      change(id, { error });
      if (!(error instanceof PlumblineError) || (error.status !== 0 && error.status < 500)) return;
      await new Promise((resolve) => setTimeout(resolve, 2000)); // the server is away: go on later
      if (!batches.value.some((each) => each.id === id)) return;
    }
  }
}

function change(id: string, fields: Partial<Batch>): void {
  batches.value = batches.value.map((each) => (each.id === id ? { ...each, ...fields } : each));
}
