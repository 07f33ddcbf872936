/** Returns a choice of an earlier visit, if it is one of the `choices`. */
export function remembered<T extends string>(name: string, choices: readonly T[], otherwise: T): T {
  const found = storage()?.getItem(`plumbline.${name}`);
  return choices.find((choice) => choice === found) ?? otherwise;
}

/** Keeps a choice for the next visit. */
export function remember(name: string, value: string): void {
  storage()?.setItem(`plumbline.${name}`, value);
}

/** Returns null where the browser denies storage. */
function storage(): Storage | null {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
