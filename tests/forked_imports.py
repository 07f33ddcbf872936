"""Imports what the command `rag` imports; the processes of `tests.forked` are forked from here."""

import gc

from rag.process.blas import limit_threads

limit_threads()
gc.disable()  # as it would be needed for each process else: imports leave no garbage

# ruff: noqa: E402, F401 - NumPy reads the limits as it is loaded
import alembic.command

import generation.chat
import generation.fallback
import rag.build.running
import rag.cli.eval.compare
import rag.cli.eval.run
import rag.cli.in_process
import rag.cli.index
import rag.cli.ingest
import rag.cli.main
import rag.cli.mcp
import rag.cli.one_server
import rag.cli.reindex
import rag.cli.serve
import rag.mcp.server
import rag.mcp.transports
import retrieval.embedders.embedder
import retrieval.hybrid
import retrieval.indexes.edge
import tests.forked
import workers.worker

gc.freeze()
gc.enable()
