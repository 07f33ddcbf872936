"""`rag eval run` and `tune` on small sets, in real processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
import subprocess
import time
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from eval.datasets.corpus import read_corpus
from eval.offline.tune import Score, Tried, Value, best, halves, nested, read_space, rungs, search
from eval.runs.run_folder import OUTCOMES, Run, RunFolder, read_run
from rag.catalog.answers import Answers
from rag.catalog.sqlite_database import SqliteDatabase
from rag.errors import InputError
from rag.records import LiveAnswer
from rag.types import Scope
from tests.model_server import model_server, says
from tests.otlp_server import otlp_server
from tests.rag.catalog.test_answers import given
from tests.servers import RAG, environment, rag, wait_for

FACTS = [
    ("Ada", "steam engine", "Leeds", 1801),
    ("Bela", "glass furnace", "Murano", 1512),
    ("Chen", "paper mill", "Xi'an", 1145),
    ("Dora", "lighthouse", "Kiel", 1874),
    ("Emil", "observatory", "Turku", 1834),
    ("Fela", "drum school", "Lagos", 1956),
    ("Gita", "seed bank", "Pune", 1991),
    ("Hugo", "wind pump", "Delft", 1623),
    ("Ines", "salt works", "Cadiz", 1709),
    ("Juna", "ice house", "Tromso", 1888),
    ("Karl", "clock tower", "Prague", 1410),
    ("Lena", "rope walk", "Riga", 1750),
]


PATIENT = {"RAG_RERANKER__SECONDS": "60"}
"""On a busy machine, too, no question is answered without its reranker."""


def make_set(folder: Path) -> Path:
    """A document and two questions for each fact, and one question that nothing answers."""
    folder.mkdir(parents=True)
    (folder / "qrels").mkdir()
    documents, questions, judgements = [], [], ["query-id\tcorpus-id\tscore"]
    for name, thing, place, year in FACTS:
        text = f"{name} built the {thing} of {place}. It was opened in {year}, after some delay."
        documents.append({"_id": name, "title": f"The {thing}", "text": text})
        for ask, answer in (
            (f"Who built the {thing} of {place}?", name),
            (f"When was the {thing} of {place} opened?", str(year)),
        ):
            id_ = f"{name}-{answer}"
            meta = {"answers": [answer], "answerable": True}
            questions.append({"_id": id_, "text": ask, "metadata": meta})
            judgements.append(f"{id_}\t{name}\t1")
    meta = {"answers": [], "answerable": False}
    questions.append({"_id": "none", "text": "Why do volcanoes erupt?", "metadata": meta})
    for name, rows in (("corpus.jsonl", documents), ("queries.jsonl", questions)):
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "qrels" / "test.tsv").write_text("\n".join(judgements) + "\n")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("offline")
    make_set(folder / "facts")
    return folder


def evaluate(
    home: Path, *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return rag("eval", *arguments, data=home / "data", cwd=home, env=env or PATIENT)


@pytest.fixture(scope="module")
def first(home: Path) -> Run:
    done = evaluate(home, "run", "facts", "--out", "first", "--json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    run = read_run(home / "first")
    assert body["measures"] == run.summary["measures"]
    return run


def test_a_run_has_all_of_a_set_measured(first: Run, home: Path) -> None:
    assert len(first.outcomes) == first.info.questions == 25
    assert not any(outcome.error for outcome in first.outcomes)
    measures = first.summary["measures"]
    assert measures["R@10"]["mean"] == 1
    assert "R@100" not in measures  # of ten hits
    assert measures["Success@1"]["mean"] > 0.9
    assert measures["contains_gold"]["mean"] > 0.9
    assert measures["contains_gold"]["n"] == 25
    who = {o.id: o for o in first.outcomes}["Ada-Ada"]
    assert who.citations[0].document_id == "Ada"
    assert who.slices["answerable"] == "yes"
    assert who.timings["search"] > 0
    assert {o.id: o.reason for o in first.outcomes}["none"] is not None
    assert len((home / "first" / "run.trec").read_text().splitlines()) >= 25
    assert first.info.config["generator"]["kind"] == "extractive"


def test_with_another_generator_nothing_is_embedded_and_nothing_searched(
    first: Run, home: Path
) -> None:
    env = {"RAG_GENERATOR__THRESHOLD": "0.9", **PATIENT}
    done = evaluate(home, "run", "facts", "--out", "second", env=env)
    assert done.returncode == 0, done.stderr
    run = read_run(home / "second")
    stages = Counter(stage for outcome in run.outcomes for stage in outcome.timings)
    assert stages["generate"] == 25
    assert not stages.keys() & {"embed", "encode", "search", "rerank", "fetch"}
    hits = [[hit.chunk_id for hit in o.hits] for o in first.outcomes]
    assert [[hit.chunk_id for hit in o.hits] for o in run.outcomes] == hits
    compared = evaluate(home, "compare", "first", "second", "--json")
    assert compared.returncode == 0, compared.stderr
    # Another reranker is another ranking: what was kept of the first is not taken for it.
    env = {"RAG_RERANKER__KIND": "none"}
    assert evaluate(home, "run", "facts", "--out", "third", env=env).returncode == 0
    searched = read_run(home / "third").outcomes
    assert all(outcome.timings["search"] > 0 for outcome in searched)


def test_what_was_killed_goes_on_and_asks_nothing_twice(home: Path, first: Run) -> None:
    out = home / "killed" / OUTCOMES
    command = [*RAG, "eval", "run", "facts", "--out", "killed", "--at-once", "1"]
    env = environment(home / "data", {"RAG_RETRIEVAL__DEPTH": "99"})
    with subprocess.Popen(command, cwd=home, env=env, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: out.exists() and out.read_text().count("\n") >= 5)
        process.kill()
    with pytest.raises(InputError, match="is not finished"):
        read_run(home / "killed")
    with out.open("a") as file:
        file.write('{"id": "half a li')  # as a power cut leaves it
    before = [json.loads(line)["id"] for line in out.read_text().splitlines()[:-1]]
    other = evaluate(home, "run", "facts", "--out", "killed")
    assert (other.returncode, "begun with another config" in other.stderr) == (2, True)
    env = {"RAG_RETRIEVAL__DEPTH": "99"}
    assert evaluate(home, "run", "facts", "--out", "killed", env=env).returncode == 0
    run = read_run(home / "killed")
    asked = [json.loads(line)["id"] for line in out.read_text().splitlines()]
    assert asked[: len(before)] == before
    assert sorted(asked) == [outcome.id for outcome in first.outcomes]
    assert run.info.finished
    again = evaluate(home, "run", "facts", "--out", "killed", env=env)
    assert (again.returncode, "is finished: name another folder" in again.stderr) == (2, True)


def test_several_sets_go_on_where_they_were_stopped(home: Path, first: Run) -> None:
    make_set(home / "more" / "other-facts")
    options = ("facts", "more/other-facts", "--out", "both", "--sample", "4")
    assert evaluate(home, "run", *options).returncode == 0
    again = evaluate(home, "run", *options)
    assert (again.returncode, again.stdout) == (0, "")
    assert read_run(home / "both" / "other-facts").info.questions == 4
    same = evaluate(home, "run", "facts", "facts", "--out", "x")
    assert (same.returncode, "have one name" in same.stderr) == (2, True)


def test_a_question_that_failed_is_asked_again(home: Path, first: Run) -> None:
    assert evaluate(home, "run", "facts", "--out", "failed", "--sample", "3").returncode == 0
    out = home / "failed"
    lines = [json.loads(line) for line in (out / OUTCOMES).read_text().splitlines()]
    lines[1] |= {"error": "upstream: away", "answer": "", "measures": {}}
    (out / OUTCOMES).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    info = json.loads((out / "run.json").read_text()) | {"finished": None}
    (out / "run.json").write_text(json.dumps(info))
    assert evaluate(home, "run", "facts", "--out", "failed", "--sample", "3").returncode == 0
    assert not any(outcome.error for outcome in read_run(out).outcomes)
    assert len((out / OUTCOMES).read_text().splitlines()) == 4


def test_a_run_is_written_by_one_process_at_a_time(home: Path, first: Run) -> None:
    with RunFolder(home / "held", first.info):
        second = evaluate(home, "run", "facts", "--out", "held")
    assert (second.returncode, "Another process writes the run" in second.stderr) == (2, True)
    assert not (home / "held" / OUTCOMES).read_text()


def test_a_sample_is_the_same_each_time_and_search_alone_has_no_answers(
    home: Path, first: Run
) -> None:
    for name in ("few", "few-again"):
        options = ("--sample", "7", "--search", "--top-k", "3", "--out", name)
        assert evaluate(home, "run", "facts", *options).returncode == 0
    few, again = read_run(home / "few"), read_run(home / "few-again")
    assert [o.id for o in few.outcomes] == [o.id for o in again.outcomes]
    assert len(few.outcomes) == 7
    assert all(len(o.hits) <= 3 and not o.answer for o in few.outcomes)
    measured = few.summary["measures"].keys()
    assert "RR" in measured
    assert not measured & {"f1", "abstained", "nDCG@10"}
    assert few.info.set_fingerprint != first.info.set_fingerprint


def test_the_measures_are_those_that_are_named(home: Path, first: Run) -> None:
    options = ("--sample", "7", "--out", "named", "--measures", "nDCG@5", "MRR", "contains_gold")
    assert evaluate(home, "run", "facts", *options).returncode == 0
    run = read_run(home / "named")
    assert list(run.summary["measures"]) == ["nDCG@5", "RR", "contains_gold"]
    assert run.summary["abstention"]["right"] > 0.8
    rules = '[[rule]]\nmeasure = "nDCG@5"\nfloor = 0.5\nallowed = 0.01\n'
    (home / "rules.toml").write_text(rules)
    gated = evaluate(home, "gate", "named", "--baseline", "named", "--rules", "rules.toml")
    assert gated.returncode == 0, gated.stderr
    info = json.loads((home / "named" / "run.json").read_text()) | {"finished": None}
    (home / "named" / "run.json").write_text(json.dumps(info))
    other = evaluate(home, "run", "facts", "--sample", "7", "--out", "named", "--measures", "RR")
    assert (other.returncode, "begun with another config" in other.stderr) == (2, True)


def test_a_set_without_documents_is_put_to_a_collection(home: Path, first: Run) -> None:
    rows = [
        {"id": "q", "question": "Who built the drum school?", "answer": "Fela",
         "evidence": [{"document_id": "FELA", "start": 0, "end": 4, "quote": "Fela"}]},
    ]  # fmt: skip
    (home / "live.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    alone = evaluate(home, "run", "live.jsonl", "--out", "live")
    assert (alone.returncode, "--collection" in alone.stderr) == (2, True)
    data = home / "own"
    (home / "fela.txt").write_text("Fela built the drum school of Lagos.")
    assert rag("ingest", home / "fela.txt", "--collection", "mine", data=data).returncode == 0
    options = ("--collection", "mine", "--out", home / "live")
    unknown = rag("eval", "run", home / "live.jsonl", *options, data=data)
    assert (unknown.returncode, "has no document 'FELA'" in unknown.stderr) == (2, True)
    listed = json.loads(rag("status", "--collection", "mine", "--json", data=data).stdout)
    (own,) = (document["id"] for document in listed["documents"])
    text = (home / "live.jsonl").read_text().replace("FELA", own)
    (home / "live.jsonl").write_text(text)
    scope = Scope(tenant="default", collection="mine")
    asyncio.run(keep(data, given("old", scope, at=time.time() - 40 * 24 * 3600)))
    done = rag("eval", "run", home / "live.jsonl", *options, data=data)
    assert done.returncode == 0, done.stderr
    (outcome,) = read_run(home / "live").outcomes
    assert outcome.measures["contains_gold"] == 1
    assert kept(data) == ["old"]  # older than online.keep_days: that is for a server to forget


async def keep(data: Path, answer: LiveAnswer) -> None:
    database = SqliteDatabase(data / "catalog.sqlite")
    await database.open()
    await Answers(database).keep([answer])
    await database.close()


def kept(data: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(data / "catalog.sqlite")) as db:
        return [id_ for (id_,) in db.execute("SELECT id FROM answers")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "nowhere", "--out", "x"), "nowhere"),
        (("run", "facts", "--out", "facts"), "is not empty, and holds no run"),
        (("compare", "facts", "facts"), "is no run"),
        (("tune", "facts", "--space", "none.toml", "--out", "x.toml"), "cannot be read"),
        (("run", "facts", "--out", "x", "--measures", "nDGC@5"), "did you mean 'nDCG"),
        (("run", "facts", "--out", "x", "--measures", "R@20"), "of 20 hits, and there are 10"),
        (("run", "facts", "--out", "x", "--search", "--measures", "f1"), "of answers"),
        (("run", "facts", "--out", "x", "--measures", "groundedness"), "--scores have it"),
    ],
)
def test_what_cannot_be_done_is_told(home: Path, arguments: tuple[str, ...], said: str) -> None:
    done = evaluate(home, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_tuning_finds_what_is_better_and_says_so_of_other_questions(home: Path, first: Run) -> None:
    (home / "space.toml").write_text('"reranker.kind" = ["none", "late_interaction"]\n')
    options = ("--space", "space.toml", "--trials", "3", "--out", "best.toml", "--json")
    done = evaluate(home, "tune", "facts", *options, env={"RAG_RERANKER__KIND": "none"})
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["trials"][0]["settings"] == {"reranker.kind": "none"}
    assert body["train"]["best"] >= body["train"]["now"]
    assert body["train"]["questions"] + body["held_out"]["questions"] >= 24
    written = (home / "best.toml").read_text()
    assert tomllib.loads(written) == nested(body["settings"])
    is_better = body["held_out"]["difference"] > 0
    assert body["settings"] == (body["best"] if is_better else body["trials"][0]["settings"])
    assert "held_out" in written


def test_settings_that_are_not_in_the_space_are_tried_first_as_they_are(
    home: Path, first: Run
) -> None:
    space = '"reranker.depth" = [2, 4]\n"generator.threshold" = [0.2, 0.4]\n'
    (home / "beside.toml").write_text(space)
    options = ("--space", "beside.toml", "--measure", "f1", "--trials", "3", "--out", "found.toml")
    done = evaluate(home, "tune", "facts", *options, "--json")
    assert done.returncode == 0, done.stderr
    now, *others = json.loads(done.stdout)["trials"]
    assert now["settings"] == {"reranker.depth": 8}  # and no threshold
    assert all(each["settings"]["reranker.depth"] in (2, 4) for each in others)
    assert all(each["settings"]["generator.threshold"] in (0.2, 0.4) for each in others)


def test_a_search_that_was_killed_goes_on_and_asks_nothing_twice(home: Path, first: Run) -> None:
    space = '"retrieval.rrf_k" = {low = 1, high = 90}\n"retrieval.weights.dense" = [0, 1, -1]\n'
    (home / "wide.toml").write_text(space)
    search = ("tune", "facts", "--space", "wide.toml", "--measure", "nDCG@5", "--trials", "8")
    options = (*search, "--json")

    def kept(cache: str) -> int:
        file = home / cache / "stages.sqlite"
        if not file.exists():
            return 0
        with contextlib.closing(sqlite3.connect(file, timeout=30)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master").fetchall():
                return 0
            count: int = db.execute("SELECT count(*) FROM stages").fetchone()[0]
            return count

    whole = evaluate(home, *options, "--cache", "whole", "--out", "whole.toml")
    assert whole.returncode == 0, whole.stderr
    command = [*RAG, "eval", *options, "--cache", "killed", "--out", "killed.toml"]
    with subprocess.Popen(command, cwd=home, env=environment(home / "data", PATIENT)) as process:
        wait_for(lambda: kept("killed") > kept("whole") // 2)
        process.kill()
    assert not (home / "killed.toml").exists()
    again = evaluate(home, *options, "--cache", "killed", "--out", "killed.toml")
    assert again.returncode == 0, again.stderr
    body, expected = json.loads(again.stdout), json.loads(whole.stdout)
    assert body["trials"] == expected["trials"]
    unfit = [t for t in body["trials"] if t["settings"]["retrieval.weights.dense"] == -1]
    assert unfit
    assert all(t["score"] is None and "retrieval.weights.dense" in t["fault"] for t in unfit)
    assert body["held_out"] == expected["held_out"]
    assert 0 < body["asked"] < expected["asked"]
    once_more = evaluate(home, *options, "--cache", "killed", "--out", "once-more.toml")
    assert json.loads(once_more.stdout)["asked"] == 0


def test_what_is_hardly_better_does_not_replace_the_settings_in_force() -> None:
    def tried(*values: float, stopped: bool = False) -> Tried:
        return Tried(settings={"retrieval.depth": len(values)}, values=values, stopped=stopped)

    now = tried(0.5, 0.5, 0.5, 0.5)
    lucky = tried(1.0, 0.5, 0.5, 0.3)
    better = tried(0.6, 0.7, 0.5, 0.7)
    assert best([now, lucky]) is now
    assert best([now, lucky, better, tried(1.0, stopped=True)]) is better
    assert best([now, tried(0.1, 0.1, 0.1, 0.1)]) is now


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ('"retrieval.dept" = [1]', "Did you mean 'retrieval.depth'"),
        ('"retrieval.depth" = []', "no value"),
        ('"retrieval.depth" = {low = 9, high = 3}', "low is not below high"),
        ('"retrieval.depth" = {low = 1, high = 3, log = true, step = 1}', "without a step"),
        ('"retrieval.depth" = {low = 1}', "high"),
        ('"retrieval.depth" = {low = 1, high = 9, step = 0.5}', "whole step"),
        ("", "does not fit"),
        ("x = [", "cannot be read"),
    ],
)
def test_a_space_that_is_none(tmp_path: Path, space: str, said: str) -> None:
    (tmp_path / "space.toml").write_text(space)
    with pytest.raises(InputError, match=said):
        read_space(tmp_path / "space.toml")


def test_what_a_space_has(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(
        '"retrieval.depth" = {low = 10, high = 30, step = 4}\n'
        '"retrieval.rrf_k" = {low = 1, high = 99}\n'
        '"retrieval.diversity" = {low = 0.1, high = 0.9}\n'
        '"reranker.seconds" = {low = 0.1, high = 1.0, step = 0.1}\n'
        '"reranker.combine" = ["sum", "rrf"]\n'
    )
    space = read_space(tmp_path / "space.toml")
    values: dict[str, tuple[Value, ...]] = {
        "retrieval.depth": (14, 16, 34),
        "retrieval.rrf_k": (99, 1.5, 0),
        "retrieval.diversity": (0.123, 0.0, "none"),
        "reranker.seconds": (0.7, 0.75, 2),
        "reranker.combine": ("rrf", "replace", 1),
    }
    for name, (inside, *outside) in values.items():
        assert space.has(name, inside)
        assert not any(space.has(name, value) for value in outside)


def test_questions_about_one_document_are_on_one_side(home: Path) -> None:
    corpus = read_corpus(home / "facts")
    train, held_out = halves(corpus)
    about = [{d for q in half.questions for d in half.qrels.get(q.id, {})}
             for half in (train, held_out)]  # fmt: skip
    assert not about[0] & about[1]
    assert len(train.questions) + len(held_out.questions) == 25
    assert train.documents_fingerprint == corpus.documents_fingerprint


def test_poor_trials_are_stopped_and_the_best_is_found(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text('"retrieval.depth" = {low = 1, high = 100}')
    asked: Counter[int] = Counter()

    @contextlib.asynccontextmanager
    async def opened(settings: Mapping[str, Value]) -> AsyncIterator[Score]:
        async def score(questions: int) -> list[float]:
            asked[questions] += 1
            return [-abs(float(settings["retrieval.depth"]) - 70)] * questions

        yield score

    reported: list[Tried] = []
    made = asyncio.run(
        search(
            read_space(tmp_path / "space.toml"),
            opened,
            questions=2000,
            trials=40,
            seed=1,
            as_it_is={"retrieval.depth": 5},
            on_trial=reported.append,
        )
    )
    assert reported == made
    assert made[0].settings == {"retrieval.depth": 5}
    assert abs(float(best(made).settings["retrieval.depth"]) - 70) <= 10
    assert asked[96] == 40 > asked[2000]
    assert list(rungs(2000)) == [96, 288, 864, 2000]
    assert sum(tried.stopped for tried in made) >= 15


def test_a_judge_scores_answers_and_its_failures_are_told(home: Path, first: Run) -> None:
    turns = itertools.cycle([says('{"groundedness": 5, "relevance": 3}'), says("Very nice!")])

    def by_turns(handler: BaseHTTPRequestHandler) -> None:
        next(turns)(handler)

    with model_server(by_turns) as judge:
        env = {
            "RAG_ONLINE__JUDGE__KIND": "openai",
            "RAG_ONLINE__JUDGE__BASE_URL": judge.base_url,
            "RAG_ONLINE__JUDGE__MODEL": "stern",
        }
        done = evaluate(home, "run", "facts", "--scores", "--out", "judged", env=env)
    assert done.returncode == 0, done.stderr
    assert "gave no scores: no such JSON" in done.stderr
    measures = read_run(home / "judged").summary["measures"]
    answered = sum(bool(outcome.answer) for outcome in first.outcomes)
    assert measures["judge_failed"]["n"] == answered == len(judge.requests)
    assert measures["judge_failed"]["mean"] == pytest.approx(0.5, abs=0.03)
    assert (measures["judge_groundedness"]["mean"], measures["judge_relevance"]["mean"]) == (1, 0.5)
    assert measures["groundedness"]["mean"] > 0.9


def test_of_trials_nothing_is_sent_even_where_they_fail(home: Path, first: Run) -> None:
    (home / "depth.toml").write_text('"retrieval.depth" = [50, 100]\n')
    options = ("--space", "depth.toml", "--measure", "f1", "--trials", "1", "--out", "d.toml")
    with otlp_server() as receiver:
        env = {
            "RAG_TRACES__OTLP_URL": receiver.url,
            "RAG_GENERATOR__KIND": "openai",
            "RAG_GENERATOR__BASE_URL": "http://127.0.0.1:1/v1",
            "RAG_GENERATOR__MODEL": "away",
        }
        done = evaluate(home, "tune", "facts", *options, "--cache", "untold", env=env)
        assert done.returncode == 0, done.stderr
        assert not receiver.bodies


def test_in_langfuse_a_run_is_an_experiment(home: Path, first: Run) -> None:
    with otlp_server() as receiver:
        env = {
            "RAG_TRACES__LANGFUSE_URL": receiver.url,
            "RAG_TRACES__PUBLIC_KEY": "pk-1",
            "RAG_TRACES__SECRET_KEY": "sk-1",
        }
        done = evaluate(home, "run", "facts", "--sample", "5", "--out", "traced", env=env)
        assert done.returncode == 0, done.stderr
        outcomes = read_run(home / "traced").outcomes
        roots = {o.id: receiver.trace(o.trace_id)["query"] for o in outcomes}
        experiments = {span.attributes["langfuse.experiment.id"] for span in roots.values()}
        assert len(experiments) == 1
        for outcome in outcomes:
            attributes = roots[outcome.id].attributes
            assert attributes["langfuse.experiment.name"] == "traced"
            assert attributes["langfuse.experiment.dataset.id"] == "facts"
            assert attributes["langfuse.experiment.item.id"] == outcome.id
            assert (
                attributes["langfuse.experiment.item.root_observation_id"] == roots[outcome.id].id
            )
            scores = receiver.scores_of(outcome.trace_id, *outcome.measures)
            assert {n: s["value"] for n, s in scores.items()} == pytest.approx(outcome.measures)
