"""Imports what the command `rag` imports; the processes of `tests.forked` are forked from here."""

import gc

from rag.process.blas import limit_threads

limit_threads()
gc.disable()  # as it would be needed for each process else: imports leave no garbage

# ruff: noqa: E402, F401 - NumPy reads the limits as it is loaded
import alembic.command
import alembic.config
import anyio._backends._asyncio
import asyncpg
import billiard.pool
import celery.app.amqp
import celery.app.control
import celery.app.log
import celery.apps.worker
import celery.concurrency.thread
import celery.events.receiver
import celery.fixups.django
import celery.worker.autoscale
import celery.worker.components
import celery.worker.consumer.delayed_delivery
import celery.worker.strategy
import charset_normalizer
import ir_measures
import kombu.transport.redis
import openai.resources.chat
import pytrec_eval
import redis.asyncio
import scipy.special
import sqlalchemy.ext.asyncio
import uvicorn.lifespan.on
import uvicorn.loops.uvloop
import uvicorn.protocols.websockets.auto

import generation.chat
import generation.extractive
import generation.fallback
import generation.grounding.shared_evidence
import generation.models.openai
import ingest.cleanup
import ingest.reader_process
import rag.api.app
import rag.api.batch_calls
import rag.build.gateway
import rag.build.health_checks
import rag.build.running
import rag.catalog.migrations.steps
import rag.cli.commands
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
import rag.cli.watch
import rag.gateway.buckets_redis
import rag.mcp.server
import rag.mcp.transports
import rag.operations.backup.owner_copies
import rag.operations.backup.staging
import retrieval.embedders.embedder
import retrieval.hybrid
import retrieval.indexes.edge
import retrieval.indexes.qdrant
import retrieval.rerankers.late_interaction
import tests.forked
import workers.batch_runner
import workers.redis_transport
import workers.worker

rag.api.app._all_routers()  # it imports the routes

gc.freeze()
gc.enable()
