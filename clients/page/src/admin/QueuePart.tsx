import { useEffect } from "preact/hooks";
import { duration, number, t } from "../i18n";
import { api } from "../session";
import { Table } from "../ui/Table";
import { useLoad } from "../ui/useLoad";
import { Loading } from "./Loading";

/** Milliseconds between two looks at the queue. */
const AGAIN = 5000;

/** Documents of all tenants that wait or are under way. */
export function QueuePart() {
  const words = t.value.queue;
  const found = useLoad(async (signal) => (await api.GET("/v1/queue", { signal })).data ?? null, []);
  useEffect(() => {
    const timer = setTimeout(found.reload, AGAIN);
    return () => clearTimeout(timer);
  }, [found.data]);
  return (
    <Loading of={found}>
      {(queue) =>
        queue && (
          <>
            <Table
              caption={t.value.administration.parts.queue}
              head={[words.stage, words.pending, words.running]}
              rows={Object.entries(queue.backlog).map(([stage, { pending, running }]) => [
                stage,
                number(pending),
                number(running),
              ])}
              numbers={[1, 2]}
            />
            <dl class="facts">
              <dt>{words.oldest}</dt>
              <dd>{queue.oldest_seconds === null ? "–" : duration(queue.oldest_seconds)}</dd>
              <dt>{words.dead}</dt>
              <dd>{number(queue.dead_letters)}</dd>
              <dt>{words.toScore}</dt>
              <dd>{number(queue.to_score)}</dd>
              <dt>{words.workers}</dt>
              <dd>
                {queue.workers.kind}
                {queue.workers.concurrency !== null && ` × ${number(queue.workers.concurrency)}`}
              </dd>
            </dl>
          </>
        )
      }
    </Loading>
  );
}
