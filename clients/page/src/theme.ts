import { effect, signal } from "@preact/signals";
import { remember, remembered } from "./remembered";

export type Theme = "auto" | "light" | "dark";

const CHOICES: readonly Theme[] = ["auto", "light", "dark"];
export const theme = signal<Theme>(remembered("theme", CHOICES, "auto"));

/** Keeps the colours of the page as chosen; `auto` follows the system. */
export function applyTheme(): void {
  effect(() => {
    document.documentElement.dataset.theme = theme.value;
    remember("theme", theme.value);
  });
}
