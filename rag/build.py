"""The composition root: settings → objects, opened and closed in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.catalog import Catalog
from rag.database import Database, PostgresDatabase, SqliteDatabase
from rag.errors import ConfigError
from rag.ownership import own
from rag.settings import (
    ChunkerSettings,
    EdgeSettings,
    EmbedderSettings,
    ExtractiveSettings,
    LocalQueueSettings,
    OpenAISettings,
    PostgresSettings,
    QdrantSettings,
    RecursiveSettings,
    RetrievalSettings,
    SectionSettings,
    Settings,
    SqliteSettings,
    VllmSettings,
)
from rag.types import Scope

if TYPE_CHECKING:
    from generation.vllm import VllmModel
    from ingest.fetch import Fetcher
    from ingest.parser import Parser
    from ingest.parsing import Parsing
    from ingest.pieces import CountTokens
    from ingest.pipeline import IngestPipeline
    from ingest.reindex import Reindexer
    from ingest.sources import Spool
    from rag.pipeline import QueryPipeline
    from rag.protocols import ChatModel, Chunker, Generator, Index, StoredIndex
    from retrieval.embedders import BertEmbedder
    from retrieval.sections import SectionReader
    from retrieval.sparse import Bm25Encoder

DAY = 24 * 3600.0
TENANT = "default"
"""Whose documents these are: one tenant until requests are authenticated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a process holds while it serves."""

    settings: Settings
    catalog: Catalog
    spool: Spool
    index: StoredIndex
    embedder: BertEmbedder
    ingest: IngestPipeline
    reindexer: Reindexer
    query: QueryPipeline
    announce: Callable[[str], None]
    """Tells other processes the URL under which this one serves its data folder."""


@contextlib.asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """Loads the models and warms them; closes all of it at the end.

    Owns the data folder, unless all that one process alone may have is on servers.

    Raises:
        ConfigError: another process owns the folder, or a model cannot be loaded.
        StorageError: what is stored is damaged.
    """
    from ingest.fetch import WebReader
    from ingest.pipeline import IngestPipeline
    from ingest.reindex import Reindexer
    from ingest.sources import Spool
    from rag.pipeline import QueryPipeline
    from retrieval.hybrid import HybridRetriever
    from retrieval.sparse import Bm25Encoder

    data = settings.data_dir.resolve()
    async with contextlib.AsyncExitStack() as stack:
        announce = _to_nobody if _is_shared(settings) else stack.enter_context(own(data))
        catalog = Catalog(build_database(settings.catalog, data))
        stack.push_async_callback(catalog.close)
        await catalog.open()
        spool = Spool(data / "spool")
        alone = not _is_shared(settings) and isinstance(settings.queue, LocalQueueSettings)
        # What somebody else put there a moment ago may not be submitted yet.
        if sent := spool.keys(older_than=0 if alone else DAY):
            spool.sweep(sent - await catalog.spooled())
        if isinstance(settings.queue, LocalQueueSettings):
            await catalog.release()
        embedder = await asyncio.to_thread(build_embedder, settings.embedder)
        stack.callback(embedder.close)
        encoder = Bm25Encoder()
        index = build_index(settings, data / "index", embedder.dim, encoder)
        stack.push_async_callback(index.close)
        await _find_losses(catalog, index)
        parser = build_parser(settings)
        stack.callback(parser.close)
        ingest = IngestPipeline(
            reader=WebReader(parser, build_fetcher(settings)),
            chunker=build_chunker(settings.chunker, embedder.count_tokens),
            embedder=embedder,
            encoder=encoder,
            index=index,
            catalog=catalog,
            spool=spool,
        )
        retriever = HybridRetriever(
            embedder=embedder,
            encoder=encoder,
            index=index,
            depth=settings.retrieval.depth,
            rrf_k=settings.retrieval.rrf_k,
        )
        query = QueryPipeline(
            catalog=catalog,
            retriever=retriever,
            reader=build_section_reader(settings.retrieval, index, catalog),
            generator=build_generator(settings, embedder, encoder, index),
            seconds=settings.limits.query_seconds,
        )
        await embedder.embed(["warm up"], kind="query")
        yield Service(
            settings=settings,
            catalog=catalog,
            spool=spool,
            index=index,
            embedder=embedder,
            ingest=ingest,
            reindexer=Reindexer(pipeline=ingest, embedder=embedder, index=index, catalog=catalog),
            query=query,
            announce=announce,
        )


@contextlib.asynccontextmanager
async def open_parsing(settings: Settings) -> AsyncIterator[tuple[Catalog, Parsing]]:
    """What reads documents for others to embed: no model is loaded, no index opened.

    Raises:
        ConfigError: the catalog is a file, which the process that embeds has to itself.
    """
    from ingest.fetch import WebReader
    from ingest.parsing import Parsing
    from ingest.sources import Spool

    if settings.catalog.kind != "postgres":
        raise ConfigError(
            "A worker that parses alone shares the catalog with those that embed: set"
            ' catalog.kind = "postgres" and catalog.url, or leave out --stage.'
        )
    async with contextlib.AsyncExitStack() as stack:
        catalog = Catalog(build_database(settings.catalog, settings.data_dir))
        stack.push_async_callback(catalog.close)
        await catalog.open()
        parser = build_parser(settings)
        stack.callback(parser.close)
        reader = WebReader(parser, build_fetcher(settings))
        spool = Spool(settings.data_dir.resolve() / "spool")
        yield catalog, Parsing(reader=reader, catalog=catalog, spool=spool)


def _is_shared(settings: Settings) -> bool:
    return (settings.index.kind, settings.catalog.kind) == ("qdrant", "postgres")


def _to_nobody(_url: str) -> None:
    """Nobody looks into a folder that many share: servers are found by their address."""


async def _find_losses(catalog: Catalog, index: StoredIndex) -> None:
    """Where an index was removed under a catalog that counts on it, its documents have failed."""
    for record in await catalog.collections(TENANT):
        scope = Scope(tenant=TENANT, collection=record.name)
        if record.chunks and not await index.holds(scope):
            await catalog.lose(scope, "The index holds it no more: ingest it again.")


def build_database(settings: SqliteSettings | PostgresSettings, data: Path) -> Database:
    """The catalog's database, nothing opened yet."""
    match settings:
        case SqliteSettings():
            return SqliteDatabase(data / "catalog.sqlite")
        case PostgresSettings(url=url):
            return PostgresDatabase(url.get_secret_value())


def build_parser(settings: Settings) -> Parser:
    """What reads documents; its process starts with the first."""
    from ingest.ocr import Ocr
    from ingest.parser import Limits, Parser

    limits = Limits(
        file=settings.limits.file_mb << 20,
        text=settings.reader.text_mb << 20,
        memory=settings.reader.memory_mb << 20,
        seconds=settings.reader.seconds,
    )
    return Parser(limits, ocr=Ocr(settings.reader.ocr_languages))


def build_chunker(settings: ChunkerSettings, count_tokens: CountTokens) -> Chunker:
    """The chunker that the settings name; `count_tokens` is the embedder's."""
    from ingest.chunkers import RecursiveChunker, SectionChunker

    match settings:
        case SectionSettings(max_tokens=max_tokens, overlap=overlap):
            return SectionChunker(count_tokens, max_tokens=max_tokens, overlap=overlap)
        case RecursiveSettings(max_tokens=max_tokens, overlap=overlap):
            return RecursiveChunker(count_tokens, max_tokens=max_tokens, overlap=overlap)


def build_fetcher(settings: Settings) -> Fetcher:
    """What gets documents from the web."""
    from ingest.addresses import is_public
    from ingest.fetch import Fetcher

    return Fetcher(
        max_bytes=settings.limits.file_mb << 20,
        seconds=settings.fetch.seconds,
        allows=(lambda _: True) if settings.fetch.private_addresses else is_public,
    )


def build_embedder(settings: EmbedderSettings) -> BertEmbedder:
    """The embedder that the settings name, its model loaded."""
    from retrieval.embedders import BertEmbedder, minilm_folder

    return BertEmbedder(
        settings.model or minilm_folder(), dtype=settings.dtype, max_waiting=settings.max_waiting
    )


def build_index(settings: Settings, folder: Path, dim: int, encoder: Bm25Encoder) -> StoredIndex:
    """The index that the settings name, nothing opened yet.

    Raises:
        ConfigError: `rank_bm25` on a server, where others may write too.
    """
    inner = _build_stored(settings.index, folder, dim)
    if settings.retrieval.lexical == "sparse":
        return inner
    if settings.index.kind == "qdrant":
        raise ConfigError(
            "`retrieval.lexical = 'rank_bm25'` keeps a collection in memory and would not see what"
            " other processes write to Qdrant: set it to 'sparse', or `index.kind` to 'edge'."
        )
    from ingest.chunkers import embedding_text
    from retrieval.lexical import RankBm25Index

    return RankBm25Index(inner, encoder=encoder, text_of=embedding_text)


def _build_stored(settings: EdgeSettings | QdrantSettings, folder: Path, dim: int) -> StoredIndex:
    match settings:
        case EdgeSettings():
            from retrieval.edge import EdgeIndex

            return EdgeIndex(folder, dim=dim)
        case QdrantSettings():
            return _build_qdrant(settings, dim)


def _build_qdrant(settings: QdrantSettings, dim: int) -> StoredIndex:
    try:
        from retrieval.qdrant import QdrantIndex
        from retrieval.qdrant_points import Layout
        from retrieval.qdrant_server import connect
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`index.kind = 'qdrant'` needs the module {error.name!r}, which is not installed:"
            " run `pip install 'plumbline-rag[qdrant]'`."
        ) from None
    key = settings.api_key
    server = connect(
        settings.url,
        api_key=key.get_secret_value() if key else None,
        grpc_port=settings.grpc_port,
        prefer_grpc=settings.prefer_grpc,
        timeout=settings.timeout,
    )
    layout = Layout(
        shards=settings.shards,
        replicas=settings.replicas,
        hnsw_m=settings.hnsw_m,
        hnsw_ef_construct=settings.hnsw_ef_construct,
        on_disk=settings.on_disk,
        quantization=settings.quantization,
    )
    return QdrantIndex(server, dim=dim, prefix=settings.prefix, layout=layout)


def build_section_reader(
    settings: RetrievalSettings, index: Index, catalog: Catalog
) -> SectionReader | None:
    """What widens hits for the generator, where the settings give it room."""
    if not settings.context_chars:
        return None
    from retrieval.sections import SectionReader

    return SectionReader(index=index, catalog=catalog, chars=settings.context_chars)


def build_generator(
    settings: Settings,
    embedder: BertEmbedder,
    encoder: Bm25Encoder,
    index: Index,
) -> Generator:
    """The generator that the settings name."""
    from generation.calibration import load_calibration
    from generation.extractive import ExtractiveGenerator

    match settings.generator:
        case ExtractiveSettings(threshold=threshold):
            return ExtractiveGenerator(
                embedder=embedder,
                encoder=encoder,
                index=index,
                calibration=load_calibration(),
                threshold=threshold,
            )
        case OpenAISettings() | VllmSettings():
            raise ConfigError(f"generator.kind = {settings.generator.kind!r} is not served yet.")


@contextlib.asynccontextmanager
async def open_chat_model(settings: VllmSettings) -> AsyncIterator[ChatModel]:
    """The language model that the settings name, started and warm; stopped at the end.

    Raises:
        ConfigError: it cannot be started, or what runs it is not installed.
    """
    model_class = await asyncio.to_thread(_import_vllm)  # takes seconds
    async with model_class.opened(settings.model, engine=settings.engine) as model:
        yield model


def _import_vllm() -> type[VllmModel]:
    try:
        from generation.vllm import VllmModel
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`generator.kind = 'vllm'` needs the module {error.name!r}, which is not installed:"
            " run `pip install 'plumbline-rag[vllm]'`, or on a CPU what docs/vllm.md says."
        ) from None
    return VllmModel
