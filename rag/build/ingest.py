"""Opens what ingests: the parts that fetch, read, chunk and store documents."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rag.build.accounts import open_ledger
from rag.build.embedding import build_embedder, build_passage_embedder
from rag.build.model_cache import open_model_cache
from rag.build.model_folders import with_model_folders
from rag.build.storage import Storage, attributes_of, build_database, build_index, open_storage
from rag.build.telemetry import build_privacy, open_observer, open_traces
from rag.catalog.catalog import Catalog
from rag.errors import ConfigError
from rag.feedback.observer import Observer
from rag.gateway.charges import charge_of
from rag.gateway.ledger import Ledger
from rag.process.private_folder import INDEX, ORIGINALS, SPOOL
from rag.records import Task
from rag.settings.ingest import ChunkerSettings, RecursiveSettings, SectionSettings
from rag.settings.retrieval import EmbedderSettings
from rag.settings.tree import Settings
from rag.telemetry import metrics
from rag.telemetry.metering import Meter, of_reading

if TYPE_CHECKING:
    from ingest.chunkers.token_budget import CountTokens
    from ingest.document_trace import DocumentTraces
    from ingest.parse_stage import Parsing
    from ingest.pipeline import IngestPipeline
    from ingest.reader_process import Parser
    from ingest.sources.fetch import Fetcher
    from ingest.sources.files import Spool
    from ingest.sources.originals import Originals
    from ingest.writing import UsageOf
    from rag.protocols import Chunker, PersistentIndex, StoredIndex
    from retrieval.bm25 import Bm25Encoder
    from retrieval.embedders.embedder import ModelEmbedder
    from retrieval.model_cache import ModelCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingesting(Storage):
    """The parts of a process that ingests and deletes."""

    spool: Spool
    originals: Originals
    index: StoredIndex
    embedder: ModelEmbedder
    encoder: Bm25Encoder
    ingest: IngestPipeline
    model_cache: ModelCache | None
    """The cache of models' results, if the settings name one."""
    observer: Observer
    ledger: Ledger | None
    """Of documents and of judgements of answers; None if nobody is charged."""

    async def warm(self) -> None:
        """Loads the embedder's model, unless it is loaded, and encodes a text.

        Raises:
            ConfigError: The model cannot be loaded.
        """
        await self.embedder.embed(["warm up"], kind="query")


@contextlib.asynccontextmanager
async def open_ingesting(
    settings: Settings, embedder: ModelEmbedder | None = None
) -> AsyncIterator[Ingesting]:
    """Opens everything that ingests, and nothing that answers; closes it at the end.

    The embedder loads its model at its first use, if it can. An `embedder` that is given is used
    instead of that of the settings, and stays open.

    Raises:
        ConfigError: Another process owns the folder, or there is no such model.
        StorageError: The stored data is damaged.
    """
    from ingest.cleanup import UNSUBMITTED_SECONDS, Cleanup
    from ingest.pipeline import IngestPipeline
    from ingest.settling import settling
    from ingest.sources.files import Spool
    from ingest.sources.originals import Originals
    from ingest.sources.web import WebReader
    from retrieval.bm25 import Bm25Encoder

    settings = with_model_folders(settings)
    data = settings.data_dir.resolve()
    metrics.label_tenants(settings.metrics.tenants)
    async with open_storage(settings) as storage, contextlib.AsyncExitStack() as stack:
        catalog = storage.catalog
        observer = await open_observer(settings, storage.database, stack)
        spool = Spool(data / SPOOL)
        originals = Originals(data / ORIGINALS, keep=settings.reader.keep_originals)
        cleanup = Cleanup(
            catalog=catalog,
            answers=observer.answers,
            database=storage.database,
            spool=spool,
            originals=originals,
        )
        # Files that another process stored a moment ago may not be submitted yet.
        await cleanup.sweep(older_than=0 if storage.alone else UNSUBMITTED_SECONDS)
        if embedder is None:
            embedder = await asyncio.to_thread(build_embedder, settings.embedder)
            stack.callback(embedder.close)
        encoder = Bm25Encoder()
        index = build_index(settings, data / INDEX, embedder.dim, encoder)
        stack.push_async_callback(index.close)
        await _find_losses(catalog, index)
        await stack.enter_async_context(index.erasing())
        stack.callback((parser := build_parser(settings)).close)
        ledger = await open_ledger(settings.gateway, catalog, stack)
        cache = open_model_cache(settings, stack)
        ingest = IngestPipeline(
            reader=WebReader(parser, partial(build_fetcher, settings)),
            chunker=build_chunker(settings.chunker, embedder.count_tokens),
            embedder=embedder,
            encoder=encoder,
            index=index,
            catalog=catalog,
            spool=spool,
            originals=originals,
            passages=build_passage_embedder(settings.reranker, embedder),
            traces=_document_traces(settings, observer, ledger),
            usage_of=_priced(settings.embedder, embedder),
            cache=cache,
            seconds=settings.queue.task_seconds,
        )
        await stack.enter_async_context(cleanup.started())
        await stack.enter_async_context(settling(pipeline=ingest, index=index, catalog=catalog))
        await _serve_backups(settings, index, storage, stack)
        yield Ingesting(
            **attributes_of(storage),
            spool=spool,
            originals=originals,
            index=index,
            embedder=embedder,
            encoder=encoder,
            ingest=ingest,
            model_cache=cache,
            observer=observer,
            ledger=ledger,
        )


def _priced(settings: EmbedderSettings, embedder: ModelEmbedder) -> UsageOf:
    """Returns what computes the usage of texts that are embedded, at the price of the settings."""
    return partial(of_reading, count_tokens=embedder.count_tokens, price=settings.input_price)


async def _serve_backups(
    settings: Settings, index: StoredIndex, storage: Storage, stack: contextlib.AsyncExitStack
) -> None:
    """Copies the data folder for backups that ask for it, if this process owns its index."""
    if settings.index.kind != "edge":
        return
    from rag.operations.backup.owner_copies import copying_on_request
    from rag.operations.backup.staging import copy_data

    data = settings.data_dir.resolve()
    copy = partial(copy_data, data, index=index, database=storage.database)
    await stack.enter_async_context(copying_on_request(data, copy))


def _document_traces(
    settings: Settings, observer: Observer, ledger: Ledger | None
) -> DocumentTraces:
    from ingest.document_trace import DocumentTraces

    meter = partial(_charge, ledger)
    return DocumentTraces(observer.traces.send, rate=settings.traces.rate, meter=meter)


def _charge(ledger: Ledger | None, task: Task) -> Meter:
    return charge_of(ledger, task.scope.tenant, key_id=task.key_id, subject=task.subject)


def build_parser(settings: Settings) -> Parser:
    """Returns the reader of documents; its processes start when they are needed."""
    from ingest.reader_process import Limits, Parser
    from ingest.readers.ocr import Ocr
    from ingest.readers.options import ReadOptions

    limits = Limits(
        file=settings.limits.file_mb << 20,
        text=settings.reader.text_mb << 20,
        memory=settings.reader.memory_mb << 20,
        seconds=settings.reader.seconds,
    )
    options = ReadOptions(ocr=Ocr(settings.reader.ocr_languages), hidden=settings.reader.hidden)
    return Parser(limits, options=options, processes=settings.reader.processes)


def build_chunker(settings: ChunkerSettings, count_tokens: CountTokens) -> Chunker:
    """Returns the chunker that the settings name; `count_tokens` is the embedder's."""
    from ingest.chunkers.strategies import RecursiveChunker, SectionChunker

    match settings:
        case SectionSettings(max_tokens=max_tokens, overlap=overlap):
            return SectionChunker(count_tokens, max_tokens=max_tokens, overlap=overlap)
        case RecursiveSettings(max_tokens=max_tokens, overlap=overlap):
            return RecursiveChunker(count_tokens, max_tokens=max_tokens, overlap=overlap)


def build_fetcher(settings: Settings) -> Fetcher:
    """Returns the fetcher of documents from the web."""
    from ingest.sources.addresses import is_public
    from ingest.sources.fetch import Fetcher

    return Fetcher(
        max_bytes=settings.limits.file_mb << 20,
        seconds=settings.fetch.seconds,
        allows=(lambda _: True) if settings.fetch.private_addresses else is_public,
    )


@contextlib.asynccontextmanager
async def open_parsing(settings: Settings) -> AsyncIterator[tuple[Catalog, Parsing]]:
    """Opens the reading of documents that others embed: no model is loaded, no index opened.

    Raises:
        ConfigError: The catalog is a file, which the process that embeds must have to itself.
    """
    from ingest.document_trace import DocumentTraces
    from ingest.parse_stage import Parsing
    from ingest.sources.files import Spool
    from ingest.sources.web import WebReader

    if settings.catalog.kind != "postgres":
        raise ConfigError(
            "A worker that parses alone shares the catalog with those that embed: set"
            ' catalog.kind = "postgres" and catalog.url, or leave out --stage.'
        )
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.to_thread(build_privacy, settings.privacy)  # reports its errors at once
        traces = open_traces(settings, stack)
        catalog = Catalog(build_database(settings.catalog, settings.data_dir))
        stack.push_async_callback(catalog.close)
        await catalog.open()
        parser = build_parser(settings)
        stack.callback(parser.close)
        reader = WebReader(parser, partial(build_fetcher, settings))
        spool = Spool(settings.data_dir.resolve() / SPOOL)
        recorder = DocumentTraces(traces.send, rate=settings.traces.rate)
        yield (
            catalog,
            Parsing(
                reader=reader,
                catalog=catalog,
                spool=spool,
                traces=recorder,
                seconds=settings.queue.task_seconds,
            ),
        )


async def _find_losses(catalog: Catalog, index: PersistentIndex) -> None:
    """Marks documents as failed if their index was removed while the catalog counts on it."""
    from ingest.settler import LOST

    for scope, chunks in (await catalog.collections.everywhere()).items():
        if chunks and not await index.holds(scope):
            await catalog.documents.lose(scope, LOST)
