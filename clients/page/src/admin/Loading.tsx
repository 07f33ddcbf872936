import type { ComponentChildren } from "preact";
import { t } from "../i18n";
import { Fault } from "../ui/Fault";
import type { Loaded } from "../ui/useLoad";

interface LoadingProps<T> {
  of: Loaded<T>;
  children: (data: T) => ComponentChildren;
}

/** Draws what was loaded; until then, or if it fails, says so. */
export function Loading<T>({ of, children }: LoadingProps<T>) {
  if (of.error !== null) return <Fault error={of.error} onRetry={of.reload} />;
  if (of.data === null) return <p role="status">{t.value.loading}</p>;
  return <>{children(of.data)}</>;
}

/** Stands where a list is empty. */
export function Nothing() {
  return <p class="empty">{t.value.administration.nothing}</p>;
}
