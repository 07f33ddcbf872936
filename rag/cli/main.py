"""The command `rag`. It uses the REST API, of a server or of one in its own process.

Exit codes: 0 success; 1 something failed or was only partly done; 2 the request or the settings are
wrong; 3 answers have drifted. Heavy imports wait for the command that needs them: `rag --help`
answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import rag
from rag.cli.backup_arguments import add_backup, add_restore
from rag.cli.cache_arguments import add_cache
from rag.cli.eval.arguments import RUNS_TASKS, add_eval, span
from rag.cli.models.model_arguments import add_models
from rag.cli.operation_arguments import add_operations
from rag.cli.plan_arguments import add_plan
from rag.cli.printable import printable
from rag.cli.process_arguments import add_processes
from rag.cli.refusal_arguments import add_tokens
from rag.cli.rollout_arguments import add_rollout
from rag.cli.slo_arguments import add_slo
from rag.cli.tenant_arguments import add_audit, add_tenants

if TYPE_CHECKING:
    from datetime import datetime

    from rag.settings.tree import Settings

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    args = _parser().parse_args(argv)
    from rag.errors import ConfigError, InputError, RagError

    try:
        return _run(args)
    except RagError as error:
        _print_error(error.in_full(), code=error.code, as_json=args.json)
        return EXIT_USAGE if isinstance(error, InputError | ConfigError) else EXIT_FAILED
    except KeyboardInterrupt:
        _print_error("Stopped. What was accepted is kept and goes on at the next start.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader closed our output, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _run(args: argparse.Namespace) -> int:  # noqa: PLR0911 - one for each kind of command
    from rag.process.blas import limit_threads
    from rag.process.imports import importing, importing_for_command

    limit_threads()
    with importing():
        from rag.errors import InputError
        from rag.settings.tree import load_settings
    if args.command == "eval":
        return _evaluate(args)
    settings = load_settings()
    if args.command == "config":
        from rag.cli.config import config

        return config(settings, as_json=args.json)
    if args.command == "plan":
        from rag.cli.plan import plan

        return plan(args, settings)
    if args.command == "models":
        from rag.cli.models.dispatch import run as run_on_models

        return run_on_models(args, settings)
    from rag.process.private_folder import is_shared, limit_umask

    limit_umask(shared=is_shared(settings))
    if args.command == "serve":
        return _serve(args, settings)
    if args.command == "worker" and args.batches:
        if args.priority:
            raise InputError("--priority goes with documents, of which --batches takes none.")
        with importing():
            from rag.cli.batch_worker import work as answer_batches

        return answer_batches(settings)
    if args.command == "worker":
        from rag.build.queue_backends import broker_settings
        from rag.process.extras import needing

        with needing("cluster", for_="`rag worker`"):
            from workers.worker import work

        return work(settings, broker_settings(settings), stage=args.stage, priority=args.priority)
    if args.command == "chat":
        with importing():
            from rag.cli.chat import chat

        return chat(args, settings)
    with importing_for_command():
        import asyncio

        from rag.cli.commands import run

    return asyncio.run(run(args, settings))


def _evaluate(args: argparse.Namespace) -> int:
    if args.task in RUNS_TASKS:
        from rag.cli.eval.compare import run as run_on_runs

        return run_on_runs(args)
    import asyncio

    from rag.settings.tree import load_settings

    if file := getattr(args, "config", None):
        os.environ["RAG_CONFIG"] = str(file)
    settings = load_settings()
    if args.task == "run":
        from rag.cli.eval.run import run
    elif args.task == "tune":
        from rag.cli.eval.tune import run
    else:
        from rag.cli.eval.live import run
    return asyncio.run(run(args, settings))


def _serve(args: argparse.Namespace, settings: Settings) -> int:
    from rag.process.imports import importing

    with importing():
        from rag.cli.serve import serve

    host = args.host or settings.server.host
    port = settings.server.port if args.port is None else args.port
    return serve(settings, host=host, port=port)


def _print_error(message: str, *, code: str = "", as_json: bool = False) -> None:
    import json

    text = (
        json.dumps({"error": {"code": code, "message": message}}) if as_json else f"rag: {message}"
    )
    print(printable(text), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON, for programs")
    host = argparse.ArgumentParser(add_help=False, parents=[common])
    host.add_argument("--tenant", metavar="NAME", help="of this host's data (default: default)")
    within = argparse.ArgumentParser(add_help=False, parents=[host])
    within.add_argument("--collection", default="default", metavar="NAME", help="default: default")
    url = argparse.ArgumentParser(add_help=False)
    url.add_argument(
        "--url",
        default=os.environ.get("RAG_URL"),
        help="work through the server at this URL (default: RAG_URL), with the key RAG_API_KEY",
    )
    remote = argparse.ArgumentParser(add_help=False, parents=[within, url])
    asking = argparse.ArgumentParser(add_help=False, parents=[remote])
    asking.add_argument("--top-k", type=int, default=10, metavar="N", help="hits (default: 10)")
    asking.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="keep documents whose field fits: FIELD=VALUE, FIELD=A,B,C, FIELD>=VALUE, FIELD<VALUE",
    )
    question = argparse.ArgumentParser(add_help=False, parents=[asking])
    question.add_argument("question", nargs="+", help="a question, in quotes or not")

    parser = argparse.ArgumentParser(
        prog="rag",
        description="Documents in, grounded answers out: every citation is an exact span.",
        epilog="Settings come from ./rag.toml and RAG_… variables; `rag config` shows them.",
    )
    parser.add_argument("--version", action="version", version=f"plumbline-rag {rag.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_ingest(commands, remote)
    commands.add_parser("query", parents=[question], help="answer a question, with citations")
    commands.add_parser("search", parents=[question], help="find passages, without an answer")
    commands.add_parser("chat", parents=[asking], help="hold a conversation, with citations")
    _add_open(commands, common)
    _add_stored(commands, remote)
    _add_reindex(commands, within)
    _add_index(commands, within)
    _add_keys(commands, host, url)
    _add_usage(commands, host, url)
    add_tokens(commands, host, url)
    add_rollout(commands, host, url)
    add_slo(commands, common)
    commands.add_parser(
        "mcp",
        parents=[remote],
        help="serve one agent by MCP, on standard input and output",
        description="Serves the Model Context Protocol on standard input and output, for a client"
        " that starts this command. --collection is the one that tools use where they are told"
        " none.",
    )
    add_tenants(commands, common)
    add_audit(commands, common)
    add_backup(commands, common)
    add_restore(commands, common)
    add_models(commands, common, host)
    add_cache(commands, within)
    add_plan(commands, common)
    add_operations(commands, common, url)
    add_processes(commands, common)
    add_eval(commands.add_parser("eval", help="how good the answers are"), common, host, within)
    commands.add_parser("config", parents=[common], help="show the settings in force")
    return parser


def _add_ingest(commands: Commands, remote: argparse.ArgumentParser) -> None:
    ingest = commands.add_parser("ingest", parents=[remote], help="read documents and index them")
    ingest.add_argument(
        "paths", nargs="+", metavar="PATH", help="files, folders, globs, URLs; - for standard input"
    )
    ingest.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="GLOB",
        help="leave out what fits in folders: drafts, '*.log', 'archive/**/*.csv'; repeatable",
    )
    ingest.add_argument(
        "--acl",
        action="append",
        default=[],
        metavar="WORD",
        help="who may read them: user:NAME, group:NAME or public; repeatable",
    )
    mode = ingest.add_mutually_exclusive_group()
    mode.add_argument(
        "--sync", action="store_true", help="also remove documents whose files left the folders"
    )
    mode.add_argument(
        "--watch", action="store_true", help="--sync, then follow the folders until Ctrl-C"
    )


def _add_open(commands: Commands, common: argparse.ArgumentParser) -> None:
    open_ = commands.add_parser(
        "open",
        parents=[common],
        help="open the source of a citation",
        description="Opens the source of a passage that `rag query`, `rag chat` or `rag search` has"
        " last shown to this user, at its page. Files and web pages are opened where they are; of"
        " other sources, the copy that is kept.",
    )
    open_.add_argument("number", type=int, metavar="N", help="its number: 2 for [2]")
    open_.add_argument("--print", action="store_true", help="print its address, and open nothing")


def _add_stored(commands: Commands, remote: argparse.ArgumentParser) -> None:
    status = commands.add_parser("status", parents=[remote], help="what is stored, what failed")
    status.add_argument("document", nargs="?", help="one document's state (its id)")
    status.add_argument("--failed", action="store_true", help="what failed, and why, alone")
    delete = commands.add_parser(
        "delete", parents=[remote], help="remove documents, or a collection with --all"
    )
    delete.add_argument("--all", action="store_true", help="the collection with everything in it")
    delete.add_argument(
        "documents",
        nargs="*",
        metavar="DOCUMENT",
        help="ids as `rag status` lists them, paths or URLs",
    )


def _add_reindex(commands: Commands, within: argparse.ArgumentParser) -> None:
    reindex = commands.add_parser(
        "reindex",
        parents=[within],
        help="chunk and embed all documents again",
        description="Chunks and embeds all documents of a collection again, from their stored text,"
        " with the chunker and embedder of the settings. What is searched is switched once all of"
        " it is there and checked; the version before is kept for --rollback. With the embedded"
        " index it works on the data folder itself, and no server may have that open. An index on a"
        " Qdrant server stays in use meanwhile.",
    )
    reindex.add_argument(
        "--rollback", action="store_true", help="go back to the version before the last reindex"
    )


def _add_index(commands: Commands, within: argparse.ArgumentParser) -> None:
    index = commands.add_parser("index", help="look into what is stored")
    within_index = index.add_subparsers(dest="task", required=True, metavar="TASK")
    check = within_index.add_parser(
        "check",
        parents=[within],
        help="compare catalog and index, and measure recall",
        description="Compares what catalog and index say of each document of a collection, chunk by"
        " chunk, and measures recall@10 of vector search, without and with filters. Exit code 0"
        " where all agrees and no recall is below 0.95, 1 where not. It works on the data folder"
        " itself: no server may have it open.",
    )
    check.add_argument(
        "--repair", action="store_true", help="put them in step, from the stored text"
    )


def _add_keys(
    commands: Commands, host: argparse.ArgumentParser, url: argparse.ArgumentParser
) -> None:
    keys = commands.add_parser("keys", help="API keys: who may call the server")
    tasks = keys.add_subparsers(dest="task", required=True, metavar="TASK")
    both = [host, url]
    create = tasks.add_parser("create", parents=both, help="make a key; it is shown once")
    create.add_argument("name", help="what it is for")
    create.add_argument(
        "--scopes", type=_names, default=["ask", "read"], metavar="A,B",
        help="of ask, read, write, admin, metrics (default: ask,read)",
    )  # fmt: skip
    create.add_argument(
        "--collections", type=_names, metavar="A,B", help="no others (default: all)"
    )
    create.add_argument("--subject", metavar="NAME", help="the user who it stands for")
    create.add_argument("--groups", type=_names, metavar="A,B", help="the user's groups")
    create.add_argument("--expires", type=span, metavar="TIME", help="after 12h, 30d, 52w …")
    tasks.add_parser("list", parents=both, help="all keys, without their secrets")
    rotate = tasks.add_parser("rotate", parents=both, help="replace a key by a new one")
    rotate.add_argument("id", help="the part after pl_")
    rotate.add_argument(
        "--overlap", type=_overlap, default=86_400.0, metavar="TIME",
        help="the old one works so long: 30m, 12h, 1d (default), 2w; 0: no longer",
    )  # fmt: skip
    revoke = tasks.add_parser("revoke", parents=both, help="end a key")
    revoke.add_argument("id", help="the part after pl_")


def _add_usage(
    commands: Commands, host: argparse.ArgumentParser, url: argparse.ArgumentParser
) -> None:
    usage = commands.add_parser("usage", parents=[host, url], help="what was used, what it cost")
    usage.add_argument(
        "--by", type=_groups, default=["tenant", "model", "feature"], metavar="A,B",
        help="tenant, key, subject, model, feature, outcome, day (default: tenant,model,feature)",
    )  # fmt: skip
    usage.add_argument(
        "--since", type=_since, metavar="WHEN", help="2026-11-01, or 30d (default: this month)"
    )


def _groups(text: str) -> list[str]:
    from rag.cli.spending import groups

    return groups(text)


def _since(text: str) -> datetime:
    from rag.cli.spending import since

    return since(text)


def _overlap(text: str) -> float:
    return 0.0 if text == "0" else span(text)


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


if __name__ == "__main__":
    sys.exit(main())
