import { computed, signal } from "@preact/signals";
import { type Collection, connect, type Me, PlumblineError } from "plumbline-client";
import { remember } from "./remembered";

const KEY = "plumbline.key";
const COLLECTION = "plumbline.collection";
/** Milliseconds between two attempts to reach a server that is starting. */
const AGAIN = 1000;

/** The API key, kept until the tab is closed. */
const key = signal<string | null>(sessionStorage.getItem(KEY));
export const me = signal<Me | null>(null);
/** Set if the server asks for a key: its words about the last one. */
export const locked = signal<string | null>(null);
/** Set while the server does not answer or is loading: its words. */
export const waiting = signal<string | null>(null);
export const collections = signal<Collection[]>([]);
export const collection = signal<string>(localStorage.getItem(COLLECTION) ?? "default");

export const api = connect({ baseUrl: baseUrl(), key: () => key.value });

export const may = computed(() => new Set(me.value?.scopes ?? []));
/** Distinguishes what is kept in this browser for several callers. */
export const owner = computed(() =>
  me.value ? `${me.value.tenant}/${me.value.subject || me.value.key_id}` : null,
);

/** Returns where the page comes from: below a prefix, if a proxy adds one. */
function baseUrl(): string {
  return location.origin + location.pathname.replace(/\/[^/]*$/, "");
}

/** Asks the server who calls, until it is there; sets `locked` if it wants a key. */
export async function enter(): Promise<void> {
  for (;;) {
    try {
      const { data } = await api.GET("/v1/me");
      me.value = data ?? null;
      locked.value = waiting.value = null;
      await loadCollections();
      return;
    } catch (error) {
      if (!(error instanceof PlumblineError)) throw error;
      if (error.status === 401) return lock(error);
      if (error.status !== 0 && error.status !== 503) throw error;
      waiting.value = error.message;
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }
}

/** Takes a key, and enters with it. */
export async function unlock(given: string): Promise<void> {
  key.value = given;
  sessionStorage.setItem(KEY, given);
  await enter();
}

/** Forgets the key and what was loaded with it. */
export function leave(): void {
  sessionStorage.removeItem(KEY);
  key.value = me.value = null;
  collections.value = [];
  locked.value = "";
}

/** Asks for a key if an error says that the present one is not accepted. */
export function lockIfRefused(error: unknown): void {
  if (error instanceof PlumblineError && error.status === 401) lock(error);
}

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
