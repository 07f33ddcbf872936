import { signal } from "@preact/signals";
import type { Citation, Hit } from "plumbline-client";

/** A passage to show: code points `start` to `end` of a document's text. */
export interface Place {
  collection: string;
  documentId: string;
  title: string;
  uri: string;
  page: number | null;
  headings: string[];
  start: number;
  end: number;
  quote: string;
}

export const opened = signal<Place | null>(null);

/** Opens a citation or a hit in its document. */
export function openSource(collection: string, cited: Citation | Hit): void {
  opened.value = {
    collection,
    documentId: cited.document_id,
    title: cited.title || cited.uri,
    uri: cited.uri,
    page: cited.page,
    headings: cited.headings,
    start: cited.start,
    end: cited.end,
    quote: "quote" in cited ? cited.quote : cited.text,
  };
}

export function closeSource(): void {
  opened.value = null;
}
