import { PlumblineError } from "plumbline-client";
import { t } from "../i18n";
import { plain } from "./plain";

interface FaultProps {
  error: unknown;
  onRetry?: (() => void) | undefined;
}

/** Says what failed, in the server's words, and offers to try again. */
export function Fault({ error, onRetry }: FaultProps) {
  const requestId = error instanceof PlumblineError ? error.requestId : null;
  return (
    <div class="fault" role="alert">
      <p>
        <strong>{t.value.failed}.</strong> {plain(messageOf(error))}
      </p>
      {requestId && <p class="faint">{t.value.requestId(requestId)}</p>}
      {onRetry && (
        <button type="button" onClick={onRetry}>
          {t.value.retry}
        </button>
      )}
    </div>
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
