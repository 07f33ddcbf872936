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
    CitationSettings,
    CrossEncoderSettings,
    EdgeSettings,
    EmbedderSettings,
    ExtractiveSettings,
    GeneratorSettings,
    HttpRerankerSettings,
    LateInteractionSettings,
    LocalQueueSettings,
    NoRerankerSettings,
    OpenAISettings,
    PostgresSettings,
    QdrantSettings,
    RecursiveSettings,
    RerankerSettings,
    RetrievalSettings,
    SectionSettings,
    Settings,
    SqliteSettings,
    VllmSettings,
)
from rag.types import Sampling, Scope

if TYPE_CHECKING:
    from generation.evidence import EvidenceFinder
    from generation.expansion import QuestionExpander
    from generation.rewriting import QuestionRewriter
    from generation.vllm import VllmModel
    from ingest.fetch import Fetcher
    from ingest.parser import Parser
    from ingest.parsing import Parsing
    from ingest.pieces import CountTokens
    from ingest.pipeline import IngestPipeline
    from ingest.reindex import Reindexer
    from ingest.sources import Spool
    from rag.pipeline import QueryPipeline
    from rag.protocols import (
        ChatModel,
        Chunker,
        Embedder,
        Generator,
        Index,
        Reranker,
        StoredIndex,
        SupportScorer,
        TokenEmbedder,
    )
    from retrieval.embedders import BertEmbedder
    from retrieval.hybrid import Retriever
    from retrieval.late_interaction import LateInteraction
    from retrieval.sections import SectionReader
    from retrieval.sparse import Bm25Encoder

DAY = 24 * 3600.0
STAGE_SHARE = 1 / 6
"""Of a question's deadline: what each stage may take that an answer can do without."""
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
    reranker: Reranker
    """Late interaction where the settings name none: for those who ask for it themselves."""
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
    from generation.evidence import EvidenceFinder
    from ingest.fetch import WebReader
    from ingest.pipeline import IngestPipeline
    from ingest.reindex import Reindexer
    from ingest.sources import Spool
    from rag.pipeline import QueryPipeline
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
            passages=embedder if stores_tokens(settings.reranker) else None,
        )
        tokens = build_token_embedder(settings.reranker, embedder)
        reranker = await open_reranker(
            settings.reranker, stack, tokens=tokens, encoder=encoder, index=index
        )
        finder = EvidenceFinder(embedder=tokens, encoder=encoder, index=index)
        generator, model = await open_generator(settings, finder, stack)
        stage_seconds = settings.limits.query_seconds * STAGE_SHARE
        query = QueryPipeline(
            catalog=catalog,
            rewriter=build_rewriter(model, stage_seconds),
            expander=build_expander(settings.retrieval, model, stage_seconds),
            retriever=build_retriever(
                settings.retrieval,
                settings.reranker,
                stage_seconds,
                reranker=reranker,
                embedder=embedder,
                encoder=encoder,
                index=index,
            ),
            reader=build_section_reader(settings.retrieval, index, catalog),
            generator=generator,
            support=await open_support(settings.citations, tokens, stack),
            at_once=settings.limits.questions,
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
            reranker=reranker or build_late_interaction(tokens, encoder, index),
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
        settings.model or minilm_folder(),
        device=settings.device,
        dtype=settings.dtype,
        max_waiting=settings.max_waiting,
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


def stores_tokens(settings: RerankerSettings) -> bool:
    """Whether token vectors go into the index."""
    return isinstance(settings, LateInteractionSettings) and settings.stored


def build_token_embedder(settings: RerankerSettings, embedder: BertEmbedder) -> TokenEmbedder:
    """What makes token vectors: reranker and extractive generator read the same passages."""
    if not isinstance(settings, LateInteractionSettings) or not settings.cache_mb:
        return embedder
    from retrieval.token_cache import TokenCache

    return TokenCache(embedder, max_bytes=settings.cache_mb << 20)


async def open_reranker(
    settings: RerankerSettings,
    stack: contextlib.AsyncExitStack,
    *,
    tokens: TokenEmbedder,
    encoder: Bm25Encoder,
    index: Index,
) -> Reranker | None:
    """The reranker that the settings name, closed with the stack; None for none."""
    from ingest.chunkers import embedding_text

    match settings:
        case NoRerankerSettings():
            return None
        case LateInteractionSettings(stored=stored):
            return build_late_interaction(tokens, encoder, index, stored=stored)
        case CrossEncoderSettings(model=model, library=library, device=device):
            from retrieval.cross_encoder import CrossEncoderReranker

            reader = await asyncio.to_thread(
                CrossEncoderReranker, model, library=library, device=device, text_of=embedding_text
            )
            stack.callback(reader.close)
            return reader
        case HttpRerankerSettings(url=url, dialect=dialect, model=model, api_key=key):
            from retrieval.http_reranker import HttpReranker

            remote = HttpReranker(
                url,
                dialect=dialect,
                model=model,
                api_key=key.get_secret_value() if key else None,
                seconds=settings.seconds,
                text_of=embedding_text,
            )
            stack.push_async_callback(remote.close)
            return remote


def build_late_interaction(
    tokens: TokenEmbedder, encoder: Bm25Encoder, index: Index, *, stored: bool = False
) -> LateInteraction:
    """The reranker that needs no weights of its own."""
    from ingest.chunkers import embedding_text
    from retrieval.late_interaction import LateInteraction

    return LateInteraction(
        embedder=tokens, encoder=encoder, index=index, text_of=embedding_text, stored=stored
    )


def build_retriever(
    settings: RetrievalSettings,
    reranking: RerankerSettings,
    seconds: float = 5.0,
    *,
    reranker: Reranker | None,
    embedder: Embedder,
    encoder: Bm25Encoder,
    index: Index,
) -> Retriever:
    """Both legs, the reranker if there is one, and what keeps hits apart where it is wanted.

    `seconds` is what embedder and reranker may take each.
    """
    found = _build_ranking(
        settings,
        reranking,
        seconds,
        reranker=reranker,
        embedder=embedder,
        encoder=encoder,
        index=index,
    )
    if not settings.diversity:
        return found
    from retrieval.diversity import DiverseRetriever

    return DiverseRetriever(found, index=index, diversity=settings.diversity)


def _build_ranking(
    settings: RetrievalSettings,
    reranking: RerankerSettings,
    seconds: float,
    *,
    reranker: Reranker | None,
    embedder: Embedder,
    encoder: Bm25Encoder,
    index: Index,
) -> Retriever:
    from ingest.chunkers import embedding_text
    from retrieval.hybrid import HybridRetriever
    from retrieval.reranked import RerankingRetriever

    hybrid = HybridRetriever(
        embedder=embedder,
        encoder=encoder,
        index=index,
        depth=settings.depth,
        rrf_k=settings.rrf_k,
        seconds=seconds,
    )
    if reranker is None or isinstance(reranking, NoRerankerSettings):
        return hybrid
    return RerankingRetriever(
        hybrid=hybrid,
        reranker=reranker,
        index=index,
        encoder=encoder,
        text_of=embedding_text,
        depth=reranking.depth,
        combine=reranking.combine,
        feedback=reranking.feedback,
        seconds=min(reranking.seconds, seconds),
    )


def build_section_reader(
    settings: RetrievalSettings, index: Index, catalog: Catalog
) -> SectionReader | None:
    """What widens hits for the generator, where the settings give it room."""
    if not settings.context_chars:
        return None
    from retrieval.sections import SectionReader

    return SectionReader(index=index, catalog=catalog, chars=settings.context_chars)


def build_rewriter(model: ChatModel | None, seconds: float) -> QuestionRewriter | None:
    """What makes follow-up questions stand alone, where there is a language model."""
    if model is None:
        return None
    from generation.rewriting import QuestionRewriter

    return QuestionRewriter(model, seconds=seconds)


def build_expander(
    settings: RetrievalSettings, model: ChatModel | None, seconds: float
) -> QuestionExpander | None:
    """What writes more to search for, where the settings ask for it.

    Raises:
        ConfigError: they do, and there is no language model.
    """
    if settings.expansion == "none":
        return None
    if model is None:
        raise ConfigError(
            f"`retrieval.expansion = {settings.expansion!r}` needs a language model: set"
            " generator.kind to 'openai' or 'vllm', or retrieval.expansion to 'none'."
        )
    from generation.expansion import QuestionExpander

    return QuestionExpander(model, method=settings.expansion, seconds=seconds)


async def open_generator(
    settings: Settings, finder: EvidenceFinder, stack: contextlib.AsyncExitStack
) -> tuple[Generator, ChatModel | None]:
    """The generator that the settings name, with those it falls back to; closed by the stack.

    With it the first language model among them, where there is one: it rewrites and expands
    questions.

    Raises:
        ConfigError: a template is missing or broken, or what an engine needs is not installed.
    """
    from generation.fallback import Engine, FallbackGenerator

    chain = (settings.generator, *settings.fallbacks)
    opened = [await _open_engine(part, finder, stack) for part in chain]
    model = next((model for _, model in opened if model), None)
    if len(chain) == 1:
        return opened[0][0], model
    engines = [
        Engine(name=_engine_name(part), generator=generator)
        for part, (generator, _) in zip(chain, opened, strict=True)
    ]
    seconds = settings.limits.query_seconds / len(engines)
    return FallbackGenerator(engines, seconds=seconds), model


async def _open_engine(
    settings: GeneratorSettings, finder: EvidenceFinder, stack: contextlib.AsyncExitStack
) -> tuple[Generator, ChatModel | None]:
    from generation.calibration import load_calibration
    from generation.extractive import ExtractiveGenerator
    from generation.judging import Judge

    judge = Judge(finder=finder, calibration=load_calibration(), threshold=settings.threshold)
    if isinstance(settings, ExtractiveSettings):
        return ExtractiveGenerator(judge), None

    from generation.budget import BudgetedModel
    from generation.chat import ChatGenerator
    from generation.prompts import TEMPLATES, PromptTemplate

    template = PromptTemplate(settings.templates or TEMPLATES)
    sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature)
    model = await _open_model(settings, stack)
    if settings.tokens_at_once is not None:
        model = BudgetedModel(model, tokens=settings.tokens_at_once)
    return ChatGenerator(judge=judge, model=model, template=template, sampling=sampling), model


async def _open_model(
    settings: OpenAISettings | VllmSettings, stack: contextlib.AsyncExitStack
) -> ChatModel:
    match settings:
        case OpenAISettings():
            return _open_openai(settings, stack)
        case VllmSettings():
            return await stack.enter_async_context(open_chat_model(settings))


def _open_openai(settings: OpenAISettings, stack: contextlib.AsyncExitStack) -> ChatModel:
    try:
        from generation.openai import OpenAIModel
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`generator.kind = 'openai'` needs the module {error.name!r}, which is not installed:"
            " run `pip install 'plumbline-rag[openai]'`."
        ) from None
    model = OpenAIModel(
        base_url=settings.base_url,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        model=settings.model,
        context_tokens=settings.context_tokens,
        seconds=settings.timeout,
    )
    stack.push_async_callback(model.close)
    return model


def _engine_name(settings: GeneratorSettings) -> str:
    return settings.kind if isinstance(settings, ExtractiveSettings) else settings.model


async def open_support(
    settings: CitationSettings, tokens: TokenEmbedder, stack: contextlib.AsyncExitStack
) -> SupportScorer:
    """What checks citations, closed with the stack."""
    if settings.entailment is None:
        from generation.support import BlendedSupport

        return BlendedSupport(tokens)
    from retrieval.entailment import EntailmentScorer

    model = await asyncio.to_thread(EntailmentScorer, settings.entailment, device=settings.device)
    stack.callback(model.close)
    return model


@contextlib.asynccontextmanager
async def open_chat_model(settings: VllmSettings) -> AsyncIterator[ChatModel]:
    """The language model that the settings name, started and warm; stopped at the end.

    Raises:
        ConfigError: it cannot be started, or what runs it is not installed.
    """
    model_class = await asyncio.to_thread(_import_vllm)  # takes seconds
    async with model_class.opened(
        settings.model, lora=settings.lora, engine=settings.engine
    ) as model:
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
