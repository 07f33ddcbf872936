import type { Filter } from "plumbline-client";
import { useState } from "preact/hooks";
import { t } from "../i18n";

type Operator = Filter["op"];
const OPERATORS: readonly Operator[] = ["eq", "in", "gt", "gte", "lt", "lte"];

interface FiltersProps {
  filters: Filter[];
  onChange: (filters: Filter[]) => void;
}

/** Conditions on the documents that a question is answered from. */
export function Filters({ filters, onChange }: FiltersProps) {
  const [field, setField] = useState("");
  const [op, setOp] = useState<Operator>("eq");
  const [value, setValue] = useState("");
  const add = () => {
    onChange([...filters, { field: field.trim(), op, value: valueOf(value, op) }]);
    setField("");
    setValue("");
  };
  return (
    <details class="filters">
      <summary>
        {filters.length > 0 ? t.value.filters.active(filters.length) : t.value.filters.title}
      </summary>
      <ul class="bare">
        {filters.map((each, place) => (
          <li key={place} class="row">
            <code>
              {each.field} {t.value.filters.operators[each.op]} {JSON.stringify(each.value)}
            </code>
            <button
              type="button"
              class="quiet"
              aria-label={t.value.filters.remove}
              onClick={() => onChange(filters.filter((_, other) => other !== place))}
            >
              ✕
            </button>
          </li>
        ))}
      </ul>
      <div class="row wrap">
        <input
          aria-label={t.value.filters.field}
          placeholder={t.value.filters.field}
          value={field}
          onInput={(event) => setField(event.currentTarget.value)}
        />
        <select
          aria-label={t.value.filters.operator}
          value={op}
          onChange={(event) => setOp(event.currentTarget.value as Operator)}
        >
          {OPERATORS.map((each) => (
            <option key={each} value={each}>
              {t.value.filters.operators[each]}
            </option>
          ))}
        </select>
        <input
          aria-label={t.value.filters.value}
          placeholder={t.value.filters.value}
          value={value}
          onInput={(event) => setValue(event.currentTarget.value)}
        />
        <button type="button" disabled={!field.trim() || !value.trim()} onClick={add}>
          {t.value.filters.add}
        </button>
      </div>
      <p class="faint">{t.value.filters.help}</p>
    </details>
  );
}

/** Returns the value as the server takes it: numbers and truth values are not sent as words. */
function valueOf(text: string, op: Operator): Filter["value"] {
  if (op === "in") return text.split(",").map((part) => scalarOf(part.trim()));
  return scalarOf(text.trim());
}

function scalarOf(text: string): string | number | boolean {
  if (text === "true" || text === "false") return text === "true";
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}
