import { useState } from "preact/hooks";
import { t } from "./i18n";
import { unlock } from "./session";
import { Dialog } from "./ui/Dialog";
import { Fault } from "./ui/Fault";
import { plain } from "./ui/plain";

/** Asks for an API key. The page behind it stays as it is, with all that was typed. */
export function KeyDialog({ refusal }: { refusal: string }) {
  const [given, setGiven] = useState("");
  const [fault, setFault] = useState<unknown>(null);
  const submit = (event: Event) => {
    event.preventDefault();
    setFault(null);
    unlock(given.trim()).catch(setFault);
  };
  return (
    <Dialog title={t.value.key.title}>
      <form onSubmit={submit}>
        {refusal && (
          <p class="fault" role="alert">
            {plain(refusal)}
          </p>
        )}
        {fault !== null && <Fault error={fault} />}
        <label>
          {t.value.key.label}
          <input
            type="password"
            autocomplete="off"
            spellcheck={false}
            required
            value={given}
            onInput={(event) => setGiven(event.currentTarget.value)}
          />
        </label>
        <p class="faint">{t.value.key.help}</p>
        <div class="row end">
          <button type="submit" class="primary">
            {t.value.key.enter}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
