import type { components } from "./schema";

type Schemas = components["schemas"];

export type Accepted = Schemas["Accepted"];
export type Answer = Schemas["QueryResponse"];
export type Chunk = Schemas["ChunkOut"];
export type Citation = Schemas["CitationOut"];
export type Collection = Schemas["CollectionOut"];
export type Document = Schemas["DocumentOut"];
/** The rules of the document on how fields go together are kept by the server alone. */
export type Filter = Extract<Schemas["Filter"], { field: string }>;
export type Hit = Schemas["HitOut"];
export type Job = Schemas["JobOut"];
export type Key = Schemas["KeyOut"];
export type NewKey = Schemas["NewKeyOut"];
/** A question, or a conversation that ends with one. */
export type Question = Partial<Omit<Extract<Schemas["QueryRequest"], { collection: string }>, "stream">>;
export type Problem = Schemas["Problem"];
export type UsageReport = Schemas["UsageReport"];
