import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n";

interface DialogProps {
  title: ComponentChildren;
  children: ComponentChildren;
  /** Called by Escape and by the close button; without it the dialog stays until it is removed. */
  onClose?: () => void;
  /** A panel at the side instead of a window in the middle. */
  side?: boolean;
}

/** A modal dialog: the browser keeps the focus in it, and gives it back. */
export function Dialog({ title, children, onClose, side = false }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  // Before the element is removed: closing it gives the focus back.
  useLayoutEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  const cancel = (event: Event) => {
    event.preventDefault();
    onClose?.();
  };
  return (
    <dialog
      ref={dialog}
      class={side ? "side" : "window"}
      aria-labelledby={titleId}
      onCancel={cancel}
      onClick={(event) => event.target === dialog.current && onClose?.()}
    >
      <div class="dialog-body">
        <header class="row">
          <h2 id={titleId}>{title}</h2>
          {onClose && (
            <button type="button" class="quiet" onClick={onClose} aria-label={t.value.close}>
              ✕
            </button>
          )}
        </header>
        {children}
      </div>
    </dialog>
  );
}

interface ConfirmProps {
  question: string;
  action: string;
  onConfirm: () => void;
  onClose: () => void;
}

/** Asks before something is lost. */
export function Confirm({ question, action, onConfirm, onClose }: ConfirmProps) {
  return (
    <Dialog title={action} onClose={onClose}>
      <p>{question}</p>
      <div class="row end">
        <button type="button" onClick={onClose}>
          {t.value.cancel}
        </button>
        <button
          type="button"
          class="danger"
          onClick={() => {
            onClose();
            onConfirm();
          }}
        >
          {action}
        </button>
      </div>
    </Dialog>
  );
}
