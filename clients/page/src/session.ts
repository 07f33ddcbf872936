import { computed, signal } from "@preact/signals";
import { type Collection, connect, type Me, PlumblineError } from "plumbline-client";
import { keep, recall, remember } from "./remembered";

/** Milliseconds between two attempts to reach a server that is starting. */
const AGAIN = 1000;

/** The API key, kept until the tab is closed. */
const key = signal<string | null>(recall("sessionStorage", "key"));
export const me = signal<Me | null>(null);
/** Set if the server asks for a key: its words about the last one. */
export const locked = signal<string | null>(null);
/** Set while the server does not answer or is loading: its words. */
export const waiting = signal<string | null>(null);
export const collections = signal<Collection[]>([]);
export const collection = signal<string>(recall("localStorage", "collection") ?? "default");

export const api = connect({ baseUrl: baseUrl(), key: () => key.value, onRefused: lock });

export const may = computed(() => new Set(me.value?.scopes ?? []));
/** Distinguishes what is kept in this browser for several callers. */
export const owner = computed(() =>
  me.value ? `${me.value.tenant}/${me.value.subject || me.value.key_id}` : null,
);

/** Returns where the page comes from: below a prefix, if a proxy adds one. */
function baseUrl(): string {
  return location.origin + location.pathname.replace(/\/[^/]*$/, "");
}

/**
 * Asks the server who calls, until it is there; sets `locked` if it wants a key. Loads the page anew
 * for another user than before, to whom nothing of the first one is shown.
 */
export async function enter(): Promise<void> {
  for (;;) {
    try {
      const { data } = await api.GET("/v1/me");
      if (me.value && data && !isSame(me.value, data)) return location.reload();
      me.value = data ?? null;
      locked.value = waiting.value = null;
      await loadCollections();
      return;
    } catch (error) {
      if (!(error instanceof PlumblineError)) throw error;
      if (error.status === 401) return; // the key is asked for
      if (error.status !== 0 && error.status !== 503) throw error;
      waiting.value = error.message;
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }
}

function isSame(one: Me, other: Me): boolean {
  return one.tenant === other.tenant && one.subject === other.subject;
}

/** Takes a key, and enters with it. */
export async function unlock(given: string): Promise<void> {
  key.value = given;
  keep("sessionStorage", "key", given);
  await enter();
}

/** Forgets the key, and all that was loaded or typed with it. */
export function leave(): void {
  keep("sessionStorage", "key", null);
  location.reload();
}

/** Asks for a key: the server does not accept the present one, or wants one. */
function lock(error: PlumblineError): void {
  locked.value = key.value ? error.message : "";
}

/** Loads the collections that the caller may know of; one of them is chosen. */
export async function loadCollections(): Promise<void> {
  if (!may.value.has("read")) return;
  const { data } = await api.GET("/v1/collections");
  collections.value = data?.collections ?? [];
  const names = collections.value.map((each) => each.name);
  if (names.length && !names.includes(collection.value)) choose(names[0] ?? "default");
}

/** Makes a collection the one that is asked and shown. */
export function choose(name: string): void {
  collection.value = name;
  remember("collection", name);
}
