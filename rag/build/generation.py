"""Builds the parts that rewrite questions, write answers and check them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeGuard

from rag.build.adapters import adapter_folders, adapter_names
from rag.errors import ConfigError
from rag.process.extras import needing
from rag.settings.generation import (
    CitationSettings,
    ExtractiveSettings,
    GeneratorSettings,
    OpenAIModelSettings,
    OpenAISettings,
    VllmModelSettings,
    VllmSettings,
)
from rag.settings.operations import GeneratorJudgeSettings
from rag.settings.retrieval import RetrievalSettings
from rag.settings.routing import MAIN
from rag.settings.tree import Settings
from rag.types import Sampling

if TYPE_CHECKING:
    from generation.drafts.policy import Drafts
    from generation.fallback import Engine
    from generation.grounding.answerability import Finder, Judge
    from generation.models.vllm import VllmModel
    from generation.query.expansion import QuestionExpander
    from generation.query.follow_up import FollowUpResolver
    from generation.query.rewriting import QuestionRewriter
    from rag.protocols import ChatModel, Generator, SupportScorer, TokenEmbedder


ChatSettings = OpenAISettings | VllmSettings


def build_rewriter(model: ChatModel | None, seconds: float) -> QuestionRewriter | FollowUpResolver:
    """Returns what makes follow-up questions stand alone: rules, without a model."""
    if model is None:
        from generation.query.follow_up import FollowUpResolver

        return FollowUpResolver()
    from generation.query.rewriting import QuestionRewriter

    return QuestionRewriter(model, seconds=seconds)


def build_expander(
    settings: RetrievalSettings, model: ChatModel | None, seconds: float
) -> QuestionExpander | None:
    """Returns the expander that writes further search texts, if the settings ask for it.

    Raises:
        ConfigError: The settings ask for it, and there is no language model.
    """
    if settings.expansion == "none":
        return None
    if model is None:
        raise ConfigError(
            f"`retrieval.expansion = {settings.expansion!r}` needs a language model: set"
            " generator.kind to 'openai' or 'vllm', or retrieval.expansion to 'none'."
        )
    from generation.query.expansion import QuestionExpander

    return QuestionExpander(model, method=settings.expansion, seconds=seconds)


async def open_generator(
    settings: Settings, finder: Finder, stack: contextlib.AsyncExitStack
) -> tuple[Generator, ChatModel | None]:
    """Opens the generator that the settings name, with fallbacks and routes; closed by the stack.

    Returns with it the first language model among them, if there is one: it rewrites and expands
    questions.

    Raises:
        ConfigError: A template is missing or broken, or a module of an engine is not installed.
    """
    if settings.routes:
        return await _open_routed(settings, finder, stack)
    return await _open_main(settings, finder, stack)


async def _open_main(
    settings: Settings, finder: Finder, stack: contextlib.AsyncExitStack
) -> tuple[Generator, ChatModel | None]:
    chain = (settings.generator, *settings.fallbacks)
    opened = [await _open_engine(part, finder, stack) for part in chain]
    model = next((model for _, model in opened if model), None)
    if len(chain) == 1:
        return opened[0][0], model
    engines = [
        _engine(part, generator, stack) for part, (generator, _) in zip(chain, opened, strict=True)
    ]
    return _falling_back(engines, settings, stack), model


async def _open_routed(
    settings: Settings, finder: Finder, stack: contextlib.AsyncExitStack
) -> tuple[Generator, ChatModel | None]:
    """Opens the generator that chooses by routes; where a route's fails, the main one writes."""
    from generation.fallback import Engine
    from generation.routing.routed import RoutedGenerator, RouteTo

    main, model = await _open_main(settings, finder, stack)
    routes = []
    for each in settings.routes:
        generator, own = await _open_engine(each.generator, finder, stack)
        engines = [_engine(each.generator, generator, stack), Engine(name=MAIN, generator=main)]
        backed = _falling_back(engines, settings, stack)
        routes.append(RouteTo(settings=each, generator=backed))
        model = model or own
    judge = _judge(settings.generator, finder)
    return RoutedGenerator(routes, main=main, judge=judge), model


def _engine(
    settings: GeneratorSettings, generator: Generator, stack: contextlib.AsyncExitStack
) -> Engine:
    from generation.fallback import Engine

    return Engine(
        name=_engine_name(settings), generator=generator, answers=probe_of(settings, stack)
    )


def _falling_back(
    engines: Sequence[Engine], settings: Settings, stack: contextlib.AsyncExitStack
) -> Generator:
    from generation.fallback import FallbackGenerator

    made = FallbackGenerator(engines, seconds=settings.limits.query_seconds / len(engines))
    stack.push_async_callback(made.close)
    return made


def probe_of(
    settings: GeneratorSettings, stack: contextlib.AsyncExitStack
) -> Callable[[], Awaitable[bool]] | None:
    """Returns the check that a generator's server answers, if it has one; closed by the stack."""
    if not isinstance(settings, OpenAISettings):
        return None
    from generation.probe import Probe

    key = _key(settings)
    probes = [Probe(url, api_key=key) for url in settings.urls]
    for probe in probes:
        stack.push_async_callback(probe.close)

    async def any_answers() -> bool:
        return any(await asyncio.gather(*(probe.answers() for probe in probes)))

    return any_answers


def build_extractive(settings: GeneratorSettings, finder: Finder) -> Generator:
    """Returns the generator whose answers are the documents' own sentences."""
    from generation.extractive import ExtractiveGenerator

    return ExtractiveGenerator(_judge(settings, finder))


def build_drafts(
    settings: CitationSettings, support: SupportScorer, tokens: TokenEmbedder
) -> Drafts:
    """Returns the drafts of answers: they check citations and claims."""
    from generation.drafts.policy import Drafts
    from generation.grounding.answer_confidence import load_answer_confidence
    from generation.grounding.groundedness import (
        ClaimScorer,
        EntailedGrounding,
        Grounding,
        load_grounding,
    )

    scorer: ClaimScorer = Grounding(tokens, load_grounding())
    if settings.entailment is not None:
        scorer = EntailedGrounding(support)
    return Drafts(
        support, scorer, load_answer_confidence(), entailed=settings.entailment is not None
    )


def _judge(settings: GeneratorSettings, finder: Finder) -> Judge:
    from generation.grounding.answerability import Judge
    from generation.grounding.calibration import load_calibration

    return Judge(finder=finder, calibration=load_calibration(), threshold=settings.threshold)


async def _open_engine(
    settings: GeneratorSettings, finder: Finder, stack: contextlib.AsyncExitStack
) -> tuple[Generator, ChatModel | None]:
    if isinstance(settings, ExtractiveSettings):
        return build_extractive(settings, finder), None

    from generation.models.budget import BudgetedModel

    model = await _open_priced(settings, stack)
    if settings.tokens_at_once is not None:
        model = BudgetedModel(model, tokens=settings.tokens_at_once)
    return build_chat(settings, finder, model), model


def build_chat(settings: ChatSettings, finder: Finder, model: ChatModel) -> Generator:
    """Returns the generator that writes with a language model that is open.

    Raises:
        ConfigError: A template is missing or broken.
    """
    from generation.chat import ChatGenerator
    from generation.prompts import TEMPLATES, PromptTemplate

    template = PromptTemplate(settings.templates or TEMPLATES)
    sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature)
    judge = _judge(settings, finder)
    return ChatGenerator(
        judge=judge,
        model=model,
        template=template,
        sampling=sampling,
        adapters=adapter_names(settings),
    )


def same_model(one: GeneratorSettings, other: GeneratorSettings) -> TypeGuard[ChatSettings]:
    """Returns True if two generators write with the same language model."""
    if isinstance(one, ExtractiveSettings) or isinstance(other, ExtractiveSettings):
        return False
    own = {"templates", "threshold", "max_tokens", "temperature"}
    return one.model_dump(exclude=own) == other.model_dump(exclude=own)


async def open_judge(
    settings: Settings, model: ChatModel | None, stack: contextlib.AsyncExitStack
) -> ChatModel | None:
    """Opens the language model that scores live answers, if there is one; closed by the stack.

    Args:
        settings: Name the model.
        model: The generator's model, if it is open.
        stack: Closes what is opened.

    Raises:
        ConfigError: The generator's model should score, and it has none.
    """
    judge = settings.online.judge
    if judge is None:
        return None
    if not isinstance(judge, GeneratorJudgeSettings):
        return await _open_priced(judge, stack)
    if model is not None:
        return model
    if isinstance(settings.generator, ExtractiveSettings):
        raise ConfigError(
            "`online.judge.kind = 'generator'` needs a language model: set generator.kind to"
            " 'openai' or 'vllm', or leave online.judge out."
        )
    return await _open_priced(settings.generator, stack)


async def _open_priced(
    settings: OpenAIModelSettings | VllmModelSettings, stack: contextlib.AsyncExitStack
) -> ChatModel:
    from generation.models.pricing import PricedModel, Prices

    prices = Prices(
        input=settings.input_price,
        output=settings.output_price,
        cached=settings.cached_price,
        gpu_hour=settings.gpu_hour_price,
        tokens_per_second=settings.tokens_per_second,
    )
    return PricedModel(await open_model(settings, stack), prices)


async def open_model(
    settings: OpenAIModelSettings | VllmModelSettings, stack: contextlib.AsyncExitStack
) -> ChatModel:
    """Opens the language model that the settings name; the stack closes it."""
    match settings:
        case OpenAIModelSettings():
            return await _open_openai(settings, stack)
        case VllmModelSettings():
            return await stack.enter_async_context(open_chat_model(settings))


async def _open_openai(
    settings: OpenAIModelSettings, stack: contextlib.AsyncExitStack
) -> ChatModel:
    """Opens the model on its server, or on all of its replicas as one."""
    models = [_on_server(settings, url, stack) for url in settings.urls]
    if not settings.replicas:
        return models[0]
    from generation.replicas.checks import Checks
    from generation.replicas.model import ReplicatedModel
    from generation.replicas.pool import Pool

    pool = Pool(settings.replicas)
    checks = Checks(settings.replicas, pool, model=settings.model, api_key=_key(settings))
    await stack.enter_async_context(checks.running())
    return ReplicatedModel(
        models,
        pool,
        affinity=settings.affinity,
        hedge=settings.hedge,
        first_token_seconds=settings.first_token_seconds,
    )


def _on_server(
    settings: OpenAIModelSettings, url: str, stack: contextlib.AsyncExitStack
) -> ChatModel:
    from generation.models.counted_model import CountedModel

    with needing("openai", for_="A model of the kind 'openai'"):
        from generation.models.openai import OpenAIModel
    model = OpenAIModel(
        base_url=url,
        api_key=_key(settings),
        model=settings.model,
        context_tokens=settings.context_tokens,
        seconds=settings.timeout,
    )
    stack.push_async_callback(model.close)
    return CountedModel(model)


def _key(settings: OpenAIModelSettings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key else None


def _engine_name(settings: GeneratorSettings) -> str:
    return settings.kind if isinstance(settings, ExtractiveSettings) else settings.model


async def open_support(
    settings: CitationSettings, tokens: TokenEmbedder, stack: contextlib.AsyncExitStack
) -> SupportScorer:
    """Opens the scorer of citations, closed with the stack."""
    if settings.entailment is None:
        from generation.grounding.support import BlendedSupport

        return BlendedSupport(tokens)
    return await open_entailment(settings.entailment, settings.device, stack)


async def open_entailment(
    model: str, device: str | None, stack: contextlib.AsyncExitStack
) -> SupportScorer:
    """Opens a model for natural language inference, closed with the stack."""
    from generation.grounding.entailment import EntailmentScorer

    scorer = await asyncio.to_thread(EntailmentScorer, model, device=device)
    stack.callback(scorer.close)
    return scorer


@contextlib.asynccontextmanager
async def open_chat_model(settings: VllmModelSettings) -> AsyncIterator[ChatModel]:
    """Yields the language model that the settings name, started and warm; stops it at the end.

    Raises:
        ConfigError: It cannot be started, or its module is not installed.
    """
    model_class = await asyncio.to_thread(_import_vllm)  # takes seconds
    async with model_class.opened(
        settings.model,
        lora=settings.lora,
        adapters=adapter_folders(settings) if isinstance(settings, VllmSettings) else {},
        engine=settings.engine,
    ) as model:
        yield model


def _import_vllm() -> type[VllmModel]:
    try:
        from generation.models.vllm import VllmModel
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"A model of the kind 'vllm' needs the module {error.name!r}, which is not installed:"
            " run `pip install 'plumbline-rag[vllm]'`, or on a CPU follow docs/vllm.md."
        ) from None
    return VllmModel
