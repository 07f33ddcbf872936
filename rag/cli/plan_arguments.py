"""The arguments of `rag plan`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_plan(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Adds `rag plan`."""
    plan = commands.add_parser(
        "plan",
        parents=[common],
        help="GPUs, memory, disk and money for a load",
        description="Computes what a load needs, from the shapes of a language model and a table of"
        " GPUs (capacity.gpus), and states every assumption. It opens nothing. Exit code 1 if no"
        " GPU of the table carries the load.",
    )
    plan.add_argument("--model", required=True, type=Path, metavar="PATH",
                      help="the model's folder, or its config.json")  # fmt: skip
    plan.add_argument("--qps", required=True, type=float, metavar="N", help="questions/s, at peak")
    plan.add_argument("--documents", required=True, type=int, metavar="N", help="documents")
    plan.add_argument("--document-tokens", type=int, default=1_000, metavar="N",
                      help="of a document (default: 1000)")  # fmt: skip
    plan.add_argument("--tokens-in", type=int, default=2_000, metavar="N",
                      help="of a prompt, passages included (default: 2000)")  # fmt: skip
    plan.add_argument("--tokens-out", type=int, default=250, metavar="N",
                      help="of an answer (default: 250)")  # fmt: skip
    plan.add_argument("--token-ms", type=float, default=50.0, metavar="MS",
                      help="between tokens, at most (default: 50)")  # fmt: skip
    plan.add_argument("--mean", type=float, default=0.33, metavar="SHARE",
                      help="mean load, of the peak (default: 0.33)")  # fmt: skip
    plan.add_argument("--gpu", action="append", metavar="NAME",
                      help="of capacity.gpus; repeatable (default: all)")  # fmt: skip
    plan.add_argument("--quantization", metavar="FORMAT",
                      help="of the weights: none, fp8, int8, int4, nvfp4, mxfp4 (default: as the"
                      " config says)")  # fmt: skip
    plan.add_argument("--kv-dtype", choices=("auto", "bf16", "fp8"), default="auto",
                      help="of the KV cache (default: as the model)")  # fmt: skip
    plan.add_argument("--dim", type=int, metavar="N", help="of the embedder's vectors")
    plan.add_argument("--measure", action="store_true",
                      help="plan with the rates of this machine, which are measured")  # fmt: skip
