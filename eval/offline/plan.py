"""The plan of an offline run: its questions, settings and caches."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from eval.datasets.corpus import Corpus, Question
from eval.measures.registry import check_made, usual
from eval.offline.stage_cache import (
    CODE,
    CachedEmbedder,
    CachedFinder,
    CachedReranker,
    CachedRetriever,
    StageCache,
    code_fingerprint,
    code_version,
    key_of,
)
from eval.runs.run_folder import RunInfo, without_passwords
from rag.build.model_folders import with_model_folders
from rag.build.stage_wrappers import StageWrappers
from rag.errors import InputError
from rag.settings.operations import NoTraceSettings
from rag.settings.storage import EdgeSettings, LocalQueueSettings, SqliteSettings
from rag.settings.tree import Settings
from rag.telemetry.trace import Experiment
from rag.types import Scope

_PRICE = {"input_price"}
_AFTERWARDS = {"depth", "combine", "feedback", "seconds", "cache_mb"} | _PRICE
"""Settings of a reranker that do not change how it judges a passage."""


def now() -> str:
    """Returns the current time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run.

    Attributes:
        corpus: the questions; its passages are ingested. If it has none, `collection` is asked
            unchanged.
        settings: of the pipeline; see `settings_for`.
        tenant: whose collection it is.
        collection: one that exists.
        top_k: hits of each question.
        answers: True if questions are answered, False if they are only searched for.
        scores: True if answers are scored as live ones are.
        named: measures to compute, as `known` returns them; none: the `usual` ones.
        name: the name of the run, and of its experiment in Langfuse if traces go there; without a
            name no traces are sent, whatever the settings say.
        started: ISO 8601, UTC.
    """

    corpus: Corpus
    settings: Settings
    tenant: str
    collection: str | None = None
    top_k: int = 10
    answers: bool = True
    scores: bool = False
    named: tuple[str, ...] = ()
    name: str = ""
    started: str = field(default_factory=now)

    def __post_init__(self) -> None:
        """Rejects a plan that cannot be run; without a name, turns traces off."""
        if not self.corpus.passages and not self.collection:
            raise InputError(
                f"The set {self.corpus.name} has no documents of its own: name the collection that"
                " has them with --collection."
            )
        check_made(self.named, answers=self.answers, top_k=self.top_k)
        if not self.name:
            untraced = self.settings.model_copy(update={"traces": NoTraceSettings()})
            object.__setattr__(self, "settings", untraced)

    @cached_property
    def scope(self) -> Scope:
        """The scope that is asked: sets that are ingested alike share a collection."""
        return Scope(tenant=self.tenant, collection=self.collection or self._own_collection())

    def info(self) -> RunInfo:
        """Returns the description of the run that is stored."""
        parameters = {
            name: getattr(self, name) for name in ("collection", "top_k", "answers", "scores")
        }
        parameters["measures"] = list(self.measures)
        # The queue does not change the results: workers and one process find the same.
        settings = self.settings.model_dump(mode="json", exclude={"queue"})
        return RunInfo(
            set_name=self.corpus.name,
            set_fingerprint=self.corpus.fingerprint,
            questions=len(self.corpus.questions),
            config={**without_passwords(settings), "run": parameters},
            version=code_version(),
            started=self.started,
            tenant=self.tenant,
        )

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """The measures that are computed."""
        return self.named or usual(answers=self.answers, top_k=self.top_k)

    def experiment(self, question: Question) -> Experiment:
        """Returns what identifies a question of this run in Langfuse."""
        return Experiment(
            id=key_of(self.name, self.started)[:32],
            name=self.name,
            dataset=self.corpus.langfuse_id or self.corpus.name,
            item_id=question.id,
            expected=question.answers,
        )

    def stage_caches(self, cache_: StageCache) -> StageWrappers:
        """Returns caches of stage results; none for an existing collection, since it may change."""
        if self.collection:
            return StageWrappers()
        return cached_stages(cache_, self.scope.collection, self.settings)

    def trial_caches(self, cache_: StageCache) -> StageWrappers:
        """Returns the same caches and those of intermediate results, e.g. to try other rerankers.

        The time that a question takes is then meaningless, so no run may use this.
        """
        embedded = key_of(code_fingerprint(*CODE), *_parts(self.settings, "embedder"))
        judging = self.settings.reranker.model_dump(mode="json", exclude=_AFTERWARDS)
        judged = key_of(_terms(self.scope.collection, self.settings), judging)
        return replace(
            self.stage_caches(cache_),
            embedder=lambda inner, _: CachedEmbedder(inner, cache_, fingerprint=embedded),
            reranker=lambda inner, _: CachedReranker(inner, cache_, fingerprint=judged),
        )

    @property
    def slug(self) -> str:
        """The set's name in a form for folder names."""
        return re.sub(r"[^a-z0-9]+", "-", self.corpus.name.lower()).strip("-")[:40] or "set"

    def _own_collection(self) -> str:
        parts = _parts(self.settings, "chunker", "embedder", "reader", "index")
        tokens = self.settings.reranker.model_dump().get("stored", False)
        key = key_of(self.corpus.documents_fingerprint, code_fingerprint(*CODE), tokens, *parts)
        return f"{self.slug}-{key[:16]}"


def _parts(settings: Settings, *names: str) -> list[object]:
    """Returns parts of the settings, without prices, which change no result."""
    return [getattr(settings, name).model_dump(mode="json", exclude=_PRICE) for name in names]


def _terms(collection: str, settings: Settings) -> str:
    """Returns a key of the documents and of the settings by which word rarity is computed."""
    return key_of(collection, settings.retrieval.lexical)


def cached_stages(cache_: StageCache, collection: str, settings: Settings) -> StageWrappers:
    """Returns caches of stage results over a set's own documents."""
    ranked = key_of(collection, *_parts(settings, "retrieval", "reranker"))
    read = _terms(collection, settings)
    return StageWrappers(
        retriever=lambda inner, index: CachedRetriever(inner, index, cache_, fingerprint=ranked),
        finder=lambda inner, _: CachedFinder(inner, cache_, fingerprint=read),
    )


def settings_for(settings: Settings, cache_: Path, collection: str | None = None) -> Settings:
    """Returns the settings of a run. It stores no answers, and deletes none given to users.

    Names of models in the registry are replaced by their folders, which say the version.

    Without a collection, it is over a set's own documents, and all of it is in the cache's folder:
    nothing of a set goes to servers that hold other documents.
    """
    settings = with_model_folders(settings)  # before `data_dir` is another
    online = settings.online.model_copy(update={"keep_days": 0})
    settings = settings.model_copy(update={"online": online})
    if collection:
        return settings
    own = {"catalog": SqliteSettings(), "index": EdgeSettings(), "queue": LocalQueueSettings()}
    return settings.model_copy(update={"data_dir": cache_ / "data", **own})
