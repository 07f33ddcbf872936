/** A client of Plumbline's REST API. */
export { connect, type Api } from "./connect";
export { ask, type AskEvent } from "./ask";
export { upload, waitForJob, type Upload } from "./ingest";
export { isAbort, PlumblineError } from "./problem";
export type { components, paths } from "./schema";
export * from "./models";
