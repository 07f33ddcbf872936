type Kind = "localStorage" | "sessionStorage";

/** Returns a choice of an earlier visit, if it is one of the `choices`. */
export function remembered<T extends string>(name: string, choices: readonly T[], otherwise: T): T {
  const found = recall("localStorage", name);
  return choices.find((choice) => choice === found) ?? otherwise;
}

/** Keeps a choice for the next visit. */
export function remember(name: string, value: string): void {
  keep("localStorage", name, value);
}

/** Returns what is kept under a name; null where nothing is, or the browser denies storage. */
export function recall(kind: Kind, name: string): string | null {
  return attempt(() => window[kind].getItem(`plumbline.${name}`));
}

/** Keeps a value; null removes it. Where storage is denied or full, it holds until a reload. */
export function keep(kind: Kind, name: string, value: string | null): void {
  const full = `plumbline.${name}`;
  attempt(() =>
    value === null ? window[kind].removeItem(full) : window[kind].setItem(full, value),
  );
}

/** Uses storage; returns null if the browser refuses: the page works without. */
function attempt<T>(use: () => T): T | null {
  try {
    return use();
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}
