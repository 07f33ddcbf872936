import type { Key, NewKey } from "plumbline-client";
import { useState } from "preact/hooks";
import { moment, t } from "../i18n";
import { api, me } from "../session";
import { Confirm, Dialog } from "../ui/Dialog";
import { Fault } from "../ui/Fault";
import { plain } from "../ui/plain";
import { Table } from "../ui/Table";
import { useLoad } from "../ui/useLoad";
import { KeyForm } from "./KeyForm";
import { Loading, Nothing } from "./Loading";

/** The keys of the tenant: made, rotated and revoked here. */
export function KeysPart() {
  const words = t.value.keys;
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<NewKey | null>(null);
  const [doomed, setDoomed] = useState<Key | null>(null);
  const [fault, setFault] = useState<unknown>(null);
  const list = useLoad(async (signal) => (await api.GET("/v1/keys", { signal })).data?.keys ?? [], []);
  const act = async (work: () => Promise<NewKey | null>) => {
    setFault(null);
    try {
      setMade(await work());
      list.reload();
    } catch (error) {
      setFault(error);
    }
  };
  const rotate = (key: Key) =>
    act(async () => {
      const params = { path: { key_id: key.id } };
      return (await api.POST("/v1/keys/{key_id}/rotate", { params })).data ?? null;
    });
  const revoke = (key: Key) =>
    act(async () => {
      await api.DELETE("/v1/keys/{key_id}", { params: { path: { key_id: key.id } } });
      return null;
    });
  return (
    <>
      {!me.value?.authenticated && <p class="notice">{words.off}</p>}
      <button type="button" class="primary" onClick={() => setMaking(true)}>
        {words.create}
      </button>
      {fault !== null && <Fault error={fault} />}
      <Loading of={list}>
        {(keys) =>
          keys.length === 0 ? (
            <Nothing />
          ) : (
            <Table
              caption={t.value.administration.parts.keys}
              head={[words.name, words.scopes, words.lastUsed, words.validUntil, t.value.docs.actions]}
              rows={keys.map((key) => rowOf(key, rotate, setDoomed))}
            />
          )
        }
      </Loading>
      {making && (
        <Dialog title={words.create} onClose={() => setMaking(false)}>
          <KeyForm
            onMade={(key) => {
              setMaking(false);
              setMade(key);
              list.reload();
            }}
          />
        </Dialog>
      )}
      {made && <Once made={made} onClose={() => setMade(null)} />}
      {doomed && (
        <Confirm
          question={words.revokeQuestion(plain(doomed.name))}
          action={words.revoke}
          onConfirm={() => void revoke(doomed)}
          onClose={() => setDoomed(null)}
        />
      )}
    </>
  );
}

function rowOf(key: Key, onRotate: (key: Key) => void, onRevoke: (key: Key) => void) {
  const words = t.value.keys;
  return [
    <div class="stacked" key={key.id}>
      <bdi>{plain(key.name)}</bdi>
      <span class="faint">
        {key.id} {key.subject && <bdi>{plain(key.subject)}</bdi>}
      </span>
    </div>,
    [...key.scopes, ...(key.collections ?? []).map((name) => `→ ${name}`)].join(", "),
    key.last_used_at ? moment(key.last_used_at) : words.never,
    key.revoked_at
      ? words.revoked(moment(key.revoked_at))
      : key.expires_at
        ? moment(key.expires_at)
        : words.endless,
    key.revoked_at === null && (
      <div class="row">
        <button type="button" class="quiet" onClick={() => onRotate(key)}>
          {words.rotate}
        </button>
        <button type="button" class="quiet" onClick={() => onRevoke(key)}>
          {words.revoke}
        </button>
      </div>
    ),
  ];
}

/** Shows a new key, which no later request returns. */
function Once({ made, onClose }: { made: NewKey; onClose: () => void }) {
  const [copied, setCopied] = useState(false);
  return (
    <Dialog title={plain(made.name)} onClose={onClose}>
      <p>{t.value.keys.once}</p>
      <p>
        <code class="secret">{made.key}</code>
      </p>
      <button
        type="button"
        onClick={() => void navigator.clipboard.writeText(made.key).then(() => setCopied(true))}
      >
        {copied ? t.value.copied : t.value.copy}
      </button>
    </Dialog>
  );
}
