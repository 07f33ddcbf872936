"""`rag models compare`: compares a quantized generator with its reference."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator

from eval.compare.model_gate import judge
from eval.datasets.loading import load_set
from rag.build.model_folders import registry_of
from rag.cli import output
from rag.cli.models.measuring import Trial, own_questions, texts_of
from rag.cli.models.warm import generator_settings
from rag.cli.own_folder import own_folder
from rag.cli.progress import activity
from rag.cli.scope import caller
from rag.model_registry.records import Comparison
from rag.model_registry.references import Reference, parse
from rag.model_registry.registry import Registry, find
from rag.model_registry.upkeep import now
from rag.process.private_folder import EVAL
from rag.settings.tree import Settings
from rag.types import Scope


async def compare(args: argparse.Namespace, settings: Settings) -> int:
    """Compares two models, and stores the result; returns 1 if the candidate is worse.

    1. name both  2. choose questions and texts  3. measure both  4. judge, and store it
    """
    registry = registry_of(settings)
    reference, candidate = (_named(registry, n) for n in (args.reference, args.candidate))  # 1.
    folders = {each: registry.resolve(each, "generator") for each in (reference, candidate)}
    trial = await _trial(args, settings)  # 2.
    measured = []
    with own_folder("rag models compare", settings):
        for each, folder in folders.items():
            with activity(f"Measuring {each}", quiet=args.json):
                part = generator_settings(settings, each, folder)
                measured.append(await trial.measure_model(settings, part))  # 3.
    report = judge(*measured) | {"set": trial.corpus.name, "measure": args.measure}  # 4.
    comparison = Comparison(
        reference=str(reference),
        reference_digest=_digest(registry, reference),
        candidate_digest=_digest(registry, candidate),
        passed=not report["faults"],
        at=now(),
        report=report,
    )
    registry.update(candidate, comparison=comparison)
    body = {"candidate": str(candidate), **comparison.model_dump()}
    output.show(body, _lines, as_json=args.json)
    return int(not comparison.passed)


def _named(registry: Registry, text: str) -> Reference:
    reference = parse(text)
    _, version = find(registry.read(), reference)
    return Reference(reference.name, version)


def _digest(registry: Registry, reference: Reference) -> str:
    model, version = find(registry.read(), reference)
    return model.versions[version].digest


async def _trial(args: argparse.Namespace, settings: Settings) -> Trial:
    tenant = caller(args).tenant
    corpus = await asyncio.to_thread(load_set, args.set, settings.traces)
    scope = Scope(tenant=tenant, collection=args.collection or "")
    own = (
        await own_questions(settings, scope, since=args.since, most=args.questions)
        if args.collection
        else []
    )
    return Trial(
        corpus=corpus.sample(args.sample) if args.sample else corpus,
        measure=args.measure,
        texts=texts_of(args.texts, corpus),
        own=own,
        scope=scope,
        cache=settings.data_dir / EVAL,
    )


def _lines(body: output.Json) -> Iterator[str]:
    report = body["report"]
    perplexity, score, answers = (report[name] for name in ("perplexity", "score", "answers"))
    yield f"{body['candidate']} beside {body['reference']}"
    yield (
        f"  perplexity  {perplexity['candidate']:.4f}, and {perplexity['reference']:.4f}"
        f" ({perplexity['rise']:+.2%}; {perplexity['tokens']:,} tokens)"
    )
    yield (
        f"  {report['measure']:<11} {score['candidate']:.4f}, and {score['reference']:.4f}"
        f" ({score['questions']:,} questions of {report['set']})"
    )
    if answers["questions"]:
        yield (
            f"  own answers {answers['equal']:.0%} equal, similarity {answers['similarity']:.2f},"
            f" {answers['citations']:.0%} with equal citations ({answers['questions']:,} questions)"
        )
    else:
        yield "  own answers not compared: --collection names a collection with stored questions"
    for fault in report["faults"]:
        yield f"It is worse: {fault}."
    if body["passed"]:
        yield f"It may be promoted: `rag models promote {body['candidate'].replace('@', ' ')}`."
