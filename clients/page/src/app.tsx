import { useEffect, useState } from "preact/hooks";
import { AdminView } from "./admin/AdminView";
import { AskView } from "./ask/AskView";
import { DocumentsView } from "./documents/DocumentsView";
import { Header } from "./header";
import { t } from "./i18n";
import { KeyDialog } from "./key";
import { route } from "./route";
import { enter, locked, me, waiting } from "./session";
import { closeSource, opened } from "./source/opened";
import { SourcePanel } from "./source/SourcePanel";
import { Fault } from "./ui/Fault";
import { Guard } from "./ui/Guard";
import { plain } from "./ui/plain";

export function App() {
  const [fault, setFault] = useState<unknown>(null);
  const start = () => {
    setFault(null);
    enter().catch(setFault);
  };
  useEffect(start, []);
  return (
    <>
      <a class="skip" href="#content" onClick={toContent}>
        {t.value.skip}
      </a>
      <Header />
      <main id="content" tabIndex={-1}>
        {fault !== null && <Fault error={fault} onRetry={start} />}
        {waiting.value !== null && <Waiting words={waiting.value} />}
        {me.value && (
          <Guard>
            <Chosen />
          </Guard>
        )}
      </main>
      {opened.value && <SourcePanel place={opened.value} onClose={closeSource} />}
      {locked.value !== null && <KeyDialog refusal={locked.value} />}
    </>
  );
}

function Chosen() {
  const { view, part } = route.value;
  if (view === "documents") return <DocumentsView />;
  if (view === "admin") return <AdminView part={part} />;
  return <AskView />;
}

function Waiting({ words }: { words: string }) {
  return (
    <p class="notice" role="status">
      {t.value.waiting} <span class="faint">{plain(words)}</span>
    </p>
  );
}

/** Moves the focus; the address keeps the place in the page. */
function toContent(event: Event): void {
  event.preventDefault();
  document.getElementById("content")?.focus();
}
