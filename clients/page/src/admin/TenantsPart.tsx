import { useState } from "preact/hooks";
import { number, t } from "../i18n";
import { api } from "../session";
import { Pager } from "../ui/Pager";
import { plain } from "../ui/plain";
import { Table } from "../ui/Table";
import { useLoad } from "../ui/useLoad";
import { Loading } from "./Loading";

/** Each tenant with the numbers of what it has. */
export function TenantsPart() {
  const words = t.value.tenants;
  const [cursors, setCursors] = useState<string[]>([]);
  const cursor = cursors.at(-1);
  const found = useLoad(
    async (signal) => {
      const query = { limit: 100, ...(cursor ? { cursor } : {}) };
      return (await api.GET("/v1/tenants", { params: { query }, signal })).data ?? null;
    },
    [cursor],
  );
  return (
    <Loading of={found}>
      {(page) =>
        page && (
          <>
            <Table
              caption={t.value.administration.parts.tenants}
              head={[words.name, words.collections, words.documents, words.chunks, words.answers, words.keys]}
              rows={page.tenants.map((each) => [
                plain(each.name),
                number(each.collections),
                number(each.documents),
                number(each.chunks),
                number(each.answers),
                number(each.keys),
              ])}
              numbers={[1, 2, 3, 4, 5]}
            />
            <Pager cursors={cursors} next={page.next_cursor} onMove={setCursors} />
          </>
        )
      }
    </Loading>
  );
}
