import type { Me } from "plumbline-client";
import type { FunctionComponent } from "preact";
import { t } from "../i18n";
import { hrefOf } from "../route";
import { may } from "../session";
import { AnswersPart } from "./AnswersPart";
import { DriftPart } from "./DriftPart";
import { KeysPart } from "./KeysPart";
import { QueuePart } from "./QueuePart";
import { RunsPart } from "./RunsPart";
import { TenantsPart } from "./TenantsPart";
import { UsagePart } from "./UsagePart";

type Part = keyof typeof t.value.administration.parts;

/** Each part with the scope that its endpoint needs. */
const PARTS: readonly [Part, Me["scopes"][number], FunctionComponent][] = [
  ["usage", "read", UsagePart],
  ["answers", "admin", AnswersPart],
  ["runs", "admin", RunsPart],
  ["drift", "admin", DriftPart],
  ["keys", "admin", KeysPart],
  ["queue", "metrics", QueuePart],
  ["tenants", "metrics", TenantsPart],
];

/** Figures and keys, as far as the caller's scopes go. */
export function AdminView({ part }: { part: string }) {
  const offered = PARTS.filter(([, scope]) => may.value.has(scope));
  const chosen = offered.find(([name]) => name === part) ?? offered[0];
  if (!chosen) return <p class="notice">{t.value.notAllowed("admin")}</p>;
  const [name, , Chosen] = chosen;
  return (
    <div class="page">
      <h1>{t.value.admin}</h1>
      <nav class="tabs" aria-label={t.value.admin}>
        {offered.map(([each]) => (
          <a key={each} href={hrefOf("admin", each)} aria-current={each === name ? "page" : undefined}>
            {t.value.administration.parts[each]}
          </a>
        ))}
      </nav>
      <section>
        <h2>{t.value.administration.parts[name]}</h2>
        <Chosen />
      </section>
    </div>
  );
}
