"""Searches for better settings on one half of a set; the other half measures the gain.

Trials are chosen by tree-structured Parzen estimators (Bergstra et al. 2011,
https://papers.nips.cc/paper/4443) and stopped early by successive halving (Li et al. 2020,
https://arxiv.org/abs/1810.05934): a trial is asked few questions first, and more if it is among
the best so far. Both are optuna's. The first trial has the current settings.

With the same seed and scores, a search takes the same course: if scores are cached, a search that
was stopped is resumed by searching again.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eval.datasets.corpus import Corpus, hash_of
from rag.errors import ConfigError, InputError
from rag.privacy.redaction import words
from rag.settings.tree import names

if TYPE_CHECKING:
    from optuna import Study, Trial

FIRST_RUNG = 96
"""Questions of a trial before it may be stopped: with fewer, good trials would be stopped."""
REDUCTION = 3
"""At a rung, one in this many trials goes on, with this many times the questions."""

Value = str | int | float | bool
Score = Callable[[int], Awaitable[Sequence[float]]]
"""Returns the scores of a trial on the first n questions; higher is better."""
Open = Callable[[Mapping[str, Value]], AbstractAsyncContextManager[Score]]
"""Opens a trial of settings; raises `ConfigError` if they are not compatible."""


class Range(BaseModel):
    """Numbers from `low` to `high`: by `step`, or with `log` evenly on a logarithmic scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    low: int | float
    high: int | float
    step: int | float | None = Field(None, gt=0)
    log: bool = False

    def has(self, value: float) -> bool:
        """True if the value is in the range."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        step = self.step or (1 if whole else 0)
        steps = (value - self.low) / step if step else 0
        return self.low <= value <= self.high and math.isclose(steps, round(steps), abs_tol=1e-8)

    @model_validator(mode="after")
    def _is_range(self) -> Range:
        if self.low >= self.high:
            raise ValueError("low is not below high")
        if self.log and (self.step is not None or self.low <= 0):
            raise ValueError("log needs a low above 0, and goes without a step")
        if (
            isinstance(self.low, int)
            and isinstance(self.high, int)
            and isinstance(self.step, float)
        ):
            raise ValueError("whole numbers have a whole step")  # noqa: TRY004 - pydantic's
        return self


class Space(BaseModel):
    """The search space, by the dotted names of settings: a range, or a list of values."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    settings: dict[str, Range | list[Value]] = Field(min_length=1)

    def suggest(self, trial: Trial, names: Iterable[str]) -> dict[str, Value]:
        """Returns one point of the space, limited to these settings."""
        return {name: _suggest(trial, name, self.settings[name]) for name in names}

    def has(self, name: str, value: Value) -> bool:
        """True if a setting's value is in the space."""
        choice = self.settings[name]
        if isinstance(choice, list):
            return value in choice
        return isinstance(value, int | float) and choice.has(value)


def read_space(file: Path) -> Space:
    """Reads a TOML file: `"chunker.max_tokens" = { low = 64, high = 256, step = 16 }`, or a list.

    Raises:
        InputError: The file cannot be read, names no setting, or has an invalid range.
    """
    try:
        content = tomllib.loads(file.read_text("utf-8"))
        space = Space(settings=content)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The space {file} cannot be read: {words(error)}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = " ".join(str(part) for part in first["loc"][1:]) or "the file"
        raise InputError(f"The space {file} does not fit: {name}: {first['msg']}.") from error
    for name, choice in space.settings.items():
        if name not in names():
            near = get_close_matches(name, names(), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"The space {file} names {name!r}, and there is no such setting.{hint}"
            )
        if choice == []:
            raise InputError(f"The space {file} has no value for {name!r}.")
    return space


def halves(corpus: Corpus) -> tuple[Corpus, Corpus]:
    """Splits the questions into those to search with and those to judge with, by document.

    Questions about one document stay together, or the second half would not be independent. Their
    order is by a hash, so that a rung is a sample of them.
    """
    shuffled = corpus.sample(len(corpus.questions))
    train = {q.id for q in corpus.questions if hash_of(_about(corpus, q.id)) % 2 == 0}
    return shuffled.only(train), shuffled.only({q.id for q in corpus.questions} - train)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A trial: its settings, and its score on each question.

    A stopped trial was asked fewer questions, or none (and scores NaN) if the settings are not
    compatible: `fault` says why.
    """

    settings: Mapping[str, Value]
    values: Sequence[float]
    stopped: bool
    fault: str = ""

    @property
    def score(self) -> float:
        """The mean over the questions."""
        return float(np.mean(self.values)) if self.values else math.nan


async def search(
    space: Space,
    opened: Open,
    *,
    questions: int,
    trials: int,
    seed: int,
    as_it_is: Mapping[str, Value],
    on_trial: Callable[[Tried], None],
) -> list[Tried]:
    """Runs the trials, and returns them in the order in which they were made.

    Args:
        space: the search space.
        opened: opens a trial.
        questions: the number of questions.
        trials: the number of points that are tried, including the first.
        seed: of the search.
        as_it_is: the current settings that are searched and set; they may lie outside the space.
        on_trial: called with each trial.

    Raises:
        ConfigError: optuna is not installed.
    """
    study = _study(seed)
    # Values outside the space are tried as well, but the sampler learns nothing from them.
    inside = {name: value for name, value in as_it_is.items() if space.has(name, value)}
    study.enqueue_trial(inside)
    made = []
    for number in range(trials):
        trial = study.ask()
        suggested = space.suggest(trial, space.settings if number else inside)
        tried = await _try(trial, suggested if number else as_it_is, opened, questions)
        state = _states()["stopped" if tried.stopped else "complete"]
        study.tell(trial, None if tried.stopped else tried.score, state=state)
        made.append(tried)
        on_trial(tried)
    return made


async def _try(trial: Trial, settings: Mapping[str, Value], opened: Open, questions: int) -> Tried:
    try:
        async with opened(settings) as score:
            for count in rungs(questions):
                values = await score(count)
                trial.report(float(np.mean(values)), count)
                if count < questions and trial.should_prune():
                    return Tried(settings=settings, values=values, stopped=True)
    except ConfigError as error:
        if trial.number == 0:
            raise
        return Tried(settings=settings, values=(), stopped=True, fault=str(error))
    return Tried(settings=settings, values=values, stopped=False)


def rungs(questions: int) -> Iterator[int]:
    """Yields the number of questions that a trial is asked at each rung; the last is all."""
    count = FIRST_RUNG
    while count < questions:
        yield count
        count *= REDUCTION
    yield questions


def best(tried: Sequence[Tried]) -> Tried:
    """Returns the best of the trials that were asked all questions, or the first trial.

    The first trial has the current settings. They stay if the best trial is above them by no more
    than the standard error of the difference: otherwise one of many trials would replace them by
    luck alone (the one-standard-error rule of Breiman et al. 1984, section 3.4.3).
    """
    whole = [each for each in tried if not each.stopped]
    highest = max(whole, key=lambda each: each.score)
    gains = np.array(highest.values) - np.array(tried[0].values)
    return highest if gains.mean() > gains.std() / math.sqrt(len(gains)) else tried[0]


def nested(settings: Mapping[str, Value]) -> dict[str, Any]:
    """Returns settings by dotted names as the tree that settings are made of."""
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return tree


def _study(seed: int) -> Study:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ConfigError(
            "`rag eval tune` needs the module 'optuna', which is not installed: run"
            " `pip install 'plumbline-rag[eval]'`."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8, multivariate=True),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=FIRST_RUNG, reduction_factor=REDUCTION
        ),
    )


def _states() -> dict[Literal["stopped", "complete"], Any]:
    from optuna.trial import TrialState

    return {"stopped": TrialState.PRUNED, "complete": TrialState.COMPLETE}


def _suggest(trial: Trial, name: str, choice: Range | list[Value]) -> Value:
    if isinstance(choice, list):
        return cast(Value, trial.suggest_categorical(name, choice))
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        step = 1 if choice.step is None else int(choice.step)
        return trial.suggest_int(name, choice.low, choice.high, step=step, log=choice.log)
    return trial.suggest_float(name, choice.low, choice.high, step=choice.step, log=choice.log)


def _about(corpus: Corpus, question_id: str) -> str:
    return min(corpus.qrels.get(question_id, {}), default=question_id)
