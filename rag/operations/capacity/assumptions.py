"""The assumptions of a plan, each with its source."""

from __future__ import annotations

from collections.abc import Iterator

from rag.operations.capacity import index_size, scaling, serving
from rag.operations.capacity.load_plan import Plan
from rag.settings.capacity import EMBEDDER_TOKENS
from rag.settings.storage import EdgeSettings
from rag.settings.tree import Settings


def assumptions(plan: Plan, settings: Settings) -> list[str]:
    """Returns what the plan assumes, a sentence or two each."""
    assumed, load = settings.capacity, plan.load
    rate = f"{assumed.embedder_tokens:,.0f} tokens/s"
    found = [
        f"The mean load is {load.mean:.0%} of the peak; the peak takes {assumed.load:.0%} of the"
        " throughput (capacity.load), the rest is for bursts.",
        f"Decoding reaches {assumed.bandwidth_share:.0%} of the memory's bandwidth"
        f" (capacity.bandwidth_share), prompts {assumed.flops_share:.0%} of the dense arithmetic"
        " (capacity.flops_share). Databricks measured 50 to 60 % of the bandwidth"
        " (databricks.com/blog/llm-inference-performance-engineering-best-practices).",
        *_overheads(plan, settings),
        "Confidence: published times of a step on GPUs were 0.6 to 1.7 times the planned ones"
        " (docs/capacity.md). Measure your own.",
        f"The engine takes {assumed.memory_share:.0%} of the GPU's memory (capacity.memory_share;"
        f" vLLM's default), {serving.FIXED_BYTES / serving.GIB:g} GiB of it for CUDA and graphs,"
        f" and activations of {serving.STEP_TOKENS:,} tokens. A batch has at most"
        f" {serving.MOST_REQUESTS} requests (max_num_seqs).",
        "The matrices of a step and attention take their times one after the other, each bound by"
        " bytes or by arithmetic. Experts are chosen evenly and independently. Tokens of prompts"
        " that are in the prefix cache are read again in this plan.",
        f"Between GPUs of a machine an all-reduce takes {serving.ALL_REDUCE_SECONDS * 1e6:g} µs and"
        " its bytes. It was not measured.",
        "Embeddings, output and norms are not quantized; of MXFP4 checkpoints only experts are.",
        f"A chunk has {plan.chunk_tokens:.0f} tokens: {index_size.FILL:.0%} of chunker.max_tokens,"
        " as those of examples/peps.",
        f"One worker embeds {rate} with all cores, or the GPU, that it has"
        f" (capacity.embedder_tokens). The default, {EMBEDDER_TOKENS:,}, is that of MiniLM and a"
        " worker with one core: 9,800 on an AMD EPYC with AVX512-VNNI (2026-11-30), some 15,000 on"
        " another machine (2026-11). Measure your own.",
        "One engine fewer than planned does not carry the peak: for the loss of a machine at the"
        " peak, add one.",
        f"Memory costs {assumed.memory_price:g} {assumed.currency} for a GiB and hour"
        " (capacity.memory_price; AWS m7g.large, us-east-1, June 2026), disk"
        f" {assumed.disk_price:g} for a GiB and month (capacity.disk_price; AWS gp3).",
        f"Waiting documents are to be ingested in {scaling.BACKLOG_SECONDS // 60} minutes; the"
        f" API gets another process at {scaling.CPU_USE:.0%} of its CPU.",
        f"An engine starts in {scaling.START_SECONDS:g} s and reads"
        f" {scaling.READ_BYTES / 1e9:g} GB/s of weights.",
    ]
    if isinstance(settings.index, EdgeSettings):
        found.append(
            "Index: the bytes of its files, measured by `python -m benchmarks.run plan`; the peak"
            " of the disk is a rebuild, which writes the new files beside the old."
        )
    else:
        found.append(
            "Index: Qdrant's rule, vectors and payload times 1.5, for each replica"
            " (qdrant.tech/documentation/guides/capacity-planning)."
        )
    if plan.best and plan.best.serving.gpu.price is not None:
        found.append(f"Price of {plan.best.gpu}: {plan.best.serving.gpu.priced}.")
    return found


def _overheads(plan: Plan, settings: Settings) -> Iterator[str]:
    """Yields the overheads of a step; kinds of GPUs that have the same are named together."""
    kinds: dict[tuple[float, float], list[str]] = {}
    for choice in plan.choices:
        kind = settings.capacity.gpus[choice.gpu]
        kinds.setdefault((kind.step_ms, kind.layer_ms), []).append(choice.gpu)
    for (step, layer), names in kinds.items():
        yield (
            f"A step on {', '.join(names)} takes {step:.3g} ms for scheduling, and {layer:.3g} ms"
            " for the launches of each layer (capacity.gpus.NAME.step_ms, layer_ms)."
        )
    yield (
        "The default overheads, 0.5 and 0.01 ms, are assumptions for vLLM with CUDA graphs and"
        " asynchronous scheduling. A step with 256 requests took 5 to 6 ms more without it, and was"
        " expected to take 0.2 to 0.3 ms with it (github.com/vllm-project/vllm/issues/10634). A"
        " layer takes some 0.1 ms without graphs on an H100 (computed from"
        " arxiv.org/abs/2605.30571)."
    )
