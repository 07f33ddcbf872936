"""Measures rankings of documents by `ir_measures`, and writes them for `trec_eval`.

Chunks are retrieved, documents are judged: a document has the rank of its best chunk.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from eval.runs.run_folder import Outcome
from rag.errors import ConfigError

RUN_TAG = "plumbline"
PROVIDERS = ("pytrec_eval", "judged", "msmarco", "compat")
"""Providers of the measures. Of the others, some divide by 0 and some start a program each time."""
_SPACE = re.compile(r"\s")


def ranking_measures(
    names: Sequence[str], gains: Mapping[str, int], documents: Iterable[str]
) -> dict[str, float]:
    """Computes measures of `ir_measures`, by name; none if a question has no judgements.

    Args:
        names: as `ranking_measure` returns them.
        gains: document id → gain, the question's judgements.
        documents: ids, best first.

    Raises:
        ConfigError: `ir_measures` is not installed.
    """
    if not names or not gains:
        return {}
    # The rank is the score: ir_measures would order equal scores its own way. A question that found
    # nothing is left out: its measures are then 0 by default, where `Judged` would divide by 0.
    scores = {document: -float(rank) for rank, document in enumerate(documents)}
    run = {"": scores} if scores else {}
    # One call a measure: of nDCG with and without gains in one call, each may be computed with the
    # other's, in an order that the hash seed decides (ir_measures 0.4.3).
    return {
        str(each.measure): float(each.value)
        for name in names
        for each in _provider().iter_calc([_parsed(name)], {"": dict(gains)}, run)
    }


def ranking_measure(name: str) -> str | None:
    """Returns a measure's name as `ir_measures` writes it; None if there is no such measure.

    Raises:
        ConfigError: `ir_measures` is not installed.
    """
    try:
        measure = _parsed(name)
        return str(measure) if _provider().supports(measure) else None
    except (ValueError, NameError, TypeError, AssertionError):  # ir_measures raises all of them
        return None


def ranking_names() -> list[str]:
    """Returns the names of all measures, without their cut-offs."""
    providers = _provider().providers
    return sorted({measure.NAME for each in providers for measure in each.SUPPORTED_MEASURES})


def to_trec(outcomes: Iterable[Outcome]) -> str:
    """Returns a run file of documents, as `trec_eval` and `ir_measures` read it.

    Its columns end at spaces: those in an id become `%20` and the like.
    """
    return "".join(line for outcome in outcomes for line in _trec_lines(outcome))


def _trec_lines(outcome: Outcome) -> Iterator[str]:
    ranked = outcome.documents
    for rank, document in enumerate(ranked, 1):
        # trec_eval orders by score alone, and equal ones by id: so the score is the rank, reversed.
        score = len(ranked) - rank + 1
        yield f"{_column(outcome.id)} Q0 {_column(document)} {rank} {score} {RUN_TAG}\n"


def _column(id_: str) -> str:
    return _SPACE.sub(lambda space: "".join(f"%{byte:02X}" for byte in space[0].encode()), id_)


@cache
def _parsed(name: str) -> Any:
    return _library().parse_measure(name)


@cache
def _provider() -> Any:
    library = _library()
    return library.providers.FallbackProvider([getattr(library, name) for name in PROVIDERS])


def _library() -> ModuleType:
    try:
        return importlib.import_module("ir_measures")
    except ImportError as error:
        raise ConfigError(
            "Rankings are measured with ir_measures, which is not installed:"
            " `pip install 'plumbline-rag[eval]'`."
        ) from error
