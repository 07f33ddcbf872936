"""The assumptions of a plan, each with its source."""

from __future__ import annotations

from rag.operations.capacity import index_size, scaling, serving
from rag.operations.capacity.load_plan import Plan
from rag.settings.storage import EdgeSettings
from rag.settings.tree import Settings


def assumptions(plan: Plan, settings: Settings) -> list[str]:
    """Returns what the plan assumes, a sentence or two each."""
    assumed, load = settings.capacity, plan.load
    rate = f"{assumed.embedder_tokens:,.0f} tokens/s"
    found = [
        f"The mean load is {load.mean:.0%} of the peak (--mean); the peak takes {assumed.load:.0%}"
        " of the throughput (capacity.load), the rest is for bursts.",
        f"Decoding reaches {assumed.bandwidth_share:.0%} of the memory's bandwidth"
        f" (capacity.bandwidth_share), prompts {assumed.flops_share:.0%} of the dense arithmetic"
        " (capacity.flops_share). Databricks measured 50 to 60 % of the bandwidth"
        " (databricks.com/blog/llm-inference-performance-engineering-best-practices). Measure your"
        " own.",
        f"The engine takes {assumed.memory_share:.0%} of the GPU's memory (capacity.memory_share;"
        f" vLLM's default), {serving.FIXED_BYTES / serving.GIB:g} GiB of it for CUDA and graphs,"
        f" and activations of {serving.STEP_TOKENS:,} tokens. A batch has at most"
        f" {serving.MOST_REQUESTS} requests (max_num_seqs).",
        "Tokens of prompts that are in the prefix cache are read again in this plan. Experts are"
        " chosen evenly and independently.",
        f"Between GPUs of a machine an all-reduce takes {serving.ALL_REDUCE_SECONDS * 1e6:g} µs and"
        f" its bytes; a step takes {serving.STEP_SECONDS * 1e3:g} ms for scheduling. Neither was"
        " measured on a GPU.",
        "Embeddings, output and norms are not quantized; of MXFP4 checkpoints only experts are.",
        f"A chunk has {plan.chunk_tokens:.0f} tokens: {index_size.FILL:.0%} of chunker.max_tokens,"
        " as those of examples/peps.",
        f"One process embeds {rate} (capacity.embedder_tokens; MiniLM on two CPU cores, alone):"
        " --measure measures it here.",
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
