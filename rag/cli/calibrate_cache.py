"""`rag cache calibrate`: fits the threshold of the answer cache to one's own questions."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from eval.calibration.similarity import LEAST_HITS, MOST_FALSE, Fitted, Pair, fit
from eval.datasets.loading import load_set
from rag.build.embedding import loading_embedder
from rag.build.storage import open_answers
from rag.cli import output
from rag.cli.progress import activity
from rag.cli.scope import scope_of
from rag.errors import InputError, StorageError
from rag.settings.tree import Settings

SHOWN = 10
"""Pairs of one's own questions that are shown, to be read."""
EXIT_NOT_FITTED = 1


async def cache(args: argparse.Namespace, settings: Settings) -> int:
    """Fits the threshold; returns 0, or `EXIT_NOT_FITTED` if none holds the bounds."""
    questions = await _questions(args, settings)
    if not questions:
        raise InputError(
            "There are no questions: none were answered in this time, or their words are not kept"
            " (online.keep_days, privacy.capture). --set names a set of questions."
        )
    with activity("Calibrating", quiet=args.json):
        async with loading_embedder(settings.embedder) as embedder:
            fitted = await fit(questions, embedder)
    body = {
        "similarity": fitted.threshold,
        "questions": len(set(questions)),
        "rewordings": len(fitted.rewordings),
        "near_misses": len(fitted.near_misses),
        "curve": [asdict(point) for point in fitted.curve],
        "kinds": {
            name: [_of_kind(kind, pairs, fitted.threshold) for kind, pairs in _kinds(made)]
            for name, made in (
                ("rewordings", fitted.rewordings),
                ("near_misses", fitted.near_misses),
            )
        },
        "own": [asdict(pair) for pair in fitted.own],
    }
    output.show(body, lambda _: _lines(fitted), as_json=args.json)
    if args.plot:
        _draw(fitted, args.plot)
    return 0 if fitted.threshold is not None else EXIT_NOT_FITTED


async def _questions(args: argparse.Namespace, settings: Settings) -> list[str]:
    if args.set is not None:
        return [question.text for question in load_set(args.set, settings.traces).questions]
    scope, now = scope_of(args), time.time()
    async with open_answers(settings) as (catalog, answers):
        await catalog.collections.check_exists(scope)
        given = await answers.given(scope, now - args.since, now)
    return [answer.content["question"] for answer in given if answer.content]


def _of_kind(kind: str, pairs: Sequence[Pair], threshold: float | None) -> output.Json:
    """Returns a kind of pairs: how many there are, and the share that hits at the threshold."""
    hits = sum(pair.hits(threshold or 1.0) for pair in pairs)
    return {"kind": kind, "pairs": len(pairs), "hits": hits / len(pairs)}


def _kinds(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    by_kind: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_kind[pair.kind].append(pair)
    return sorted(by_kind.items())


def _lines(fitted: Fitted) -> Iterator[str]:
    yield (
        f"{len(fitted.rewordings)} rewordings and {len(fitted.near_misses)} near misses of these"
        " questions:"
    )
    yield "threshold   hits   false hits   at most   by the vector alone: hits   false hits"
    for point in fitted.curve:
        alone = point.by_vector_alone
        yield (
            f"{point.threshold:9.2f} {point.hits:6.1%} {point.false_hits:12.2%}"
            f" {point.highest:9.2%} {alone[0]:27.1%} {alone[1]:12.2%}"
        )
    for name, made in (("rewordings", fitted.rewordings), ("near misses", fitted.near_misses)):
        yield f"{name} by kind, and the share that hits:"
        for kind, pairs in _kinds(made):
            share = _of_kind(kind, pairs, fitted.threshold)["hits"]
            yield f"  {kind}: {share:.1%} of {len(pairs)}"
    if fitted.own:
        yield "Questions of yours that would share an answer. Read them: do they ask the same?"
    for pair in fitted.own[:SHOWN]:
        yield f"  {pair.cosine:.2f}  {pair.question}  |  {pair.other}"
    if fitted.threshold is None:
        yield (
            f"No threshold holds false hits at most {MOST_FALSE:.1%} with certainty and hits at"
            f" least {LEAST_HITS:.0%}. With more questions, the interval is narrower; until then,"
            " leave answer_cache.similarity out."
        )
    else:
        yield "For rag.toml:"
        yield "  [answer_cache]"
        yield f"  similarity = {fitted.threshold}"


def _draw(fitted: Fitted, path: Path) -> None:
    from eval.calibration.plots import draw_similarity

    try:
        draw_similarity(path, fitted.curve, threshold=fitted.threshold)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error
