"""Builds the parts that fetch, read and chunk documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.settings.ingest import ChunkerSettings, RecursiveSettings, SectionSettings
from rag.settings.tree import Settings

if TYPE_CHECKING:
    from ingest.chunkers.token_budget import CountTokens
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
