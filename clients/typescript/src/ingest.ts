import { type Api, told } from "./connect";
import type { Accepted, Job } from "./models";
import { errorOfResponse, unreachable } from "./problem";

export interface Upload {
  collection: string;
  files: readonly File[];
  /** Called with the share of the bytes that is sent, 0 to 1. */
  onProgress?: (share: number) => void;
  signal?: AbortSignal;
}

/**
 * Sends files, and returns the job that ingests them. Folders in their names tell files apart.
 * XMLHttpRequest, since fetch does not report how much is sent.
 */
export function upload(api: Api, { collection, files, onProgress, signal }: Upload): Promise<Accepted> {
  const form = new FormData();
  form.append("collection", collection);
  for (const file of files) form.append("files", file, file.webkitRelativePath || file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${api.connection.baseUrl}/v1/documents`);
    const key = api.connection.key();
    if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
    request.upload.onprogress = (event) => onProgress?.(event.total ? event.loaded / event.total : 1);
    request.onload = () => {
      const response = responseOf(request);
      if (response.ok) response.json().then((body) => resolve(body as Accepted), reject);
      else void errorOfResponse(response).then((error) => reject(told(error, api.connection)));
    };
    request.onerror = () => reject(unreachable("The upload was cut."));
    request.onabort = () => reject(new DOMException("The upload was cancelled.", "AbortError"));
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

function responseOf(request: XMLHttpRequest): Response {
  const headers = new Headers();
  for (const name of ["retry-after", "x-request-id"]) {
    const value = request.getResponseHeader(name);
    if (value) headers.set(name, value);
  }
  return new Response(request.responseText, { status: request.status, headers });
}

/** Yields the state of a job, every `seconds`, until it has ended. */
export async function* waitForJob(
  api: Api,
  jobId: string,
  { seconds = 0.5, signal }: { seconds?: number; signal?: AbortSignal } = {},
): AsyncGenerator<Job, void, undefined> {
  for (;;) {
    const { data } = await api.GET("/v1/jobs/{job_id}", {
      params: { path: { job_id: jobId } },
      ...(signal ? { signal } : {}),
    });
    const job = data as Job;
    yield job;
    if (job.state !== "pending" && job.state !== "running") return;
    await pause(seconds * 1000, signal);
  }
}

function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = () => {
      clearTimeout(timer);
      reject(new DOMException("The wait was cancelled.", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", cancel);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", cancel, { once: true });
  });
}
