import type { NewKey } from "plumbline-client";
import { useState } from "preact/hooks";
import { t } from "../i18n";
import { api, may } from "../session";
import { Fault } from "../ui/Fault";

const SCOPES = ["ask", "read", "write", "admin", "metrics"] as const;
type Scope = (typeof SCOPES)[number];
const DAY_SECONDS = 24 * 3600;

/** The form for a new key; a caller can give away the own scopes only. */
export function KeyForm({ onMade }: { onMade: (key: NewKey) => void }) {
  const words = t.value.keys;
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<Scope[]>(["ask"]);
  const [collections, setCollections] = useState("");
  const [days, setDays] = useState("");
  const [fault, setFault] = useState<unknown>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    setFault(null);
    const named = collections.split(",").map((each) => each.trim()).filter(Boolean);
    try {
      const { data } = await api.POST("/v1/keys", {
        body: {
          name,
          scopes,
          groups: [],
          ...(named.length > 0 ? { collections: named } : {}),
          ...(days ? { expires_in: Number(days) * DAY_SECONDS } : {}),
        },
      });
      if (data) onMade(data);
    } catch (error) {
      setFault(error);
    }
  };
  const toggle = (scope: Scope) =>
    setScopes(scopes.includes(scope) ? scopes.filter((each) => each !== scope) : [...scopes, scope]);
  return (
    <form onSubmit={submit}>
      <label>
        {words.name}
        <input required maxLength={200} value={name} onInput={(e) => setName(e.currentTarget.value)} />
      </label>
      <fieldset>
        <legend>{words.scopes}</legend>
        {SCOPES.filter((scope) => may.value.has(scope)).map((scope) => (
          <label key={scope} class="inline">
            <input type="checkbox" checked={scopes.includes(scope)} onChange={() => toggle(scope)} />
            <code>{scope}</code> <span class="faint">{words.scopeHelp[scope]}</span>
          </label>
        ))}
      </fieldset>
      <label>
        {words.collections}
        <input value={collections} onInput={(e) => setCollections(e.currentTarget.value)} />
      </label>
      <label>
        {words.expires}
        <input type="number" min={1} max={3660} value={days} onInput={(e) => setDays(e.currentTarget.value)} />
      </label>
      {fault !== null && <Fault error={fault} />}
      <div class="row end">
        <button type="submit" class="primary" disabled={scopes.length === 0}>
          {words.make}
        </button>
      </div>
    </form>
  );
}
