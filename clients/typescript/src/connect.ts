import createClient, { type Client } from "openapi-fetch";
import { errorOfResponse, isAbort, unreachable } from "./problem";
import type { paths } from "./schema";

export interface Connection {
  /** Where the server is, such as `http://127.0.0.1:8000`; empty: where the page comes from. */
  baseUrl: string;
  /** Returns the API key; null if the server asks for none. It is called before each request. */
  key: () => string | null;
}

export interface Api extends Client<paths> {
  /** Sends a request with the key. Throws a PlumblineError unless it succeeds. */
  send(path: string, init?: RequestInit): Promise<Response>;
  connection: Connection;
}

/**
 * Returns a client whose `GET`, `POST`, `PUT` and `DELETE` take the paths of the OpenAPI document.
 * They throw a PlumblineError unless the request succeeds, so their `data` is always there.
 */
export function connect(connection: Connection): Api {
  const send = async (path: string, init: RequestInit = {}): Promise<Response> =>
    await fetched(new Request(`${connection.baseUrl}${path}`, init), connection);
  const client = createClient<paths>({
    baseUrl: connection.baseUrl,
    fetch: (request) => fetched(request, connection),
  });
  return Object.assign(client, { send, connection });
}

async function fetched(request: Request, connection: Connection): Promise<Response> {
  const key = connection.key();
  if (key) request.headers.set("Authorization", `Bearer ${key}`);
  let response: Response;
  try {
    response = await fetch(request);
  } catch (error) {
    throw isAbort(error) ? error : unreachable(error);
  }
  if (!response.ok) throw await errorOfResponse(response);
  return response;
}
