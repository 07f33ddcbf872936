"""Imports what processes that use vLLM import; `tests.forked_vllm` forks them from here."""

import gc
import os
from multiprocessing import forkserver, resource_tracker

from rag.process.blas import limit_threads

limit_threads()
os.environ["OMP_NUM_THREADS"] = "1"  # as vLLM sets it for engines; torch reads it once
gc.disable()  # as it would be needed for each process else: imports leave no garbage

# ruff: noqa: E402, F401 - NumPy reads the limits as it is loaded
import tests.forked_imports

# isort: split
import generation.models.vllm

# isort: split
# `generation.models.vllm` sets the environment in which vLLM is loaded.
import setproctitle
import vllm.entrypoints.openai.api_server
import vllm.model_executor.models.llama
import vllm.v1.engine.core
import vllm.v1.engine.utils
import vllm.v1.executor.multiproc_executor
import vllm.v1.worker.cpu_worker

from tests import forked_vllm

setproctitle.getproctitle()  # it finds the place of titles only before the environment changes
forked_vllm.server = forkserver._forkserver
# It would be started again by each process that it has forked.
forked_vllm.server.ensure_running = resource_tracker.ensure_running  # type: ignore[method-assign]
for _module in (vllm.v1.engine.utils, vllm.v1.executor.multiproc_executor):
    _module.get_mp_context = forked_vllm.VllmContext

gc.freeze()
gc.enable()
