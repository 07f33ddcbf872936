import type { ComponentChildren } from "preact";
import { useErrorBoundary } from "preact/hooks";
import { Fault } from "./Fault";

/** Shows what failed in place of a part that cannot be drawn; the rest of the page goes on. */
export function Guard({ children }: { children: ComponentChildren }) {
  const [broken, mend] = useErrorBoundary();
  return broken ? <Fault error={broken} onRetry={mend} /> : <>{children}</>;
}
