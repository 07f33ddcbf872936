import type { Citation, Hit } from "plumbline-client";
import { memo } from "preact/compat";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { openSource } from "../source/opened";
import { plain } from "../ui/plain";
import { Abstained } from "./Abstained";
import { AnswerText } from "./AnswerText";
import { FeedbackForm } from "./FeedbackForm";
import { Searched } from "./Searched";
import { SourceList } from "./SourceList";
import type { Conversation, Turn } from "./turn";

interface TurnProps {
  turn: Turn;
  conversation: Conversation;
  onRetry: (question: string) => void;
}

/** A question with its answer, its sources, and what was searched for it. */
export const TurnView = memo(({ turn, conversation, onRetry }: TurnProps) => {
  const open = (cited: Citation | Hit) => openSource(conversation.collection, cited);
  const { answer } = turn;
  const article = useRef<HTMLElement>(null);
  useEffect(() => {
    if (turn.state === "streaming") article.current?.scrollIntoView({ block: "start" });
  }, []);
  return (
    <article class="turn" ref={article}>
      <h2 class="question">
        <span class="hidden">{t.value.chat.you}: </span>
        <bdi>{turn.question}</bdi>
      </h2>
      {answer && answer.question !== turn.question && answer.question && (
        <p class="faint">{t.value.chat.question(plain(answer.question))}</p>
      )}
      {turn.text && <AnswerText turn={turn} onOpen={open} />}
      {turn.state === "streaming" && <p class="working" aria-hidden="true" />}
      {answer?.abstained && <Abstained turn={turn} answer={answer} onOpen={open} />}
      {turn.citations.length > 0 && <SourceList citations={turn.citations} onOpen={open} />}
      <Ending turn={turn} onRetry={onRetry} />
      {answer && <FeedbackForm turn={turn} answer={answer} conversationId={conversation.id} />}
      {answer && turn.hits.length > 0 && <Searched turn={turn} answer={answer} onOpen={open} />}
    </article>
  );
});

function Ending({ turn, onRetry }: Pick<TurnProps, "turn" | "onRetry">) {
  if (turn.state === "stopped") return <p class="faint">{t.value.chat.stopped}</p>;
  if (turn.state !== "failed") return null;
  return (
    <div class="fault" role="alert">
      <p>
        <strong>{turn.text ? t.value.chat.cut : `${t.value.failed}.`}</strong>{" "}
        {plain(turn.error ?? "")}
      </p>
      <button type="button" onClick={() => onRetry(turn.question)}>
        {t.value.retry}
      </button>
    </div>
  );
}
