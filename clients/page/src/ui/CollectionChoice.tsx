import { t } from "../i18n";
import { choose, collection, collections } from "../session";
import { plain } from "./plain";

/** The collection that is asked and shown. A caller who may list none types its name. */
export function CollectionChoice() {
  const names = collections.value.map((each) => each.name);
  return (
    <label class="inline">
      {t.value.collection}
      {names.length > 0 ? (
        <select value={collection.value} onChange={(event) => choose(event.currentTarget.value)}>
          {names.map((name) => (
            <option key={name} value={name}>
              {plain(name)}
            </option>
          ))}
        </select>
      ) : (
        <input value={collection.value} onChange={(event) => choose(event.currentTarget.value)} />
      )}
    </label>
  );
}
