/** The most files, and bytes, of one request: half of what a server takes by default. */
const MOST_FILES = 500;
const MOST_BYTES = 128 * 1024 * 1024;

/** Files in portions for one request each, and the names of those that no request may have. */
export interface Portions {
  portions: File[][];
  empty: string[];
  /** Names that an earlier file has, too: a server could not tell the two apart. */
  doubled: string[];
}

/** Divides files into portions, in their order. A file that is too large by itself has its own. */
export function portionsOf(files: readonly File[]): Portions {
  const found: Portions = { portions: [], empty: [], doubled: [] };
  const seen = new Set<string>();
  let bytes = 0;
  for (const file of files) {
    const name = file.webkitRelativePath || file.name;
    if (file.size === 0) found.empty.push(name);
    else if (seen.has(name)) found.doubled.push(name);
    else {
      const last = found.portions.at(-1);
      if (last && last.length < MOST_FILES && bytes + file.size <= MOST_BYTES) {
        last.push(file);
        bytes += file.size;
      } else {
        found.portions.push([file]);
        bytes = file.size;
      }
    }
    seen.add(name);
  }
  return found;
}
