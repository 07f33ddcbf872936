"""`rag eval run` on real workers, a real broker and PostgreSQL; processes are killed by SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from eval.datasets.loading import load_set
from eval.offline.plan import Plan
from eval.offline.plan_json import plan_of, to_json
from eval.runs.run_folder import OUTCOMES, Run, read_run
from rag.cli.eval.run import run as eval_run
from rag.cli.main import _parser
from rag.errors import ConfigError, StorageError
from rag.process.folder_lock import own
from rag.settings.generation import OpenAIModelSettings, OpenAISettings, VllmSettings
from rag.settings.operations import MetricsSettings, OnlineSettings
from rag.settings.retrieval import LateInteractionSettings
from rag.settings.storage import CeleryQueueSettings
from rag.settings.tree import Settings, load_settings
from rag.types import DEFAULT_TENANT
from tests.eval.offline.test_offline import make_set
from tests.forked import Process
from tests.places import ROOT
from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.qdrant_grpc import grpc_port
from tests.redis_server import RedisServer, redis_server
from tests.servers import PATIENCE, RAG, environment, rag, serving, start, submit, wait_for
from workers.eval_answering import Answering
from workers.eval_dispatch import done_file

pytestmark = pytest.mark.anyio
HERE = ROOT
PACKAGES = ("rag", "ingest", "retrieval", "generation", "eval", "workers")


@dataclass
class Cluster:
    """A broker, a catalog, and a folder that all processes share."""

    folder: Path
    settings: dict[str, str]
    broker: RedisServer
    workers: list[Process] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def asked(self) -> list[Path]:
        """Returns the folders of runs in progress."""
        return [each for each in (self.data / "eval" / "asked").iterdir() if each.is_dir()]

    def copies(self) -> list[Path]:
        """The workers' copies of these folders."""
        return list((self.folder / "tmp").glob("plumbline-run-*"))

    def start_worker(self, *, command: Sequence[str] = (), **env: str) -> Process:
        (self.folder / "tmp").mkdir(exist_ok=True)
        settings = self.settings | {"TMPDIR": str(self.folder / "tmp")} | env
        log = self.folder / "worker.log"
        log.write_bytes(b"")
        worker = start("worker", data=self.data, log=log, env=settings, command=command)
        self.workers.append(worker)

        def ready() -> bool:
            assert worker.poll() is None, log.read_text()
            return "ready." in log.read_text()

        wait_for(ready)
        return worker

    @contextlib.contextmanager
    def worker(self, *, command: Sequence[str] = (), **env: str) -> Iterator[None]:
        """Runs a worker in the block; then sends SIGTERM and checks that it exits with 0."""
        worker = self.start_worker(command=command, **env)
        try:
            yield
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(PATIENCE) == 0, (self.folder / "worker.log").read_text()

    def evaluate(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return rag("eval", "run", *arguments, data=self.data, cwd=self.folder, env=self.settings)

    def lines(self, out: str) -> int:
        file = self.folder / out / OUTCOMES
        return file.read_bytes().count(b"\n") if file.exists() else 0


@contextlib.contextmanager
def cluster_of(
    folder: Path, postgres: PostgresServer, more: Mapping[str, str]
) -> Iterator[Cluster]:
    make_set(folder / "facts")
    with redis_server(folder / "redis") as broker:
        settings = {
            "RAG_CATALOG__KIND": "postgres",
            "RAG_CATALOG__URL": postgres.new_database(),
            "RAG_QUEUE__KIND": "celery",
            "RAG_QUEUE__BROKER_URL": broker.url,
        }
        made = Cluster(folder, settings | dict(more), broker)
        try:
            yield made
        finally:
            for worker in made.workers:
                worker.kill()
                worker.wait()


@pytest.fixture
def cluster(tmp_path: Path, postgres: PostgresServer) -> Iterator[Cluster]:
    # Plumbline, not Redis, returns the question of a killed worker to the queue.
    with cluster_of(tmp_path, postgres, {"RAG_QUEUE__VISIBILITY_SECONDS": "3600"}) as made:
        yield made


def found(run: Run) -> dict[str, tuple[object, ...]]:
    """Returns the fields of outcomes that do not depend on a question's batch, by question id."""
    return {o.id: (o.question, o.slices, o.answer, o.reason, o.measures) for o in run.outcomes}


def in_this_process(cluster: Cluster, out: str) -> dict[str, tuple[object, ...]]:
    """Returns the outcomes of a run of the same set without workers, in a separate data folder."""
    done = rag("eval", "run", "facts", "--out", out, data=cluster.folder / "own")
    assert done.returncode == 0, done.stderr
    return found(read_run(cluster.folder / out))


@contextlib.asynccontextmanager
async def under_way(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncio.Task[int]]:
    """Runs into `runs`, two questions at once; the block begins once five were asked."""
    monkeypatch.setattr("workers.eval_dispatch.LOST_SECONDS", -27.0)  # three seconds in all
    monkeypatch.chdir(cluster.folder)
    for name, value in environment(cluster.data, cluster.settings).items():
        monkeypatch.setenv(name, value)
    arguments = ["eval", "run", "facts", "--out", "runs", "--at-once", "2"]
    driving = asyncio.create_task(eval_run(_parser().parse_args(arguments), load_settings()))
    await asyncio.to_thread(cluster.start_worker)
    async with asyncio.timeout(PATIENCE):
        while cluster.lines("runs") < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE):
        yield driving


async def test_a_broker_that_starts_again_delays(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with under_way(cluster, monkeypatch) as driving:
        (worker,) = cluster.workers
        worker.kill()  # on SIGTERM it could finish all its questions
        worker.wait()
        cluster.broker.kill()
        while "Questions wait for the broker" not in caplog.text:
            assert not driving.done()
            await asyncio.sleep(0.01)
        await asyncio.to_thread(cluster.broker.start)
        await asyncio.to_thread(cluster.start_worker)
        assert await driving == 0
    assert cluster.lines("runs") == 25
    assert caplog.text.count("Questions wait for the broker") == 1


async def test_a_run_whose_folder_is_gone_ends(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with under_way(cluster, monkeypatch) as driving:
        (worker,) = cluster.workers
        worker.kill()
        worker.wait()
        for folder in cluster.asked():
            shutil.rmtree(folder)
        with pytest.raises(StorageError, match="Run the same command again"):
            await driving


async def test_a_worker_that_is_killed_loses_no_question_and_doubles_none(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with under_way(cluster, monkeypatch) as driving:
        (worker,) = cluster.workers
        worker.kill()
        worker.wait()
        before = cluster.lines("runs")
        await asyncio.sleep(1)
        assert before <= cluster.lines("runs") <= before + 2 < 25
        worker = await asyncio.to_thread(cluster.start_worker)
        assert await driving == 0
    capsys.readouterr()
    assert cluster.lines("runs") == 25
    assert not cluster.asked()
    assert found(read_run(cluster.folder / "runs")) == in_this_process(cluster, "own-run")
    # The second worker removed its copy; the first was killed and left its copy.
    wait_for(lambda: len(cluster.copies()) == 1 or None)
    worker.terminate()
    assert worker.wait(PATIENCE) == 0


def test_a_run_that_is_killed_goes_on_and_other_settings_use_what_was_kept(
    cluster: Cluster,
) -> None:
    port = free_port()
    with cluster.worker(RAG_QUEUE__METRICS_PORT=str(port)):
        driver = start(
            *("eval", "run", "facts", "--out", "runs", "--at-once", "2"),
            data=cluster.data,
            log=cluster.folder / "driver.log",
            env=cluster.settings,
        )
        wait_for(lambda: cluster.lines("runs") >= 5)
        driver.kill()
        driver.wait()
        assert len(cluster.asked()) == 1
        before = (cluster.folder / "runs" / OUTCOMES).read_text()
        done = cluster.evaluate("facts", "--out", "runs")
        assert done.returncode == 0, done.stderr
        assert not cluster.asked()
        written = (cluster.folder / "runs" / OUTCOMES).read_text()
        assert written.startswith(before[: before.rfind("\n") + 1])
        assert sorted(json.loads(line)["id"] for line in written.splitlines()) == [
            outcome.id for outcome in read_run(cluster.folder / "runs").outcomes
        ]
        other = cluster.folder / "other.toml"
        other.write_text("[generator]\nthreshold = 0.9\n")
        done = cluster.evaluate("facts", "--out", "other", "--config", other, "--scores")
        assert done.returncode == 0, done.stderr
        outcomes = read_run(cluster.folder / "other").outcomes
        assert not {"embed", "search"} & {stage for o in outcomes for stage in o.timings}
        assert sum(not o.answer for o in outcomes) > sum(
            not o.answer for o in read_run(cluster.folder / "runs").outcomes
        )
        assert all("context_relevance" in o.measures for o in outcomes if o.answer)
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        counted = re.findall(r"^plumbline_questions_total\{.+\} (\S+)$", metrics, re.MULTILINE)
        assert set(counted) == {"0.0"}  # it is no live traffic
    assert found(read_run(cluster.folder / "runs")) == in_this_process(cluster, "own-run")


def test_a_worker_of_another_version_refuses_and_says_why(cluster: Cluster) -> None:
    code = cluster.folder / "code"
    for package in PACKAGES:
        shutil.copytree(HERE / package, code / package)
    with (code / "retrieval" / "fusion.py").open("a") as file:
        file.write("# another version\n")
    with cluster.worker(command=RAG, PYTHONPATH=str(code)):
        done = cluster.evaluate("facts", "--out", "runs")
    assert done.returncode == 1, done.stderr
    assert "A worker refuses: " in done.stderr
    assert "install the same on both" in done.stderr


def test_a_broker_that_is_away_is_told(cluster: Cluster) -> None:
    cluster.settings["RAG_QUEUE__BROKER_URL"] = "redis://127.0.0.1:1/0"
    done = cluster.evaluate("facts", "--out", "runs")
    assert done.returncode == 1
    assert "The broker does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_run_at_a_time_is_with_the_workers(cluster: Cluster) -> None:
    with own(cluster.data / "eval" / "asked"):
        done = cluster.evaluate("facts", "--out", "runs")
    assert done.returncode == 2
    assert "Another run is with the workers" in done.stderr


@pytest.fixture
async def qdrant() -> AsyncIterator[dict[str, str]]:
    async with grpc_port() as port:
        yield {
            "RAG_INDEX__KIND": "qdrant",
            "RAG_INDEX__URL": f"http://127.0.0.1:{port}",
            "RAG_INDEX__GRPC_PORT": str(port),
        }


async def test_a_collection_of_the_cluster_is_asked_by_workers(
    tmp_path: Path, postgres: PostgresServer, qdrant: dict[str, str]
) -> None:
    with cluster_of(tmp_path, postgres, qdrant) as cluster:
        await asyncio.to_thread(_ask_a_collection, cluster)  # the index is on this event loop


def _ask_a_collection(cluster: Cluster) -> None:
    evidence = {"document_id": "fela", "start": 0, "end": 4, "quote": "Fela"}
    question = {"id": "q", "question": "Who built the drum school?", "answer": "Fela"}
    row = {**question, "evidence": [evidence]}
    (cluster.folder / "live.jsonl").write_text(json.dumps(row) + "\n")
    text = "Fela built the drum school of Lagos."
    with cluster.worker(), serving(cluster.data, env=cluster.settings) as api:
        with api.client() as http:
            submit(http, {"id": "fela", "text": text}, collection="mine")
        done = cluster.evaluate("live.jsonl", "--collection", "mine", "--out", "runs")
        assert done.returncode == 0, done.stderr
    (outcome,) = read_run(cluster.folder / "runs").outcomes
    assert outcome.measures["contains_gold"] == 1
    assert not cluster.copies()


async def test_a_worker_has_one_run_open_and_closes_it_for_none_that_has_ended(
    tmp_path: Path,
) -> None:
    settings = Settings(data_dir=tmp_path / "data")  # which one service alone can open
    corpus = load_set(str(make_set(tmp_path / "facts")), settings.traces)
    question = corpus.questions[0].id
    runs = [tmp_path / name for name in ("one", "other")]
    for run in runs:
        (run / "done").mkdir(parents=True)
        plan = Plan(
            tenant=DEFAULT_TENANT,
            corpus=corpus,
            settings=settings,
            collection="none",
            name=run.name,
        )
        (run / "plan.json").write_text(json.dumps(to_json(plan)))
    answering = Answering(settings)
    async with answering.started():
        await asyncio.gather(*(answering.answer(str(run), question) for run in runs))
        for run in runs:
            outcome = json.loads(done_file(run, question).read_bytes())
            assert outcome["error"].startswith(
                "unknown_collection"
            )  # it was asked, and not refused
        await answering.answer(str(tmp_path / "ended"), question)
        with pytest.raises(ConfigError, match="belongs to process"):
            own(settings.data_dir).__enter__()


def keys(settings: Settings) -> list[SecretStr | None]:
    generator, judge = settings.generator, settings.online.judge
    assert isinstance(generator, OpenAISettings)
    assert isinstance(judge, OpenAIModelSettings)
    return [generator.api_key, judge.api_key]


def test_each_part_has_its_own_key_or_else_that_of_another_for_its_server(tmp_path: Path) -> None:
    def settings(key: str | None, judges_key: str | None) -> Settings:
        account = {"kind": "openai", "base_url": "http://models/v1", "model": "m"}
        return Settings(
            data_dir=tmp_path,
            generator=OpenAISettings(**account, api_key=key),
            online=OnlineSettings(judge=OpenAIModelSettings(**account, api_key=judges_key)),
        )

    def made(*told: str | None, own: tuple[str | None, str | None]) -> list[str | None]:
        plan = Plan(tenant=DEFAULT_TENANT, corpus=corpus, settings=settings(*told), name="x")
        found = keys(
            plan_of(json.loads(json.dumps(to_json(plan))), settings(*own), tmp_path).settings
        )
        return [key.get_secret_value() if key else None for key in found]

    corpus = load_set(str(make_set(tmp_path / "facts")), load_settings().traces)
    assert made("a", "b", own=("one", "two")) == ["one", "two"]
    assert made("a", "b", own=("one", None)) == ["one", "one"]
    assert made(None, "b", own=(None, "two")) == [None, "two"]


def test_what_an_engine_is_told_in_secret_is_the_workers_own(tmp_path: Path) -> None:
    def settings(**engine: str) -> Settings:
        generator = VllmSettings(kind="vllm", model="m", engine={"tokenizer": "t", **engine})
        return Settings(data_dir=tmp_path, generator=generator)

    corpus = load_set(str(make_set(tmp_path / "facts")), load_settings().traces)
    plan = Plan(
        tenant=DEFAULT_TENANT, corpus=corpus, settings=settings(hf_token="hf_driver"), name="x"
    )
    plan_json = json.loads(json.dumps(to_json(plan)))
    assert "hf_driver" not in f"{plan_json} {plan.info()}"
    made = plan_of(plan_json, settings(hf_token="hf_worker"), tmp_path).settings.generator
    assert isinstance(made, VllmSettings)
    assert made.engine == {"tokenizer": "t", "hf_token": "hf_worker"}
    with pytest.raises(ConfigError, match=r"no generator\.engine\.hf_token"):
        plan_of(plan_json, settings(), tmp_path)


def test_a_worker_counts_by_its_own_tenants_and_keeps_no_answers_of_a_run(tmp_path: Path) -> None:
    def settings(tenant: str) -> Settings:
        return Settings(data_dir=tmp_path, metrics=MetricsSettings(tenants=(tenant,)))

    corpus = load_set(str(make_set(tmp_path / "facts")), load_settings().traces)
    plan = Plan(
        tenant=DEFAULT_TENANT,
        corpus=corpus,
        settings=settings("driver"),
        collection="mine",
        name="x",
    )
    made = plan_of(json.loads(json.dumps(to_json(plan))), settings("worker"), tmp_path).settings
    assert made.metrics.tenants == ("worker",)
    assert made.online.keep_days == 0


def test_a_run_on_workers_may_be_gone_on_with_in_one_process(tmp_path: Path) -> None:
    corpus = load_set(str(make_set(tmp_path / "facts")), load_settings().traces)
    queue = CeleryQueueSettings(kind="celery", broker_url=SecretStr("redis://broker"))
    local, on_workers = (
        Plan(tenant=DEFAULT_TENANT, corpus=corpus, settings=settings, collection="mine", name="x")
        .info()
        .config
        for settings in (Settings(data_dir=tmp_path), Settings(data_dir=tmp_path, queue=queue))
    )
    assert local == on_workers


def test_a_plan_is_told_without_secrets_and_each_worker_has_its_own(tmp_path: Path) -> None:
    def settings(key: str, *, model: str, url: str = "http://user:pw@models/v1") -> Settings:
        account = {"kind": "openai", "base_url": url, "model": model, "api_key": key}
        return Settings(
            data_dir=tmp_path / model,
            generator=OpenAISettings(**account),
            online=OnlineSettings(judge=OpenAIModelSettings(**account)),
            reranker=LateInteractionSettings(depth=5),
        )

    corpus = load_set(str(make_set(tmp_path / "facts")), load_settings().traces)
    plan = Plan(
        tenant=DEFAULT_TENANT,
        corpus=corpus,
        settings=settings("sk-driver", model="new"),
        name="x",
    )
    plan_json = json.loads(json.dumps(to_json(plan)))
    assert "sk-driver" not in str(plan_json)
    assert "pw" not in json.dumps(plan_json["settings"]["generator"])
    made = plan_of(plan_json, settings("sk-worker", model="old"), tmp_path / "copy")
    assert made.settings.generator.model_dump() == {
        **plan.settings.generator.model_dump(), "api_key": SecretStr("sk-worker"),
    }  # fmt: skip
    assert keys(made.settings) == [SecretStr("sk-worker")] * 2
    assert made.settings.reranker == plan.settings.reranker
    assert made.settings.data_dir == tmp_path / "copy" / "data"
    assert made.settings.index.kind == "edge"
    assert (made.scope, made.name, made.started) == (plan.scope, plan.name, plan.started)
    assert [q.text for q in made.corpus.questions] == [q.text for q in corpus.questions]
    with pytest.raises(ConfigError, match="no key for http://models/v1"):
        plan_of(plan_json, settings("sk", model="old", url="http://elsewhere/v1"), tmp_path)
