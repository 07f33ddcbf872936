import { signal } from "@preact/signals";
import { type AskEvent, ask, type Filter, isAbort, type Question } from "plumbline-client";
import { api } from "../session";
import { put } from "./conversations";
import { type Conversation, newTurn, type Turn } from "./turn";

/** Turns of the conversation that are sent with a question, and the most characters of each answer. */
const MEMORY = 6;
const MEMORY_CHARS = 10_000;

/** One for each answer that is being written: failed questions may be asked again beside others. */
export const running = signal<readonly AbortController[]>([]);

/** Stops all answers that are being written. */
export function stop(): void {
  for (const each of running.value) each.abort();
}

/** Asks a question in a conversation, and puts the answer into it as it comes. */
export async function askIn(
  conversation: Conversation,
  question: string,
  filters: Filter[],
): Promise<void> {
  const controller = new AbortController();
  running.value = [...running.value, controller];
  const turn = newTurn(question);
  const shown = paced((state: Turn) => put(conversation.id, state, { keep: false }));
  let state = turn;
  shown(state);
  try {
    for await (const event of ask(api, questionOf(conversation, question, filters), controller.signal)) {
      state = after(state, event);
      shown(state);
    }
    state = { ...state, state: "done" };
  } catch (error) {
    state = failed(state, error);
  } finally {
    running.value = running.value.filter((each) => each !== controller);
    shown.end();
    put(conversation.id, state, { keep: true });
  }
}

function questionOf(conversation: Conversation, question: string, filters: Filter[]): Question {
  const past = conversation.turns.filter((turn) => turn.state === "done").slice(-MEMORY);
  const messages = past.flatMap((turn) => [
    { role: "user" as const, content: turn.question },
    { role: "assistant" as const, content: turn.text.slice(0, MEMORY_CHARS) },
  ]);
  return {
    collection: conversation.collection,
    filters,
    session_id: conversation.id,
    priority: "interactive",
    messages: [...messages, { role: "user", content: question }],
  };
}

function after(turn: Turn, event: AskEvent): Turn {
  switch (event.type) {
    case "hits":
      return { ...turn, hits: event.hits };
    case "token":
      return { ...turn, text: turn.text + event.text };
    case "citation":
      return { ...turn, citations: [...turn.citations, event.citation] };
    case "retract":
      return { ...turn, retracted: [...turn.retracted, { start: event.start, end: event.end }] };
    case "answer": {
      const { answer, citations, hits, claims: _claims, ...details } = event.answer;
      return { ...turn, text: answer, citations, hits, answer: details };
    }
  }
}

function failed(turn: Turn, error: unknown): Turn {
  if (isAbort(error)) return { ...turn, state: "stopped" };
  return { ...turn, state: "failed", error: error instanceof Error ? error.message : String(error) };
}

/** Returns a function that shows the last of many states, at most once for each frame. */
function paced<T>(show: (state: T) => void): ((state: T) => void) & { end: () => void } {
  let pending: { state: T } | null = null;
  let frame = 0;
  const draw = () => {
    frame = 0;
    if (pending) show(pending.state);
    pending = null;
  };
  const later = (state: T) => {
    pending = { state };
    frame ||= requestAnimationFrame(draw);
  };
  return Object.assign(later, { end: () => cancelAnimationFrame(frame) });
}
