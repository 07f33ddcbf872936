import { effect, signal } from "@preact/signals";
import { createStore, get, update } from "idb-keyval";
import { collection, owner } from "../session";
import { type Conversation, newConversation, type Turn } from "./turn";

/** Conversations that are kept; the oldest goes first. */
const MOST = 50;
/** Turns of a conversation that are kept. */
const MOST_TURNS = 300;
/** Last turns of a conversation that keep their passages: earlier ones are seldom looked at. */
const MOST_WITH_HITS = 10;
/** Characters of the title that is made of the first question. */
const TITLE_CHARS = 60;

const store = createStore("plumbline", "conversations");

/** All conversations of the caller, the latest first. */
export const conversations = signal<Conversation[]>([]);
export const current = signal<Conversation>(newConversation(collection.value));

/** Set if this browser does not keep conversations: its words. */
export const unkept = signal<string | null>(null);

// Whoever signs in again after a key has ended goes on where the other key was.
effect(() => {
  const name = owner.value;
  conversations.value = [];
  if (name !== null) void load(name);
});

async function load(name: string): Promise<void> {
  try {
    const kept = (await get<Conversation[]>(name, store)) ?? [];
    if (owner.peek() === name) conversations.value = kept;
  } catch (error) {
    unkept.value = String(error);
  }
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
  const isIt = (each: Conversation) => each.id === conversationId;
  const before = isIt(current.value) ? current.value : conversations.value.find(isIt);
  if (!before) return; // it was deleted meanwhile
  if (isIt(current.value)) current.value = withTurn(before, turn);
  if (!keep) return;
  const edit: Edit = (kept) => [
    withTurn(kept.find(isIt) ?? before, turn),
    ...kept.filter((each) => !isIt(each)),
  ];
  conversations.value = edit(conversations.value);
  void change(edit);
}

function withTurn(before: Conversation, turn: Turn): Conversation {
  const turns = before.turns.some((each) => each.id === turn.id)
    ? before.turns.map((each) => (each.id === turn.id ? turn : each))
    : [...before.turns, turn];
  const title = before.title || turn.question.slice(0, TITLE_CHARS);
  return { ...before, title, turns: turns.slice(-MOST_TURNS).map(slim) };
}

/** Drops the passages of earlier turns. */
function slim(turn: Turn, place: number, turns: Turn[]): Turn {
  return place < turns.length - MOST_WITH_HITS && turn.hits.length > 0 ? { ...turn, hits: [] } : turn;
}

/** Deletes a conversation; it is shown until it is gone. */
export async function remove(id: string): Promise<void> {
  await change((kept) => kept.filter((each) => each.id !== id));
  if (current.value.id === id) startFresh();
}

/** Deletes all conversations of the caller; they are shown until they are gone. */
export async function removeAll(): Promise<void> {
  await change(() => []);
  startFresh();
}

/** Returns the open conversation in place of its copy from the store, which would be held beside it. */
function shared(kept: Conversation): Conversation {
  const { id, turns } = current.value;
  return kept.id === id && kept.turns.length === turns.length ? current.value : kept;
}

type Edit = (kept: Conversation[]) => Conversation[];

/** Changes what is kept, which another tab may have changed meanwhile. */
async function change(edit: Edit): Promise<void> {
  const name = owner.value;
  if (name === null) return;
  let now: Conversation[] = [];
  try {
    await update<Conversation[]>(name, (kept) => (now = edit(kept ?? []).slice(0, MOST)), store);
    unkept.value = null;
    if (owner.value === name) conversations.value = now.map(shared);
  } catch (error) {
    unkept.value = String(error);
  }
}
