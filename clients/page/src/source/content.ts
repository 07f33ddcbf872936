import type { Document } from "plumbline-client";
import { api } from "../session";

/** A document's record, and its text. */
export interface Source {
  record: Document;
  text: string;
}

/** Loads a document: its record, and the text that citations count. */
export async function loadSource(
  collection: string,
  id: string,
  signal: AbortSignal,
): Promise<Source> {
  const params = { path: { document_id: id }, query: { collection } };
  const [record, text] = await Promise.all([
    api.GET("/v1/documents/{document_id}", { params, signal }),
    api.send(contentPath(collection, id, "text"), { signal }),
  ]);
  return { record: record.data as Document, text: await text.text() };
}

/** Loads the original file of a document. */
export async function loadOriginal(
  collection: string,
  id: string,
  signal?: AbortSignal,
): Promise<Blob> {
  const path = contentPath(collection, id, "original");
  return await (await api.send(path, signal ? { signal } : {})).blob();
}

function contentPath(collection: string, id: string, as: "text" | "original"): string {
  const query = new URLSearchParams({ collection, as });
  return `/v1/documents/${encodeURIComponent(id)}/content?${query}`;
}
