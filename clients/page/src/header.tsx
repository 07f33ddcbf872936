import { type Language, language, t } from "./i18n";
import { hrefOf, route, type View } from "./route";
import { leave, may, me } from "./session";
import { type Theme, theme } from "./theme";

const VIEWS: readonly View[] = ["ask", "documents", "admin"];
const LANGUAGES: Record<Language, string> = { en: "English", de: "Deutsch" };
const THEMES: readonly Theme[] = ["auto", "light", "dark"];

export function Header() {
  return (
    <header class="top">
      <a class="brand" href={hrefOf("ask")}>
        <span class="plumb" aria-hidden="true" /> Plumbline
      </a>
      {me.value && (
        <nav aria-label="Plumbline">
          {VIEWS.filter(isOffered).map((view) => (
            <a
              key={view}
              href={hrefOf(view)}
              aria-current={route.value.view === view ? "page" : undefined}
            >
              {t.value[view]}
            </a>
          ))}
        </nav>
      )}
      <div class="choices">
        <label>
          <span class="hidden">{t.value.language}</span>
          <select
            value={language.value}
            onChange={(event) => {
              language.value = event.currentTarget.value as Language;
            }}
          >
            {Object.entries(LANGUAGES).map(([code, name]) => (
              <option key={code} value={code} lang={code}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span class="hidden">{t.value.theme}</span>
          <select
            value={theme.value}
            onChange={(event) => {
              theme.value = event.currentTarget.value as Theme;
            }}
          >
            {THEMES.map((each) => (
              <option key={each} value={each}>
                {t.value.themes[each]}
              </option>
            ))}
          </select>
        </label>
        {me.value?.authenticated && (
          <button type="button" onClick={leave}>
            {t.value.signOut}
          </button>
        )}
      </div>
    </header>
  );
}

/** Leaves out the views that the caller may not use at all. */
function isOffered(view: View): boolean {
  if (view === "documents") return may.value.has("read");
  if (view === "admin") return (["admin", "metrics", "read"] as const).some((scope) => may.value.has(scope));
  return true;
}
