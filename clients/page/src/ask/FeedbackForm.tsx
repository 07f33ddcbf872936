import { useState } from "preact/hooks";
import { t } from "../i18n";
import { api } from "../session";
import { Fault } from "../ui/Fault";
import { put } from "./conversations";
import type { Details, Turn } from "./turn";

interface FeedbackProps {
  turn: Turn;
  answer: Details;
  conversationId: string;
}

/** Thumbs for an answer, and then room for a comment and the right answer. */
export function FeedbackForm({ turn, answer, conversationId }: FeedbackProps) {
  const [comment, setComment] = useState("");
  const [correction, setCorrection] = useState("");
  const [asking, setAsking] = useState(false);
  const [sent, setSent] = useState(false);
  const [fault, setFault] = useState<unknown>(null);
  const words = t.value.feedback;
  const send = async (body: { rating?: "up" | "down"; comment?: string; correction?: string }) => {
    setFault(null);
    try {
      await api.POST("/v1/feedback", { body: { answer_id: answer.answer_id, ...body } });
      setSent(true);
      return true;
    } catch (error) {
      setFault(error);
      return false;
    }
  };
  const rate = async (rating: "up" | "down") => {
    if (!(await send({ rating }))) return;
    put(conversationId, { ...turn, rating }, { keep: true });
    setAsking(true);
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    const body = {
      ...(comment.trim() ? { comment: comment.trim() } : {}),
      ...(correction.trim() ? { correction: correction.trim() } : {}),
    };
    if (await send(body)) setAsking(false);
  };
  return (
    <div class="feedback">
      <div class="row">
        <Thumb label={words.good} on={turn.rating === "up"} onClick={() => rate("up")} />
        <Thumb label={words.bad} on={turn.rating === "down"} down onClick={() => rate("down")} />
        <span role="status" class="faint">
          {sent && !asking ? words.thanks : ""}
        </span>
      </div>
      {asking && (
        <form onSubmit={submit}>
          <label>
            {words.comment}
            <textarea value={comment} onInput={(event) => setComment(event.currentTarget.value)} />
          </label>
          <label>
            {words.correction}
            <textarea
              value={correction}
              onInput={(event) => setCorrection(event.currentTarget.value)}
            />
          </label>
          <div class="row end">
            <button type="button" onClick={() => setAsking(false)}>
              {t.value.close}
            </button>
            <button type="submit" class="primary" disabled={!comment.trim() && !correction.trim()}>
              {words.send}
            </button>
          </div>
        </form>
      )}
      {fault !== null && <Fault error={fault} />}
    </div>
  );
}

interface ThumbProps {
  label: string;
  on: boolean;
  down?: boolean;
  onClick: () => void;
}

/** The outline of a thumb, in a square of 24. */
const THUMB = "M7 11v9H3v-9zm0 9h10l3-9h-7l1-6-1-2-6 8";

function Thumb({ label, on, down = false, onClick }: ThumbProps) {
  return (
    <button type="button" class="quiet" aria-label={label} aria-pressed={on} onClick={onClick}>
      <svg class={down ? "thumb down" : "thumb"} viewBox="0 0 24 24" aria-hidden="true">
        <path d={THUMB} />
      </svg>
    </button>
  );
}
