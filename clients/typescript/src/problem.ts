import type { Problem } from "./models";

/** A request that failed. `code` is stable, `message` is for people. */
export class PlumblineError extends Error {
  override readonly name = "PlumblineError";

  constructor(
    message: string,
    readonly code: string,
    /** The HTTP status; 0 if no response came. */
    readonly status: number,
    readonly requestId: string | null = null,
    /** Seconds after which to come again. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

/** Returns the error that an event of a stream reports. */
export function errorOf(problem: Problem): PlumblineError {
  return new PlumblineError(problem.detail, problem.code, problem.status, problem.request_id);
}

/** Returns the error of a response that is no success, whatever answered. */
export async function errorOfResponse(response: Response): Promise<PlumblineError> {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  const retryAfter = Number.isNaN(seconds) ? null : seconds;
  try {
    const problem = (await response.json()) as Problem;
    if (typeof problem.detail === "string" && typeof problem.code === "string") {
      return new PlumblineError(
        problem.detail,
        problem.code,
        response.status,
        problem.request_id,
        retryAfter,
      );
    }
  } catch {
    // Not JSON: a proxy answered, and the message below says so.
  }
  return new PlumblineError(
    `The server answered ${response.status}, and not as Plumbline does.`,
    "unexpected_answer",
    response.status,
    response.headers.get("x-request-id"),
    retryAfter,
  );
}

/** Returns the error of a request that no response came to. */
export function unreachable(cause: unknown): PlumblineError {
  const error = new PlumblineError("The server does not answer.", "unreachable", 0);
  error.cause = cause;
  return error;
}

/** Returns the error of a response that is none of Plumbline's. */
export function unexpected(cause: unknown): PlumblineError {
  const message = "The server answered, and not as Plumbline does.";
  const error = new PlumblineError(message, "unexpected_answer", 0);
  error.cause = cause;
  return error;
}

/** Returns true if the request was cancelled by its caller. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
