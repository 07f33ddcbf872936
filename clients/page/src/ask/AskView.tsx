import { signal } from "@preact/signals";
import type { Filter } from "plumbline-client";
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n";
import { hrefOf } from "../route";
import { collection, collections, may } from "../session";
import { CollectionChoice } from "../ui/CollectionChoice";
import { Guard } from "../ui/Guard";
import { askIn, running, stop } from "./asking";
import { Composer } from "./Composer";
import { conversations, current, open, remove, removeAll, startFresh } from "./conversations";
import { Filters } from "./Filters";
import { History } from "./History";
import { TurnView } from "./TurnView";

/** Turns that are drawn at once; earlier ones on demand, so that a long talk stays light. */
const SHOWN = 12;

/** The question that is being typed; it outlives a change of view and a sign-in. */
const draft = signal("");
const filters = signal<Filter[]>([]);

export function AskView() {
  const talk = current.value;
  const [more, setMore] = useState(0);
  useEffect(() => setMore(0), [talk.id]);
  useEffect(() => {
    if (talk.turns.length === 0 && talk.collection !== collection.value) startFresh();
  }, [collection.value]);
  const first = Math.max(0, talk.turns.length - SHOWN - more);
  const send = (question: string) => void askIn(talk, question, filters.value);
  return (
    <div class="ask">
      <Guard>
        <History
          conversations={conversations.value}
          currentId={talk.id}
          onFresh={startFresh}
          onOpen={open}
          onRemove={(id) => void remove(id)}
          onRemoveAll={() => void removeAll()}
        />
      </Guard>
      <section class="talk" aria-label={t.value.ask}>
        <h1 class="hidden">{t.value.ask}</h1>
        <div class="turns">
          {talk.turns.length === 0 && <Empty />}
          {first > 0 && (
            <button type="button" class="quiet" onClick={() => setMore(more + SHOWN)}>
              {t.value.chat.earlier(first)}
            </button>
          )}
          {talk.turns.slice(first).map((turn) => (
            <Guard key={turn.id}>
              <TurnView turn={turn} conversation={talk} onRetry={send} />
            </Guard>
          ))}
        </div>
        <Announcer />
        <Composer
          draft={draft.value}
          busy={running.value.length > 0}
          onDraft={(text) => {
            draft.value = text;
          }}
          onSend={(question) => {
            draft.value = "";
            send(question);
          }}
          onStop={stop}
        >
          <CollectionChoice />
          <Filters
            filters={filters.value}
            onChange={(changed) => {
              filters.value = changed;
            }}
          />
        </Composer>
      </section>
    </div>
  );
}

function Empty() {
  const known = collections.value.find((each) => each.name === collection.value);
  const empty = may.value.has("read") && !known?.documents;
  return (
    <div class="empty">
      <p>{empty ? t.value.chat.emptyCollection : t.value.chat.empty}</p>
      {empty && may.value.has("write") && (
        <a class="button primary" href={hrefOf("documents")}>
          {t.value.chat.addDocuments}
        </a>
      )}
    </div>
  );
}

/** Tells screen readers that an answer has begun and ended; its text they read at will. */
function Announcer() {
  const last = current.value.turns.at(-1);
  const words =
    last?.state === "streaming" ? t.value.chat.answering : last ? t.value.chat.answered : "";
  return (
    <p class="hidden" role="status">
      {words}
    </p>
  );
}
