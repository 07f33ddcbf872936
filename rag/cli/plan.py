"""`rag plan`: what a load needs. It opens nothing."""

from __future__ import annotations

import argparse
from typing import Any

from rag.cli import output
from rag.errors import InputError
from rag.operations.capacity.assumptions import assumptions
from rag.operations.capacity.gpu_choice import Choice, Refusal
from rag.operations.capacity.load import Load
from rag.operations.capacity.load_plan import Plan, make_plan, weight_format
from rag.operations.capacity.reading import read_model
from rag.settings.retrieval import BertSettings
from rag.settings.tree import Settings

MINILM_DIM = 384


def plan(args: argparse.Namespace, settings: Settings) -> int:
    """Prints the plan for a load; with --measure, one that uses measurements of this machine."""
    model, load, dim = read_model(args.model), _load(args), _dim(args, settings)
    weights = weight_format(args.quantization)
    gpus = args.gpu or list(settings.capacity.gpus)
    measured = None
    if args.measure:
        from rag.cli.plan_measuring import measure

        measured = measure(settings, load, dim=dim)
        settings, gpus = measured.settings, [*gpus, *measured.gpus]
    found = make_plan(model, load, settings, gpus=gpus, weights=weights, kv=args.kv_dtype, dim=dim)
    stated = assumptions(found, settings)
    body: dict[str, Any] = found.as_json() | {"assumptions": stated}
    if measured:
        body["measured"] = measured.with_answer(found).as_json()
    output.show(body, lambda shown: _lines(shown, found, settings), as_json=args.json)
    return 0 if found.best else 1


def _load(args: argparse.Namespace) -> Load:
    return Load(
        qps=args.qps,
        documents=args.documents,
        document_tokens=args.document_tokens,
        tokens_in=args.tokens_in,
        tokens_out=args.tokens_out,
        token_ms=args.token_ms,
        mean=args.mean,
    )


def _dim(args: argparse.Namespace, settings: Settings) -> int:
    """Returns the length of a vector: --dim, or that of the default model."""
    if args.dim is not None:
        if not 0 < args.dim <= 65_536:  # noqa: PLR2004 - Qdrant's own bound
            raise InputError(f"--dim {args.dim} is no length of a vector: 1 to 65,536.")
        return int(args.dim)
    if isinstance(settings.embedder, BertSettings) and settings.embedder.model is None:
        return MINILM_DIM
    raise InputError("The embedder is not the default one: --dim says how long its vectors are.")


def _lines(body: output.Json, plan: Plan, settings: Settings) -> output.Lines:
    money = settings.capacity.currency
    model = plan.model
    yield (
        f"{model.name} ({model.model_type}): {model.parameters / 1e9:,.2f} billion parameters,"
        f" {model.active / 1e9:,.2f} active; weights in {_format(plan)},"
        f" {plan.kv_token:,.0f} bytes of KV cache for a token,"
        f" {_size(body['model']['kv_bytes_per_request'])} for a request of"
        f" {plan.load.tokens:,} tokens"
        + (f", and {_size(model.request_bytes())} of state." if model.request_bytes() else ".")
    )
    yield ""
    rows = [_HEADINGS, *(_row(each, plan) for each in plan.choices)]
    yield from output.table(rows, numbers=len(_HEADINGS) - 1)
    for choice in plan.choices:
        if isinstance(choice, Refusal):
            yield f"{choice.gpu}: {choice.reason}."
    yield ""
    yield from _pairs(body, plan, money)
    if "measured" in body:
        yield ""
        yield "Measured here:"
        yield from (f"  {line}" for line in body["measured"]["lines"])
    yield ""
    yield "Assumptions:"
    yield from (f"- {each}" for each in body["assumptions"])


def _format(plan: Plan) -> str:
    is_plain = plan.weights == "none"
    return f"{8 * plan.model.element_bytes} bits" if is_plain else plan.weights


_HEADINGS = ("GPU", "TP×PP", "engines", "GPUs", "weights/GPU", "KV/GPU", "batch", "ms/token",
             "prompt", "questions/s", "a month")  # fmt: skip


def _row(choice: Choice | Refusal, plan: Plan) -> tuple[str, ...]:
    if isinstance(choice, Refusal):
        return (choice.gpu, "no", *[""] * (len(_HEADINGS) - 2))
    serving, load = choice.serving, plan.load
    tokens = {"tokens_in": load.tokens_in, "tokens_out": load.tokens_out}
    mark = " *" if choice is plan.best else ""
    return (
        choice.gpu + mark,
        f"{serving.tensor}×{serving.pipeline}",
        f"{choice.engines:,}",
        f"{choice.gpus:,}",
        _size(serving.weight_bytes / serving.gpus),
        _size(serving.kv_room),
        f"{choice.batch}",
        f"{serving.token_seconds(choice.batch, **tokens) * 1e3:.1f}",
        f"{serving.prompt_seconds(load.tokens_in) * 1e3:,.0f} ms",
        f"{choice.rate:,.2f}",
        "" if choice.month is None else f"{choice.month:,.0f}",
    )


def _pairs(body: output.Json, plan: Plan, money: str) -> output.Lines:
    index = plan.index
    yield (
        f"index     {index.chunks:,} chunks: {_size(index.memory)} of memory,"
        f" {_size(index.mapped)} more for its files, {_size(index.disk)} of disk"
        f" ({_size(index.peak)} at the peak)"
    )
    yield (
        f"ingest    {plan.embedding_hours:,.1f} hours of embedding in one worker,"
        f" {index.graph_seconds / 3600:,.1f} hours for the graph"
    )
    if plan.best is None:
        yield "No GPU of the table carries this load."
        return
    if plan.month is not None:
        yield (
            f"cost      {plan.month:,.0f} {money} a month with {plan.best.gpu}, of which"
            f" {plan.index_month:,.0f} for the index; {body['question']:.5f} a question"
        )
    scaling = plan.scaling
    if scaling is None:
        return
    yield (
        f"scaling   {scaling.least} to {scaling.most} engines; one more from {scaling.running}"
        f" running or {scaling.waiting} waiting requests each, or {scaling.kv_use:.0%} of the KV"
        f" cache; starts in {scaling.start_seconds:.0f} s, cooldown {scaling.cooldown_seconds} s"
    )
    yield f"          one worker more from {scaling.backlog:,} waiting documents each"
    yield (
        f"budget    {plan.objectives.availability:.3%} over {plan.objectives.days} days:"
        f" {scaling.budget_minutes:,.1f} minutes, or {scaling.budget_questions:,} questions, may"
        " fail"
    )


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:  # noqa: PLR2004
            return f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB" if size < 10_240 else f"{size / 1024:,.1f} TiB"  # noqa: PLR2004
