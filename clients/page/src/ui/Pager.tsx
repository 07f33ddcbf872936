import { t } from "../i18n";

interface PagerProps {
  /** The cursors that led to the present page; none: the first one. */
  cursors: string[];
  next: string | null;
  onMove: (cursors: string[]) => void;
}

/** Goes through a list, page by page. */
export function Pager({ cursors, next, onMove }: PagerProps) {
  return (
    <div class="row end">
      <button
        type="button"
        disabled={cursors.length === 0}
        onClick={() => onMove(cursors.slice(0, -1))}
      >
        {t.value.previous}
      </button>
      <button
        type="button"
        disabled={next === null}
        onClick={() => next !== null && onMove([...cursors, next])}
      >
        {t.value.next}
      </button>
    </div>
  );
}
