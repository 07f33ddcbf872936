import { effect, signal } from "@preact/signals";
import { createStore, del, get, set } from "idb-keyval";
import { collection, me, owner } from "../session";
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

let tenant: string | null = null;

// Whoever signs in again after a key has ended goes on where the other key was; to sign out, or to
// come from another tenant, begins anew.
effect(() => {
  const [name, of] = [owner.value, me.value?.tenant ?? null];
  if (of !== tenant) current.value = newConversation(collection.peek());
  tenant = of;
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
  if (keep) void save([after, ...conversations.value.filter((each) => each.id !== conversationId)]);
}

/** Drops the passages of earlier turns: the last one's are those that a reader looks at. */
function slim(turn: Turn, place: number, turns: Turn[]): Turn {
  return place < turns.length - 10 && turn.hits.length > 0 ? { ...turn, hits: [] } : turn;
}

/** Deletes a conversation; it is shown until it is gone. */
export async function remove(id: string): Promise<void> {
  await save(conversations.value.filter((each) => each.id !== id));
  if (current.value.id === id) startFresh();
}

/** Deletes all conversations of the caller; they are shown until they are gone. */
export async function removeAll(): Promise<void> {
  if (owner.value !== null) await del(owner.value, store);
  conversations.value = [];
  startFresh();
}

async function save(kept: Conversation[]): Promise<void> {
  const some = kept.slice(0, MOST);
  if (owner.value !== null) await set(owner.value, some, store);
  conversations.value = some;
}
