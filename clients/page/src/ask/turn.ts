import type { Answer, Citation, Hit } from "plumbline-client";

/** A retracted piece of an answer: characters `start` to `end` of its text. */
export interface Retracted {
  start: number;
  end: number;
}

/** A question and what became of it. */
export interface Turn {
  id: string;
  question: string;
  /** The answer as far as it has come. */
  text: string;
  citations: Citation[];
  retracted: Retracted[];
  state: "streaming" | "done" | "stopped" | "failed";
  /** The server's words, if it failed. */
  error: string | null;
  hits: Hit[];
  answer: Details | null;
  rating: "up" | "down" | null;
}

/** The parts of an answer that stay with its turn; passages and text are kept once. */
export type Details = Omit<Answer, "answer" | "citations" | "hits" | "claims">;

export interface Conversation {
  id: string;
  collection: string;
  title: string;
  turns: Turn[];
}

export function newTurn(question: string): Turn {
  return {
    id: crypto.randomUUID(),
    question,
    text: "",
    citations: [],
    retracted: [],
    state: "streaming",
    error: null,
    hits: [],
    answer: null,
    rating: null,
  };
}

export function newConversation(collection: string): Conversation {
  return { id: crypto.randomUUID(), collection, title: "", turns: [] };
}
