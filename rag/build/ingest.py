"""Builds the parts that fetch, read and chunk documents."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from rag.build.storage import build_database
from rag.build.telemetry import build_privacy, open_traces
from rag.catalog.catalog import Catalog
from rag.errors import ConfigError
from rag.process.private_folder import SPOOL
from rag.settings.ingest import ChunkerSettings, RecursiveSettings, SectionSettings
from rag.settings.tree import Settings

if TYPE_CHECKING:
    from ingest.chunkers.token_budget import CountTokens
    from ingest.parse_stage import Parsing
    from ingest.reader_process import Parser
    from ingest.sources.fetch import Fetcher
    from rag.protocols import Chunker


def build_parser(settings: Settings) -> Parser:
    """Returns the reader of documents; its processes start when they are needed."""
    from ingest.reader_process import Limits, Parser
    from ingest.readers.ocr import Ocr

    limits = Limits(
        file=settings.limits.file_mb << 20,
        text=settings.reader.text_mb << 20,
        memory=settings.reader.memory_mb << 20,
        seconds=settings.reader.seconds,
    )
    ocr = Ocr(settings.reader.ocr_languages)
    return Parser(limits, ocr=ocr, processes=settings.reader.processes)


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
    from ingest.sources.fetch import WebReader
    from ingest.sources.files import Spool

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
        reader = WebReader(parser, build_fetcher(settings))
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
