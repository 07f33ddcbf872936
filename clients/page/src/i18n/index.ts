import { computed, effect, signal } from "@preact/signals";
import { remember, remembered } from "../remembered";
import { de } from "./de";
import { en, type Words } from "./en";

export type Language = "en" | "de";

const LANGUAGES: readonly Language[] = ["en", "de"];
const WORDS: Record<Language, Words> = { en, de };

export const language = signal<Language>(
  remembered("language", LANGUAGES, navigator.language.startsWith("de") ? "de" : "en"),
);

/** The words of the page in the chosen language. */
export const t = computed(() => WORDS[language.value]);

effect(() => {
  document.documentElement.lang = language.value;
  remember("language", language.value);
});

/** Returns a number as the language writes it. */
export function number(value: number, digits = 0): string {
  return value.toLocaleString(language.value, { maximumFractionDigits: digits });
}

/** Returns a share of 0 to 1 as a percentage. */
export function percent(share: number): string {
  return share.toLocaleString(language.value, { style: "percent", maximumFractionDigits: 0 });
}

/** Returns a moment, given in ISO 8601, as date and time of the reader. */
export function moment(iso: string): string {
  return new Date(iso).toLocaleString(language.value, { dateStyle: "medium", timeStyle: "short" });
}

/** Returns a duration as `12 s`, `3 min` or `2 h`. */
export function duration(seconds: number): string {
  const [value, unit] =
    seconds < 90
      ? [Math.ceil(seconds), "second"]
      : seconds < 5400
        ? [Math.round(seconds / 60), "minute"]
        : [Math.round(seconds / 3600), "hour"];
  return value.toLocaleString(language.value, { style: "unit", unit, unitDisplay: "short" });
}
