import { effect, signal } from "@preact/signals";
import { createStore, del, get, set } from "idb-keyval";
import { collection, owner } from "../session";
import { type Conversation, newConversation, type Turn } from "./turn";

/** Conversations that are kept; the oldest goes first. */
const MOST = 50;
/** Turns of a conversation that are kept. */
const MOST_TURNS = 300;
/** Characters of the title that is made of the first question. */
const TITLE_CHARS = 60;

const store = createStore("plumbline", "conversations");

/** All conversations of the caller, the latest first. */
export const conversations = signal<Conversation[]>([]);
export const current = signal<Conversation>(newConversation(collection.value));

effect(() => {
  const name = owner.value;
  current.value = newConversation(collection.peek());
  conversations.value = [];
  if (name !== null) void load(name);
});

async function load(name: string): Promise<void> {
  const kept = (await get<Conversation[]>(name, store)) ?? [];
  if (owner.peek() === name) conversations.value = kept;
}

/** Opens an empty conversation about the chosen collection. */
export function startFresh(): void {
  current.value = newConversation(collection.value);
}

/** Opens a conversation that was kept. */
export function open(id: string): void {
  const found = conversations.value.find((each) => each.id === id);
  if (found) current.value = found;
}

/** Puts a turn into the conversation, in place of the one with its id; keeps it if `keep`. */
export function put(conversationId: string, turn: Turn, { keep }: { keep: boolean }): void {
  const before =
    current.value.id === conversationId
      ? current.value
      : conversations.value.find((each) => each.id === conversationId);
  if (!before) return; // it was deleted meanwhile
  const turns = before.turns.some((each) => each.id === turn.id)
    ? before.turns.map((each) => (each.id === turn.id ? turn : each))
    : [...before.turns, turn];
  const title = before.title || turn.question.slice(0, TITLE_CHARS);
  const after = { ...before, title, turns: turns.slice(-MOST_TURNS).map(slim) };
  if (current.value.id === conversationId) current.value = after;
  if (keep) save([after, ...conversations.value.filter((each) => each.id !== conversationId)]);
}

/** Drops the passages of earlier turns: the last one's are those that a reader looks at. */
function slim(turn: Turn, place: number, turns: Turn[]): Turn {
  return place < turns.length - 10 && turn.hits.length > 0 ? { ...turn, hits: [] } : turn;
}

export function remove(id: string): void {
  save(conversations.value.filter((each) => each.id !== id));
  if (current.value.id === id) startFresh();
}

export function removeAll(): void {
  conversations.value = [];
  startFresh();
  if (owner.value !== null) void del(owner.value, store);
}

function save(kept: Conversation[]): void {
  conversations.value = kept.slice(0, MOST);
  if (owner.value !== null) void set(owner.value, conversations.value, store);
}
