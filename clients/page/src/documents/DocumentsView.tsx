import { type Document, type Job, PlumblineError } from "plumbline-client";
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n";
import { api, collection, may } from "../session";
import { openSource } from "../source/opened";
import { CollectionChoice } from "../ui/CollectionChoice";
import { Confirm } from "../ui/Dialog";
import { Fault } from "../ui/Fault";
import { Pager } from "../ui/Pager";
import { plain } from "../ui/plain";
import { useLoad } from "../ui/useLoad";
import { BatchCard } from "./BatchCard";
import { DocumentTable } from "./DocumentTable";
import { DropZone } from "./DropZone";
import { adopt, batches, changes, send } from "./jobs";

/** Documents of a page of the list. */
const PAGE = 100;
const STATES = ["pending", "running", "succeeded", "failed", "cancelled"] as const;
type State = (typeof STATES)[number];

export function DocumentsView() {
  const words = t.value.docs;
  const [state, setState] = useState<State | "">("");
  const [prefix, setPrefix] = useState("");
  const [cursors, setCursors] = useState<string[]>([]);
  const [doomed, setDoomed] = useState<{ from: string; document: Document } | null>(null);
  const [said, setSaid] = useState("");
  const [fault, setFault] = useState<unknown>(null);
  useEffect(() => setCursors([]), [collection.value, state, prefix]);
  const cursor = cursors.at(-1);
  const query = {
    collection: collection.value,
    limit: PAGE,
    uri_prefix: prefix,
    ...(state ? { state } : {}),
    ...(cursor ? { cursor } : {}),
  };
  const list = useLoad(
    async (signal) => ({
      from: query.collection, // until the next list has come, this one stays
      ...(await orNone(api.GET("/v1/documents", { params: { query }, signal }))),
    }),
    [collection.value, state, prefix, cursor, changes.value],
  );
  useEffect(() => {
    if (may.value.has("write")) void loadJobs().then(adopt, setFault);
  }, []);
  const remove = async (from: string, document: Document) => {
    setFault(null);
    try {
      await api.DELETE("/v1/documents/{document_id}", {
        params: { path: { document_id: document.id }, query: { collection: from } },
      });
      setSaid(words.deleted(plain(document.title || document.uri)));
      changes.value++;
    } catch (error) {
      setFault(error);
    }
  };
  const from = list.data?.from ?? collection.value;
  return (
    <div class="page">
      <h1>{t.value.documents}</h1>
      {may.value.has("write") ? (
        <DropZone onFiles={(into, files) => void send(into, files)} />
      ) : (
        <p class="notice">{t.value.notAllowed("write")}</p>
      )}
      <ul class="bare">
        {batches.value.map((batch) => (
          <BatchCard key={batch.id} batch={batch} />
        ))}
      </ul>
      <div class="row wrap">
        <CollectionChoice />
        <label class="inline">
          {words.state}
          <select
            value={state}
            onChange={(event) => setState(event.currentTarget.value as State | "")}
          >
            <option value="">{words.all}</option>
            {STATES.map((each) => (
              <option key={each} value={each}>
                {words.states[each]}
              </option>
            ))}
          </select>
        </label>
        <label class="inline">
          {words.prefix}
          <input value={prefix} onChange={(event) => setPrefix(event.currentTarget.value)} />
        </label>
      </div>
      <p role="status" class="faint">
        {said}
      </p>
      {fault !== null && <Fault error={fault} />}
      {list.error !== null && <Fault error={list.error} onRetry={list.reload} />}
      {list.data && (
        <>
          <DocumentTable
            documents={list.data.documents}
            onOpen={(document) => openSource(from, beginningOf(document))}
            onDelete={may.value.has("write") ? (document) => setDoomed({ from, document }) : null}
          />
          <Pager cursors={cursors} next={list.data.next_cursor} onMove={setCursors} />
        </>
      )}
      {doomed && (
        <Confirm
          question={words.deleteQuestion(plain(doomed.document.title || doomed.document.uri))}
          action={t.value.delete}
          onConfirm={() => void remove(doomed.from, doomed.document)}
          onClose={() => setDoomed(null)}
        />
      )}
    </div>
  );
}

interface Page {
  documents: Document[];
  next_cursor: string | null;
}

/** Returns a page; an empty one if the collection is not there yet: its first document makes it. */
async function orNone(page: Promise<{ data?: Page }>): Promise<Page> {
  try {
    return (await page).data as Page;
  } catch (error) {
    if (!(error instanceof PlumblineError) || error.code !== "unknown_collection") throw error;
    return { documents: [], next_cursor: null };
  }
}

/** Returns the jobs that wait or are under way. */
async function loadJobs(): Promise<Job[]> {
  const states = ["pending", "running"] as const;
  const pages = await Promise.all(
    states.map((state) => api.GET("/v1/jobs", { params: { query: { state, limit: 20 } } })),
  );
  return pages.flatMap((page) => page.data?.jobs ?? []);
}

/** Returns the place where a document begins, in the form of a hit without text. */
function beginningOf(document: Document) {
  return {
    chunk_id: "",
    document_id: document.id,
    score: 0,
    text: "",
    title: document.title,
    uri: document.uri,
    page: null,
    start: 0,
    end: 0,
    headings: [],
    ranks: {},
    meta: {},
  };
}
