import type { components } from "./schema";

type Schemas = components["schemas"];

export type Accepted = Schemas["Accepted"];
export type Answer = Schemas["QueryResponse"];
export type Chunk = Schemas["ChunkOut"];
export type Citation = Schemas["CitationOut"];
export type Collection = Schemas["CollectionOut"];
export type Comparison = Schemas["ComparisonOut"];
export type Document = Schemas["DocumentOut"];
export type Drift = Schemas["DriftOut"];
/** The rules of the document on how fields go together are kept by the server alone. */
export type Filter = Extract<Schemas["Filter"], { field: string }>;
export type Hit = Schemas["HitOut"];
export type Job = Schemas["JobOut"];
export type Key = Schemas["KeyOut"];
export type Me = Schemas["Me"];
export type NewKey = Schemas["NewKeyOut"];
export type Problem = Schemas["Problem"];
/** A question, or a conversation that ends with one. */
export type Question = Partial<
  Omit<Extract<Schemas["QueryRequest"], { collection: string }>, "stream">
>;
export type Run = Schemas["RunOut"];
export type StoredAnswer = Schemas["AnswerOut"];
export type UsageReport = Schemas["UsageReport"];
