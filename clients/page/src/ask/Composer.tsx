import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";

interface ComposerProps {
  draft: string;
  busy: boolean;
  children: ComponentChildren;
  onDraft: (text: string) => void;
  onSend: (question: string) => void;
  onStop: () => void;
}

/** The field for the question: Enter asks, Shift and Enter begin a new line. */
export function Composer({ draft, busy, children, onDraft, onSend, onStop }: ComposerProps) {
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const area = field.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [draft]);
  const send = () => {
    if (!busy && draft.trim()) onSend(draft.trim());
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div class="field">
        <textarea
          ref={field}
          rows={1}
          aria-label={t.value.chat.label}
          placeholder={t.value.chat.placeholder}
          value={draft}
          onInput={(event) => onDraft(event.currentTarget.value)}
          onKeyDown={onKeyDown}
        />
        {busy ? (
          <button type="button" onClick={onStop}>
            {t.value.chat.stop}
          </button>
        ) : (
          <button type="submit" class="primary" disabled={!draft.trim()}>
            {t.value.chat.send}
          </button>
        )}
      </div>
      <div class="row wrap">{children}</div>
    </form>
  );
}
