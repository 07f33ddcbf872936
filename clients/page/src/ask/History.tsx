import { useState } from "preact/hooks";
import { t } from "../i18n";
import { Confirm } from "../ui/Dialog";
import { plain } from "../ui/plain";
import type { Conversation } from "./turn";

interface HistoryProps {
  conversations: Conversation[];
  currentId: string;
  onFresh: () => void;
  onOpen: (id: string) => void;
  onRemove: (id: string) => void;
  onRemoveAll: () => void;
}

/** The conversations of this browser. */
export function History(props: HistoryProps) {
  const { conversations, currentId } = props;
  const [asking, setAsking] = useState(false);
  const [unfolded, setUnfolded] = useState(false);
  return (
    <aside class={unfolded ? "history unfolded" : "history"} aria-label={t.value.chat.conversations}>
      <div class="row">
        <button type="button" class="grow" onClick={props.onFresh}>
          + {t.value.chat.fresh}
        </button>
        <button
          type="button"
          class="narrow-only"
          aria-expanded={unfolded}
          onClick={() => setUnfolded(!unfolded)}
        >
          {t.value.chat.conversations}
        </button>
      </div>
      <div class="past">
        <ul class="bare">
          {conversations.map((each) => (
            <li key={each.id} class="row">
              <button
                type="button"
                class="quiet grow clip"
                aria-current={each.id === currentId ? "true" : undefined}
                onClick={() => props.onOpen(each.id)}
              >
                <bdi>{plain(each.title) || t.value.chat.untitled}</bdi>
              </button>
              <button
                type="button"
                class="quiet"
                aria-label={`${t.value.chat.remove}: ${plain(each.title)}`}
                onClick={() => props.onRemove(each.id)}
              >
                ✕
              </button>
            </li>
          ))}
        </ul>
        {conversations.length > 0 && (
          <button type="button" class="quiet" onClick={() => setAsking(true)}>
            {t.value.chat.removeAll}
          </button>
        )}
        <p class="faint">{t.value.chat.kept}</p>
      </div>
      {asking && (
        <Confirm
          question={t.value.chat.removeAllQuestion}
          action={t.value.chat.removeAll}
          onConfirm={props.onRemoveAll}
          onClose={() => setAsking(false)}
        />
      )}
    </aside>
  );
}
