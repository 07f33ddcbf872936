import { signal } from "@preact/signals";

export type View = "ask" | "documents" | "admin";

/** A place in the page: `#/admin/keys` is the view `admin` with the part `keys`. */
export interface Route {
  view: View;
  part: string;
}

const VIEWS: readonly View[] = ["ask", "documents", "admin"];
export const route = signal<Route>(parse(location.hash));

addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

function parse(hash: string): Route {
  const [view = "", part = ""] = hash.replace(/^#\/?/, "").split("/");
  return { view: VIEWS.find((each) => each === view) ?? "ask", part };
}

/** Returns the address of a place in the page. */
export function hrefOf(view: View, part = ""): string {
  return part ? `#/${view}/${part}` : `#/${view}`;
}
