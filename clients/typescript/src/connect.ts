import createClient, { type Client } from "openapi-fetch";
import { errorOfResponse, isAbort, PlumblineError, unreachable } from "./problem";
import type { paths } from "./schema";

export interface Connection {
  /** The server's URL, such as `http://127.0.0.1:8000`; empty: that of the page. */
  baseUrl: string;
  /** Returns the API key; null if the server asks for none. It is called before each request. */
  key: () => string | null;
  /** Called with each error that says that the key is not accepted, or that one is missing. */
  onRefused?: (error: PlumblineError) => void;
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
  if (key) authorize(request.headers, key, connection);
  let response: Response;
  try {
    response = await fetch(request);
  } catch (error) {
    throw isAbort(error) ? error : unreachable(error);
  }
  if (!response.ok) throw told(await errorOfResponse(response), connection);
  return response;
}

/** Returns the error, after the connection was told of it if it refuses the key. */
export function told(error: PlumblineError, connection: Connection): PlumblineError {
  if (error.status === 401) connection.onRefused?.(error);
  return error;
}

/** Adds the key. One that no header can hold is refused here as the server refuses others. */
function authorize(headers: Headers, key: string, connection: Connection): void {
  try {
    headers.set("Authorization", `Bearer ${key}`);
  } catch (error) {
    const refusal = new PlumblineError("The key has characters that no key has.", "unauthenticated", 401);
    refusal.cause = error;
    throw told(refusal, connection);
  }
}
