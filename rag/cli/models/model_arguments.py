"""The arguments of `rag models`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rag.cli.eval.arguments import count, span

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


KINDS = ("embedder", "reranker", "generator", "adapter", "entailment")


def add_models(
    commands: Commands, common: argparse.ArgumentParser, host: argparse.ArgumentParser
) -> None:
    """Adds `rag models`."""
    models = commands.add_parser("models", help="the registry of models; conversion to ONNX")
    tasks = models.add_subparsers(dest="task", required=True, metavar="TASK")
    _add_add(tasks, common)
    tasks.add_parser("list", parents=[common], help="list all models with their versions")
    verify = tasks.add_parser(
        "verify",
        parents=[common],
        help="compute the checksums of models again",
        description="Compares the checksums of all files with those recorded when the model was"
        " added. Exit code 1 if a file is missing, added or changed.",
    )
    verify.add_argument("name", nargs="?", metavar="NAME[@V]", help="one model (default: all)")
    warm = tasks.add_parser(
        "warm",
        parents=[common],
        help="load a model as the service would, and run a text through it",
    )
    warm.add_argument("name", metavar="NAME[@V]", help="without a version, the promoted one")
    _add_compare(tasks, host)
    promote = tasks.add_parser(
        "promote",
        parents=[common],
        help="make a version the one that registry:NAME means",
        description="Promotes a version that is verified and warmed. A quantized model must have"
        " passed a comparison with its reference.",
    )
    promote.add_argument("name", metavar="NAME")
    promote.add_argument("version", nargs="?", metavar="V")
    promote.add_argument("--back", action="store_true", help="the version promoted before")
    remove = tasks.add_parser("remove", parents=[common], help="forget a version; its folder stays")
    remove.add_argument("name", metavar="NAME@V")
    _add_convert(tasks, common)


def _add_add(tasks: Commands, common: argparse.ArgumentParser) -> None:
    add = tasks.add_parser(
        "add",
        parents=[common],
        help="add a version of a model",
        description="Records a model's folder with the SHA-256 of each file. The files stay where"
        " they are.",
    )
    add.add_argument("name", metavar="NAME")
    add.add_argument("folder", type=Path, metavar="FOLDER")
    add.add_argument("--version", required=True, metavar="V")
    add.add_argument("--kind", required=True, choices=KINDS)
    add.add_argument(
        "--quantized", action="store_true", help="it is, though its config.json does not say so"
    )


def _add_compare(tasks: Commands, host: argparse.ArgumentParser) -> None:
    compare = tasks.add_parser(
        "compare",
        parents=[host],
        help="compare a quantized generator with its reference",
        description="Compares perplexity, the score on a set of questions, and answers to one's own"
        " stored questions. Exit code 1 if the perplexity is more than 1 % higher or the score more"
        " than 2 % lower. The result is stored in the registry. It works on the data folder itself:"
        " no server may have it open.",
    )
    compare.add_argument("reference", metavar="REFERENCE", help="NAME[@V]")
    compare.add_argument("candidate", metavar="CANDIDATE", help="NAME[@V]")
    compare.add_argument(
        "--set", required=True, metavar="SET", help="of questions: a folder, .jsonl file, irds:NAME"
    )
    compare.add_argument(
        "--sample", type=count, metavar="N", help="so many of its questions, the same each time"
    )
    compare.add_argument(
        "--measure", choices=("correct", "contains_gold"), default="correct",
        help="the score (default: correct)",
    )  # fmt: skip
    compare.add_argument(
        "--texts", type=Path, metavar="FILE", help="one on each line; default: documents of the set"
    )
    compare.add_argument(
        "--collection", metavar="NAME", help="whose stored questions are asked (default: none are)"
    )
    compare.add_argument(
        "--questions", type=count, default=50, metavar="N", help="of them, at most (default: 50)"
    )
    compare.add_argument(
        "--since", type=span, default="30d", metavar="TIME", help="30m, 12h, 30d (default), 2w"
    )


def _add_convert(tasks: Commands, common: argparse.ArgumentParser) -> None:
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
