import { EventSourceParserStream } from "eventsource-parser/stream";
import { type Api, type Connection, told } from "./connect";
import type { Answer, Citation, Hit, Problem, Question } from "./models";
import { errorOf, isAbort, unexpected, unreachable } from "./problem";

/** An event of an answer, in the order in which they come; `answer` is the last, and the whole. */
export type AskEvent =
  | { type: "hits"; hits: Hit[] }
  | { type: "token"; text: string }
  | { type: "citation"; citation: Citation }
  | { type: "retract"; start: number; end: number; objection: string }
  | { type: "answer"; answer: Answer };

/**
 * Asks, and yields the answer as it is written. Ending the iteration, or `signal`, cancels it.
 * Throws a PlumblineError if it fails, before the first event or between two.
 */
export async function* ask(
  api: Api,
  question: Question,
  signal?: AbortSignal,
): AsyncGenerator<AskEvent, void, undefined> {
  const response = await api.send("/v1/query", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...question, stream: true }),
    ...(signal ? { signal } : {}),
  });
  if (!response.body) throw unreachable("no body");
  const reader = response.body
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array<ArrayBuffer>>)
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  let complete = false;
  try {
    for (;;) {
      const { done, value } = await next(reader);
      if (done) break;
      const event = eventOf(value.event, value.data, api.connection);
      if (!event) continue;
      complete = event.type === "answer";
      yield event;
    }
  } finally {
    await reader.cancel().catch(() => undefined); // the connection may be gone already
  }
  if (!complete) throw unreachable("The stream ended without an answer.");
}

async function next<T>(reader: ReadableStreamDefaultReader<T>): Promise<ReadableStreamReadResult<T>> {
  try {
    return await reader.read();
  } catch (error) {
    throw isAbort(error) ? error : unreachable(error);
  }
}

/** Returns null for the kinds of events that a newer server may add. */
function eventOf(
  name: string | undefined,
  data: string,
  connection: Connection,
): AskEvent | null {
  const body = parsed(data);
  switch (name) {
    case "hits":
      return { type: "hits", hits: (body as { hits: Hit[] }).hits };
    case "token":
      return { type: "token", text: (body as { text: string }).text };
    case "citation":
      return { type: "citation", citation: body as Citation };
    case "retract":
      return { type: "retract", ...(body as { start: number; end: number; objection: string }) };
    case "answer":
      if (typeof (body as Answer | null)?.answer !== "string") throw unexpected(data);
      return { type: "answer", answer: body as Answer };
    case "error":
      throw told(errorOf(body as Problem), connection);
    default:
      return null;
  }
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch (error) {
    throw unexpected(error);
  }
}

