from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.compare.attribution import STAGES, Cause, attribute
from eval.compare.comparison import Comparison, Row, compare
from eval.compare.formatting import clipped, code
from eval.compare.text import to_markdown, to_text
from eval.runs.run_folder import Cited, Outcome, read_run
from rag.errors import InputError
from tests.eval_runs import hits, outcome, seeded, write_run
from tests.servers import RAG, rag


def compared(tmp_path: Path, *runs: list[Outcome], **options: Any) -> list[Comparison]:
    folders = [write_run(tmp_path / f"run-{i}", run) for i, run in enumerate(runs)]
    return compare([read_run(folder) for folder in folders], **options)


def rows(comparison: Comparison) -> dict[str, Row]:
    return {row.measure: row for row in comparison.rows}


class TestMeasures:
    def test_a_planted_difference_is_found_and_no_other(self, tmp_path: Path) -> None:
        (found,) = compared(tmp_path, seeded(1), seeded(2, f1=0.08))
        assert {row.measure: row.verdict for row in found.rows if row.verdict} == {"f1": "better"}
        row = rows(found)["f1"]
        assert row.interval.low <= row.difference <= row.interval.high
        assert row.wins + row.ties + row.losses == row.questions == 240

    def test_less_is_better_of_what_is_spent(self, tmp_path: Path) -> None:
        (found,) = compared(tmp_path, seeded(1), seeded(1, slower=2.0))
        assert rows(found)["seconds"].verdict == "worse"
        assert rows(found)["seconds"].losses == 240

    def test_what_is_the_same_is_not_tested(self, tmp_path: Path) -> None:
        (found,) = compared(tmp_path, seeded(1), seeded(1))
        assert all(row.p is None and row.ties == row.questions for row in found.rows)
        assert "No difference that could not be chance." in list(to_text(found))
        assert not found.changes

    def test_every_run_is_held_against_the_first(self, tmp_path: Path) -> None:
        found = compared(tmp_path, seeded(1), seeded(1), seeded(1, f1=-0.1))
        assert [each.candidate for each in found] == ["run-1", "run-2"]
        assert [rows(each)["f1"].verdict for each in found] == ["", "worse"]

    def test_to_decline_more_often_is_neither_better_nor_worse(self, tmp_path: Path) -> None:
        answers = [outcome(f"q{i}", measures={"f1": 1.0, "abstained": 0.0}) for i in range(20)]
        declined = [replace(each, measures={"f1": 1.0, "abstained": 1.0}) for each in answers]
        (found,) = compared(tmp_path, answers, declined)
        assert rows(found)["abstained"].verdict == "other"
        assert "Other: abstained." in list(to_text(found))

    def test_a_question_without_a_say_is_left_out(self, tmp_path: Path) -> None:
        before = [outcome("a"), outcome("b", measures={"f1": 0.0})]
        (found,) = compared(tmp_path, before, before)
        assert {name: row.questions for name, row in rows(found).items()} == {
            "RR": 1,
            "f1": 2,
            "seconds": 2,
        }

    def test_a_run_gains_nothing_by_failing(self, tmp_path: Path) -> None:
        before = [outcome("easy", measures={"f1": 0.9}), outcome("hard", measures={"f1": 0.1})]
        lost = Outcome(
            id="hard", question="?", slices={}, timings={}, measures={}, error="no answer in time"
        )
        (found,) = compared(tmp_path, before, [before[0], lost])
        assert rows(found)["f1"].candidate == 0.45
        assert rows(found)["failed"].losses == 1
        assert rows(found)["seconds"].questions == 1
        assert found.changes[0].cause == Cause("failure", "answered → failed")


class TestAttribution:
    better = outcome("q", measures={"RR": 1.0, "f1": 1.0})

    @pytest.mark.parametrize(
        ("fields", "cause"),
        [
            ({"error": "late"}, Cause("failure", "answered → failed")),
            (
                {"measures": {"RR": 0.0}},
                Cause("retrieval", "first relevant document: at 1 → nowhere"),
            ),
            ({"measures": {"RR": 0.25}}, Cause("ranking", "first relevant document: at 1 → at 4")),
            ({"hits": hits("a", "c")}, Cause("passages", "the same answer")),
            ({"answer": "Other."}, Cause("generation", "another answer")),
            ({"answer": "", "reason": "no_match"}, Cause("generation", "answered → declined")),
            (
                {"citations": (Cited(document_id="d", start=0, end=1, support=1.0),)},
                Cause("generation", "other citations"),
            ),
            ({}, Cause("generation", "the same answer")),
        ],
    )
    def test_the_first_stage_that_fell_behind_is_named(
        self, fields: dict[str, Any], cause: Cause
    ) -> None:
        worse = replace(self.better, **{"measures": {"RR": 1.0, "f1": 0.0}} | fields)
        assert attribute(self.better, worse, gained=False) == cause
        assert attribute(worse, self.better, gained=True).stage == cause.stage

    def test_what_went_better_is_no_reason(self) -> None:
        """The relevant document ranks higher, so retrieval is not the cause of the worse answer."""
        before = replace(self.better, measures={"RR": 0.0, "f1": 1.0}, hits=hits("x", "y"))
        cause = attribute(before, self.better, gained=False)
        assert cause.stage == "passages"
        assert "nowhere → at 1" in cause.says

    def test_without_judgements_passages_and_answers_are_left(self) -> None:
        before = replace(self.better, measures={"f1": 1.0})
        other = replace(before, hits=hits("z"), answer="")
        assert attribute(before, replace(before, answer=""), gained=False).stage == "generation"
        assert attribute(before, other, gained=False) == ("passages", "answered → declined")

    def test_changes_are_counted_by_stage(self, tmp_path: Path) -> None:
        before = [outcome(name) for name in "abc"]
        now = [
            outcome("a", measures={"RR": 0.0, "f1": 0.0}),
            outcome("b", measures={"RR": 1.0, "f1": 1.0}, answer="Better."),
            outcome("c"),
        ]
        (found,) = compared(tmp_path, before, now)
        assert [change.id for change in found.changes] == ["a", "b"]
        assert found.stages(gained=False) == {"retrieval": 1}
        assert found.stages(gained=True) == {"generation": 1}
        assert set(STAGES) >= set(found.stages(gained=True))


class TestDifferentSets:
    @pytest.mark.parametrize(
        ("info", "says"),
        [
            ({"set_name": "owls", "set_fingerprint": "0"}, "different sets, 'otters' and 'owls'"),
            ({"set_fingerprint": "0"}, "was changed between them"),
        ],
    )
    def test_are_refused(self, tmp_path: Path, info: dict[str, str], says: str) -> None:
        runs = [
            read_run(write_run(tmp_path / "a", [outcome("a")])),
            read_run(write_run(tmp_path / "b", [outcome("a")], **info)),
        ]
        with pytest.raises(InputError, match=says):
            compare(runs)

    def test_questions_that_only_one_run_asked(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"2 and 1 questions .* only one of the two asked 'b'"):
            compared(tmp_path, [outcome("a"), outcome("b")], [outcome("a")])

    def test_the_same_set_may_have_another_name(self, tmp_path: Path) -> None:
        one = read_run(write_run(tmp_path / "a", [outcome("a")]))
        two = read_run(write_run(tmp_path / "b", [outcome("a")], set_name="copy"))
        assert compare([one, two])


class TestBadRuns:
    def test_without_questions(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="has no questions"):
            compared(tmp_path, [], [])

    def test_with_a_question_twice(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="the question 'a' more than once"):
            compared(tmp_path, [outcome("a"), outcome("a")], [outcome("a")])

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None])
    def test_with_a_value_that_is_no_number(self, tmp_path: Path, value: Any) -> None:
        damaged = [outcome("a", measures={"f1": value})]
        with pytest.raises(
            InputError, match=r"outcomes\.jsonl, question 'a': f1 is .* not a number"
        ):
            compared(tmp_path, damaged, damaged)

    def test_without_measures(self, tmp_path: Path) -> None:
        bare = [outcome("a", measures={})]
        with pytest.raises(InputError, match="no measures"):
            compared(tmp_path, bare, bare)

    def test_with_a_damaged_line(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "run", [outcome("a"), outcome("b")])
        path = folder / "outcomes.jsonl"
        path.write_text(path.read_text().replace('"id": "b"', '"id": '))
        with pytest.raises(InputError, match=r"outcomes\.jsonl, line 2"):
            read_run(folder)

    def test_a_measure_they_lack(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no measure 'F1'. Did you mean 'f1'\?"):
            compared(tmp_path, seeded(1), seeded(2), measure="F1")


class TestShown:
    def test_settings_that_differ_are_named(self, tmp_path: Path) -> None:
        one = read_run(write_run(tmp_path / "a", [outcome("a")]))
        config = {"retrieval": {"depth": 200, "top_k": 10}, "generator": {"kind": "extractive"}}
        two = read_run(write_run(tmp_path / "b", [outcome("a")], config=config))
        (found,) = compare([one, two])
        assert "  retrieval.depth: 100 → 200" in list(to_text(found))

    def test_runs_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        runs = [read_run(write_run(tmp_path / d / "run", [outcome("a")])) for d in ("x", "y")]
        (found,) = compare(runs)
        assert found.candidate == str(tmp_path / "y" / "run")

    def test_what_others_wrote_steers_neither_terminal_nor_markdown(self, tmp_path: Path) -> None:
        wicked = "\x1b[31m` | <img src=x> @team [a](http://b)\nnext"
        before = [outcome("a", question=wicked, answer=wicked)]
        now = [outcome("a", question=wicked, answer="", measures={"RR": 1.0, "f1": 0.0})]
        (found,) = compared(tmp_path, before, now)
        text, markdown = "\n".join(to_text(found)), list(to_markdown(found))
        assert "\x1b" not in text
        (line,) = [line for line in markdown if "<img" in line]
        assert r"| `` �[31m` \| <img src=x> @team [a](http://b) next `` | -0.800 |" in line

    def test_a_code_span_holds_any_run_of_backticks(self) -> None:
        assert code("a ``` b") == "```` a ``` b ````"
        assert code("plain") == "`plain`"
        assert clipped("x" * 200, 10) == "xxxxxxxxx…"
        assert clipped("half of \ud800 a pair") == "half of � a pair"

    def test_the_command(self, tmp_path: Path) -> None:
        before = write_run(tmp_path / "before", seeded(1))
        now = write_run(tmp_path / "now", seeded(2, f1=0.08))
        summary = tmp_path / "summary.md"
        printed = rag(
            "eval", "compare", before, now, "--markdown", summary, data=tmp_path, command=RAG
        )
        assert printed.returncode == 0, printed.stderr
        assert printed.stdout.startswith("now beside before, 240 questions of otters.\n")
        assert "Better: f1." in printed.stdout
        assert "Lost most f1:" in printed.stdout
        assert summary.read_text().startswith("### `now` beside `before`\n\n**Better: `f1`.** 240")

        as_json = rag("eval", "compare", before, now, "--measure", "RR", "--json", data=tmp_path)
        (body,) = json.loads(as_json.stdout)["comparisons"]
        assert body["leading"] == "RR"
        f1 = next(row for row in body["rows"] if row["measure"] == "f1")
        assert f1["verdict"] == "better"
        assert f1["interval"]["low"] <= f1["difference"] <= f1["interval"]["high"]
        assert body["changes"][0]["cause"]["stage"] == "ranking"

        missing = rag("eval", "compare", before, tmp_path / "none", data=tmp_path)
        assert missing.returncode == 2
        assert "is no run" in missing.stderr
