"""From nothing to the first answer, and the memory of each process of the service.

Measured: `rag serve` over the shipped examples, whose files are in the page cache: seconds from the
start of the process until `/readyz` says yes, and until the first `POST /v1/query` is answered. The
floor is what no such service can do without, started by itself: ONNX Runtime; a `CrossEncoder`
that has judged a pair; vLLM's own `LLM` that has written a token.

Then a document is ingested, so that the parser's process is there, and each process is read from
/proc: RSS, and PSS, in which a page that several have mapped is shared out among them. Beside them
stands a process that has imported ONNX Runtime and nothing else.

The cross-encoder has MiniLM's shape and the Llama is tiny; both have random weights.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil

from benchmarks._common import Report, p50
from benchmarks._models import MINILM, make_cross_encoder
from benchmarks._server import Server, examples, launched
from tests.tiny_llama import make_tiny_llama

ROUNDS = 3
QUESTION = {"query": "How long may a line of code be?"}
DOCUMENT = {"documents": [{"id": "start", "text": "A line may have 79 characters."}]}
IMPORT_ENGINE = "import onnxruntime, tokenizers"
JUDGE = (
    "from sentence_transformers import CrossEncoder;"
    "CrossEncoder({model!r}, device='cpu').predict([('a', 'b')])"
)
WRITE = (
    "from vllm import LLM, SamplingParams;"
    "LLM({model!r}, dtype='bfloat16', enforce_eager=True, kv_cache_memory_bytes=1 << 28)"
    ".generate('a', SamplingParams(max_tokens=1), use_tqdm=False)"
)
SMAPS = "import pathlib, onnxruntime; print(pathlib.Path('/proc/self/smaps_rollup').read_text())"
RERANKED = """
[reranker]
kind = "cross_encoder"
model = {model}
device = "cpu"
"""
WRITTEN = """
[generator]
kind = "vllm"
model = {model}
max_tokens = 32
[generator.engine]
dtype = "bfloat16"
enforce_eager = true
kv_cache_memory_bytes = 268435456
"""


@dataclass(frozen=True, slots=True)
class _Profile:
    """A way to set the service up, and what it cannot do without, as a line of Python."""

    name: str
    config: str
    floor: str


@dataclass(frozen=True, slots=True)
class _Memory:
    """Of a process, in MiB."""

    rss: float
    pss: float


@dataclass(slots=True)
class _Times:
    """Seconds, round by round, and the memory of the last."""

    ready: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    memory: Mapping[str, _Memory] = field(default_factory=dict)


def run() -> Report:
    """Each profile and its floor by turns, after a round that fills the page cache."""
    report = Report()
    engine = _memory(subprocess.check_output([sys.executable, "-c", SMAPS], text=True))
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as name, examples() as env:
        for profile in _profiles(Path(name)):
            file = Path(name) / "rag.toml"
            file.write_text(profile.config, "utf-8")
            taken = _measure({**env, "RAG_CONFIG": str(file)}, profile.floor)
            _report(report, profile.name, taken)
    _report_memory(report, "import onnxruntime", engine)
    return report


def _profiles(folder: Path) -> list[_Profile]:
    judge = str(make_cross_encoder(folder / "judge", MINILM))
    profiles = [
        _Profile("default", "", IMPORT_ENGINE),
        _Profile(
            "cross-encoder", RERANKED.format(model=json.dumps(judge)), JUDGE.format(model=judge)
        ),
    ]
    if find_spec("vllm"):
        llama = str(make_tiny_llama(folder / "llama", context=4096))
        written = WRITTEN.format(model=json.dumps(llama))
        profiles.append(_Profile("vLLM", written, WRITE.format(model=llama)))
    return profiles


def _measure(env: Mapping[str, str], floor: str) -> _Times:
    times = _Times()
    for number in range(ROUNDS + 1):
        started = time.perf_counter()
        with launched(env) as server:
            server.wait_until_ready()
            ready = time.perf_counter() - started
            server.post("/v1/query", QUESTION)
            answered = time.perf_counter() - started
            times.memory = _processes(server)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", floor], check=True, capture_output=True)
        if number:
            times.ready.append(ready)
            times.answered.append(answered)
            times.floor.append(time.perf_counter() - started)
    return times


def _report(report: Report, name: str, times: _Times) -> None:
    floor = p50(times.floor)
    report.add(f"{name}: ready", p50(times.ready), unit="s", floor=floor)
    report.add(f"{name}: first answer", p50(times.answered), unit="s", floor=floor)
    for process, memory in sorted(times.memory.items()):
        _report_memory(report, f"{name}: {process}", memory)
    whole = sum(memory.pss for memory in times.memory.values())
    report.add(f"{name}: all, PSS", whole, unit="MiB")


def _report_memory(report: Report, name: str, memory: _Memory) -> None:
    report.add(f"{name}, RSS", memory.rss, unit="MiB")
    report.add(f"{name}, PSS", memory.pss, unit="MiB")


def _processes(server: Server) -> Mapping[str, _Memory]:
    """By name, once a document has been read."""
    job = server.post("/v1/documents", DOCUMENT)["job_id"]
    while server.get(f"/v1/jobs/{job}")["state"] in ("pending", "running"):
        time.sleep(0.05)
    service = psutil.Process(server.pid)
    memory = {"API": _memory_of(service)}
    for child in service.children(recursive=True):
        memory[_name(child)] = _memory_of(child)
    return memory


def _name(process: psutil.Process) -> str:
    command: list[str] = process.cmdline()
    if "rag.process.child_process" in command:
        return command[command.index("rag.process.child_process") + 1]
    name: str = process.name()
    return name if name.startswith("VLLM") else "resource tracker"


def _memory_of(process: psutil.Process) -> _Memory:
    return _memory(Path(f"/proc/{process.pid}/smaps_rollup").read_text())


def _memory(smaps: str) -> _Memory:
    kib = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB$", smaps, re.M)}
    return _Memory(rss=kib["Rss"] / 1024, pss=kib["Pss"] / 1024)
