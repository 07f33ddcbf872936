"""Memory and disk of the index, on the embedded engine and on a Qdrant server."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rag.settings.ingest import ChunkerSettings
from rag.settings.storage import EdgeSettings, QdrantSettings

FILL = 0.69
"""Share of `chunker.max_tokens` that a chunk has: 77 of 112 tokens over examples/peps."""
CHARS, TERMS = 3.7, 0.26
"""Bytes of text, and different terms of BM25, for each token: the same chunks."""
PAYLOAD = 600
"""Bytes of a chunk's payload beside its text: ids, title, URI, readers, fields. It was 200 for
generated chunks and 925 for examples/peps, whose documents have many fields."""
SPARSE, STORED_TERM, POSTING = 128, 6.5, 6.5
"""Bytes of a chunk's sparse vector, and of each of its terms there and in the inverted index."""
VOCABULARY = 37
"""Bytes of a different term of the whole index: 24 in the inverted index, 13 in a list."""
HEAPS = (44, 0.49)
"""Different terms of a collection: 44 · tokens^0.49, Heaps' law for Reuters (Manning, Raghavan,
Schütze 2008, Introduction to Information Retrieval, section 5.1.1)."""
FIELDS = 210
"""Bytes of a chunk in the indexes of its own fields, trackers and ids."""
LINKS = 32
"""Links of a node in the lowest layer of the graph, 2 · m, of log2(chunks) bits each."""
OWN = 68
"""Bytes of a chunk that the process keeps beside the quantized vector."""
EDGE_BYTES = 42 << 20
"""Of the process, for an index of any size."""
LOG_BYTES = 48 << 20
"""Of the write-ahead log: it is between 24 and 64 MiB."""
TOKEN_VECTORS = 20 << 10
"""Bytes of a chunk with `reranker.stored`."""
QDRANT_FACTOR = 1.5
"""Factor for what Qdrant adds to vectors and to payload for its indexes, versions and optimization:
https://qdrant.tech/documentation/guides/capacity-planning/."""
GRAPH_SECONDS = 49.0 / (100_000 * math.log(100_000))
"""Of the graph for a chunk and the logarithm of their number: 49 s for 100,000, 621 s for a million
on one core (docs/benchmarks.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSize:
    """The index in bytes.

    Attributes:
        memory: without it the index does not work, or not well.
        mapped: files that questions read beside it; memory for them is a gain of speed.
        disk: the files.
        peak: disk while a rebuild writes the new files beside the old ones.
        graph_seconds: of one core, for the graph.
    """

    chunks: int
    memory: float
    mapped: float
    disk: float
    peak: float
    graph_seconds: float


def chunks_of(documents: int, tokens: int, chunker: ChunkerSettings) -> int:
    """Returns the number of chunks; each document has at least one."""
    fresh = chunker.max_tokens * FILL - min(chunker.overlap, chunker.max_tokens * FILL / 2)
    return documents * max(1, math.ceil(tokens / fresh))


def chunk_bytes(tokens: float, *, dim: int, chunks: int, stored_tokens: bool) -> dict[str, float]:
    """Returns the bytes on disk of a chunk with so many tokens, by what they are for."""
    links = LINKS * math.log2(max(chunks, 2)) / 8
    terms = TERMS * tokens
    return {
        "vectors": 4 * dim,
        "quantized vectors": dim / 2 + 8,
        "graph": links,
        "text and payload": CHARS * tokens + PAYLOAD,
        "sparse vectors": SPARSE + STORED_TERM * terms,
        "postings": POSTING * terms,
        "fields and ids": FIELDS,
        "token vectors": TOKEN_VECTORS * stored_tokens,
    }


def edge_size(chunks: int, *, dim: int, tokens: float, stored_tokens: bool) -> IndexSize:
    """Returns the size of the embedded index; its vectors and postings are mapped files."""
    parts = chunk_bytes(tokens, dim=dim, chunks=chunks, stored_tokens=stored_tokens)
    vocabulary = VOCABULARY * HEAPS[0] * (chunks * tokens) ** HEAPS[1]
    disk = chunks * sum(parts.values()) + vocabulary + LOG_BYTES
    read = ("graph", "vectors", "postings", "fields and ids")
    mapped = sum(parts[name] for name in read)
    return IndexSize(
        chunks=chunks,
        memory=EDGE_BYTES + chunks * (parts["quantized vectors"] + OWN),
        mapped=chunks * mapped + vocabulary,
        disk=disk,
        peak=2 * disk,
        graph_seconds=GRAPH_SECONDS * chunks * math.log(max(chunks, 2)),
    )


def qdrant_size(
    chunks: int, *, dim: int, tokens: float, stored_tokens: bool, settings: QdrantSettings
) -> IndexSize:
    """Returns the size on a Qdrant server, all replicas together, by Qdrant's own rule.

    Vectors and payload times 1.5. With `on_disk` vectors are mapped, and quantized ones in memory.
    """
    parts = chunk_bytes(tokens, dim=dim, chunks=chunks, stored_tokens=stored_tokens)
    full, quantized = 4 * dim * QDRANT_FACTOR, dim * QDRANT_FACTOR
    is_small = settings.quantization == "int8"
    memory = quantized * is_small + full * (not settings.on_disk)
    # What is not in memory for good: full vectors on disk, payload, sparse vectors.
    mapped = full * settings.on_disk + parts["postings"] + parts["fields and ids"]
    kept = ("text and payload", "sparse vectors", "postings", "token vectors")
    disk = full + quantized * is_small + QDRANT_FACTOR * sum(parts[name] for name in kept)
    each = chunks * settings.replicas
    return IndexSize(
        chunks=chunks,
        memory=each * memory,
        mapped=each * mapped,
        disk=each * disk,
        peak=each * disk,
        graph_seconds=settings.replicas * GRAPH_SECONDS * chunks * math.log(max(chunks, 2)),
    )


def index_size(
    chunks: int,
    *,
    dim: int,
    tokens: float,
    stored_tokens: bool,
    index: EdgeSettings | QdrantSettings,
) -> IndexSize:
    """Returns the size of the index that the settings name."""
    if isinstance(index, QdrantSettings):
        return qdrant_size(
            chunks, dim=dim, tokens=tokens, stored_tokens=stored_tokens, settings=index
        )
    return edge_size(chunks, dim=dim, tokens=tokens, stored_tokens=stored_tokens)
