import type { Document } from "plumbline-client";
import { moment, number, t } from "../i18n";
import { plain } from "../ui/plain";
import { Table } from "../ui/Table";

interface DocumentTableProps {
  documents: Document[];
  onOpen: (document: Document) => void;
  /** Null if the caller may not delete. */
  onDelete: ((document: Document) => void) | null;
}

export function DocumentTable({ documents, onOpen, onDelete }: DocumentTableProps) {
  const words = t.value.docs;
  if (documents.length === 0) return <p class="empty">{words.empty}</p>;
  const head = [words.name, words.state, words.chunks, words.changed];
  const rows = documents.map((document) => [
    <div class="stacked" key={document.id}>
      {document.chunks > 0 ? (
        <button type="button" class="link" onClick={() => onOpen(document)}>
          <bdi>{plain(document.title || document.uri || document.id)}</bdi>
        </button>
      ) : (
        <bdi>{plain(document.title || document.uri || document.id)}</bdi>
      )}
      <span class="faint">
        <bdi>{plain(document.uri)}</bdi>
      </span>
      {document.error && <span class="bad">{plain(document.error)}</span>}
    </div>,
    <span class={`state ${document.state}`} key={document.id}>
      {words.states[document.state] ?? document.state}
    </span>,
    number(document.chunks),
    moment(document.updated_at),
    ...(onDelete
      ? [
          <button
            type="button"
            class="quiet"
            key={document.id}
            aria-label={`${t.value.delete}: ${plain(document.title || document.uri)}`}
            onClick={() => onDelete(document)}
          >
            {t.value.delete}
          </button>,
        ]
      : []),
  ]);
  return (
    <Table
      caption={words.list}
      head={onDelete ? [...head, words.actions] : head}
      rows={rows}
      numbers={[2]}
    />
  );
}
