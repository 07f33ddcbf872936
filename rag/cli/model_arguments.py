"""The arguments of `rag models`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_models(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Adds `rag models`."""
    models = commands.add_parser("models", help="convert models for ONNX Runtime")
    tasks = models.add_subparsers(dest="task", required=True, metavar="TASK")
    convert = tasks.add_parser(
        "convert",
        parents=[common],
        help="write a model of sentence-transformers as an ONNX graph",
        description="Writes a BERT model of sentence-transformers as a folder for"
        ' embedder.kind = "onnx", and compares its vectors with those of sentence-transformers. In'
        " int8, nDCG@10 of vector search over a set may be 0.005 lower than in float32, or nothing"
        " is written.",
    )
    convert.add_argument(
        "folder", type=Path, metavar="FOLDER", help="saved by sentence-transformers"
    )
    convert.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    convert.add_argument("--int8", action="store_true", help="with weights of one byte")
    convert.add_argument(
        "--set", metavar="SET", help="with --int8: a folder, .jsonl file or irds:NAME to measure it"
    )
