from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.compare.gate import Verdict, gate
from eval.compare.gate_rules import read_rules
from eval.compare.gate_text import to_markdown, to_text
from eval.runs.run_folder import Outcome, read_run
from rag.errors import InputError
from tests.eval_runs import outcome, seeded, write_run
from tests.places import ROOT
from tests.servers import RAG, rag


def gated(
    tmp_path: Path, rules: str, now: list[Outcome], before: list[Outcome], **info: Any
) -> Verdict:
    """Returns the verdict of these rules on the run `now` against the baseline `before`."""
    path = tmp_path / "rules.toml"
    path.write_text(rules)
    baseline = write_run(tmp_path / "baseline", before)
    run = write_run(tmp_path / "run", now, **info)
    return gate(read_run(run), read_run(baseline), read_rules(path))


def failed(verdict: Verdict) -> list[tuple[str, str]]:
    return [(check.kind, check.slice) for check in verdict.failures]


def scored(*values: float, **fields: Any) -> list[Outcome]:
    return [
        outcome(f"q{i:02}", **{"measures": {"f1": value}} | fields)
        for i, value in enumerate(values)
    ]


class TestLimits:
    @pytest.mark.parametrize(
        ("rule", "broken"),
        [
            ("measure = 'f1'\nfloor = 0.5", False),
            ("measure = 'f1'\nfloor = 0.51", True),
            ("measure = 'f1'\nceiling = 0.5", False),
            ("measure = 'f1'\nceiling = 0.49", True),
            ("measure = 'seconds'\nceiling = 0.05", False),
            ("measure = 'seconds'\nstatistic = 'p95'\nceiling = 0.04", True),
            ("measure = 'f1'\nstatistic = 'p50'\nfloor = 0.5", False),
            ("measure = 'failed'\nceiling = 0", False),
            ("measure = 'f1'\nslice = 'lang=en'\nfloor = 0.6", True),
        ],
    )
    def test_are_held_against_the_run_alone(self, tmp_path: Path, rule: str, broken: bool) -> None:
        verdict = gated(tmp_path, f"[[rule]]\n{rule}\n", scored(0.2, 0.5, 0.8), scored(0, 0, 0))
        assert bool(verdict.failures) == broken

    def test_are_of_all_that_the_run_has(self, tmp_path: Path) -> None:
        """Support is measured on answers that cite; the baseline declined the second question."""
        now = scored(1, 1, measures={"support": 0.9})
        before = [now[0], replace(now[1], measures={})]
        rules = "[[rule]]\nmeasure = 'support'\nfloor = 0.8\nallowed = 0\n"
        floor, regression = gated(tmp_path, rules, now, before).checks
        assert (floor.questions, regression.questions) == (2, 1)

    def test_say_what_is_wrong(self, tmp_path: Path) -> None:
        rules = "[[rule]]\nmeasure = 'f1'\nfloor = 0.6\nceiling = 0.4\n"
        verdict = gated(tmp_path, rules, scored(0.5), scored(0.5))
        assert [check.says for check in verdict.checks] == [
            "0.500 is below 0.600",
            "0.500 is above 0.400",
        ]

    def test_a_failed_question_counts(self, tmp_path: Path) -> None:
        lost = Outcome(
            id="q01", question="?", slices={"lang": "en"}, timings={}, measures={}, error="late"
        )
        before = scored(0.8, 0.8)
        verdict = gated(
            tmp_path, "[[rule]]\nmeasure = 'f1'\nfloor = 0.5\n", [before[0], lost], before
        )
        assert verdict.failures[0].value == 0.4


class TestRegressions:
    RULE = "[[rule]]\nmeasure = 'f1'\nallowed = {}\n"

    def test_a_sure_one_fails(self, tmp_path: Path) -> None:
        verdict = gated(tmp_path, self.RULE.format(0.01), seeded(2, f1=-0.08), seeded(1))
        (check,) = verdict.failures
        assert check.p is not None
        assert check.p < 0.05
        assert "0.010 is allowed" in check.says

    def test_noise_does_not(self, tmp_path: Path) -> None:
        """Three of five questions are much worse; with so few questions it can be chance."""
        now, before = scored(0.2, 0.3, 0.1, 0.9, 0.8), scored(0.9, 0.8, 0.6, 0.8, 0.7)
        (check,) = gated(tmp_path, self.RULE.format(0), now, before).checks
        assert check.value < check.baseline  # type: ignore[operator]
        assert not check.failed
        assert check.sees is None

    def test_one_that_is_allowed_does_not(self, tmp_path: Path) -> None:
        verdict = gated(tmp_path, self.RULE.format(0.2), seeded(2, f1=-0.08), seeded(1))
        assert not verdict.failures
        assert verdict.checks[0].p is not None
        assert verdict.checks[0].sees == pytest.approx(0.2, abs=0.02)
        assert (verdict.checks[0].sees or 0) > 0.2

    def test_an_improvement_does_not(self, tmp_path: Path) -> None:
        assert not gated(tmp_path, self.RULE.format(0), seeded(2, f1=0.1), seeded(1)).failures

    def test_the_same_run_passes(self, tmp_path: Path) -> None:
        (check,) = gated(tmp_path, self.RULE.format(0), seeded(1), seeded(1)).checks
        assert (check.failed, check.p, check.sees) == (False, None, 0)

    def test_more_is_worse_of_what_is_spent(self, tmp_path: Path) -> None:
        rule = "[[rule]]\nmeasure = 'seconds'\nallowed = 0.01\n"
        (check,) = gated(tmp_path, rule, seeded(1, slower=2), seeded(1)).failures
        assert check.says.startswith("rose by 0.1")

    def test_every_slice_of_a_field_is_tested(self, tmp_path: Path) -> None:
        now = [
            replace(o, measures={**o.measures, "f1": o.measures["f1"] - 0.1})
            if o.slices["lang"] == "zh"
            else o
            for o in seeded(1)
        ]
        rule = "[[rule]]\nmeasure = 'f1'\nslice = 'lang'\nallowed = 0.01\n"
        verdict = gated(tmp_path, rule, now, seeded(1))
        assert [check.slice for check in verdict.checks] == ["lang=de", "lang=en", "lang=zh"]
        assert failed(verdict) == [("regression", "lang=zh")]

    def test_false_alarms_are_as_rare_as_promised(self, tmp_path: Path) -> None:
        """At alpha 0.05, more than 6 of 40 pairs raise an alarm in one of 250 tries."""
        rules = "".join(
            f"[[rule]]\nmeasure = '{name}'\nallowed = 0\n" for name in ("f1", "nDCG@10", "RR")
        )
        alarms = 0
        for i in range(40):
            folder = tmp_path / str(i)
            folder.mkdir()
            now, before = seeded(2 * i + 100, 60), seeded(2 * i + 101, 60)
            alarms += bool(gated(folder, rules, now, before).failures)
        assert alarms <= 6

    def test_what_it_would_see_it_sees(self, tmp_path: Path) -> None:
        """A regression of the reported detectable size is found in at least 12 of 20 runs."""
        (check,) = gated(tmp_path, self.RULE.format(0), seeded(2), seeded(1)).checks
        assert check.sees is not None
        found = 0
        for i in range(20):
            folder = tmp_path / str(i)
            folder.mkdir()
            now = [
                replace(o, measures={**o.measures, "f1": o.measures["f1"] - check.sees})
                for o in seeded(2 * i + 10)
            ]
            found += bool(gated(folder, self.RULE.format(0), now, seeded(2 * i + 11)).failures)
        assert found >= 12


class TestBadRules:
    @pytest.mark.parametrize(
        ("rules", "says"),
        [
            ("", "has no rules"),
            ("rule = 3", r"write every rule under a line \[\[rule\]\]"),
            ("rule = [{measure = 'f1'}]", r"write every rule under a line \[\[rule\]\]"),
            ("[[rule]\n", "is not valid TOML"),
            ("[[rule]]\nfloor = 1", "line 1: measure: Field required"),
            ("[[rule]]\nmeasure = 'f1'", "line 1: the rule asks nothing"),
            (
                "\n[[rule]]\nmeasure = 'f1'\n flor = 1",
                r"line 4: there is no 'flor'. Did you mean 'floor'\?",
            ),
            ("alhpa = 0.1\n[[rule]]\nmeasure = 'f1'\nfloor = 1", "line 1: there is no 'alhpa'"),
            ("alpha = 2\n[[rule]]\nmeasure = 'f1'\nfloor = 1", "line 1: alpha: .* less than 1"),
            ("[[rule]]\nmeasure = 'f1'\nfloor = 'x'", "line 3: floor: .* valid number"),
            ("[[rule]]\nmeasure = 'f1'\nfloor = nan", "line 3: floor: .* finite"),
            ("[[rule]]\nmeasure = 'f1'\nallowed = -1", "line 3: allowed: .* greater than"),
            ("[[rule]]\nmeasure = 'f1'\nstatistic = 'p42'\nfloor = 1", "line 3: statistic: "),
            (
                "[[rule]]\nmeasure = 'f1'\nstatistic = 'p95'\nallowed = 1",
                "line 1: `allowed` is of means alone",
            ),
            (
                "[[rule]]\nmeasure = 'f1'\nfloor = 0\n\n[[rule]]\nmeasure = 'f2'\nfloor = 0",
                r"rules\.toml, line 6: the runs have no measure 'f2'. Did you mean 'f1'\?",
            ),
            (
                "[[rule]]\nmeasure = 'f1'\nslice = 'lang=em'\nfloor = 0",
                r"line 3: the set has no slice 'lang=em'. Did you mean 'lang=en'\?",
            ),
            (
                "[[rule]]\nmeasure = 'RR'\nslice = 'lang=zh'\nfloor = 0",
                "line 3: no question of lang=zh has a say in 'RR'",
            ),
            (
                "[[rule]]\nmeasure = 'abstained'\nallowed = 0.1",
                "line 3: neither more nor less 'abstained' is better",
            ),
            (
                "alpha = 0.00001\n[[rule]]\nmeasure = 'f1'\nallowed = 0",
                "1 regressions cannot be tested at alpha = 1e-05",
            ),
        ],
    )
    def test_the_line_is_named(self, tmp_path: Path, rules: str, says: str) -> None:
        run = [
            outcome("a", measures={"f1": 1.0, "RR": 1.0, "abstained": 0.0}),
            outcome("b", measures={"f1": 1.0}, slices={"lang": "zh"}),
        ]
        with pytest.raises(InputError, match=says):
            gated(tmp_path, rules, run, run)

    def test_two_lines_are_two_messages(self, tmp_path: Path) -> None:
        rules = "[[rule]]\nmeasure = 1\nflor = 1\n"
        with pytest.raises(InputError, match=r"line 2: measure: .*\n.*line 3: there is no 'flor'"):
            gated(tmp_path, rules, scored(1), scored(1))

    def test_those_of_the_docs_are_rules(self, tmp_path: Path) -> None:
        docs = (ROOT / "docs" / "compare.md").read_text("utf-8")
        (example,) = re.findall(r"```toml\n(.*?)```", docs, re.DOTALL)
        run = [replace(each, seconds=0.1) for each in seeded(1)]
        assert not gated(tmp_path, example, run, run).failures

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read: No such file"):
            read_rules(tmp_path / "none.toml")

    def test_two_sets(self, tmp_path: Path) -> None:
        rules = "[[rule]]\nmeasure = 'f1'\nfloor = 0\n"
        with pytest.raises(InputError, match="cannot be compared"):
            gated(tmp_path, rules, scored(1), scored(1), set_fingerprint="other")


class TestShown:
    RULES = (
        "[[rule]]\nmeasure = 'f1'\nfloor = 0.2\nallowed = 0.01\n\n"
        "[[rule]]\nmeasure = 'seconds'\nstatistic = 'p95'\nceiling = 0.1\n"
    )

    def test_the_command(self, tmp_path: Path) -> None:
        rules, summary = tmp_path / "rules.toml", tmp_path / "summary.md"
        rules.write_text(self.RULES)
        before = write_run(tmp_path / "before", scored(*[0.8, 0.7, 0.9] * 5))
        now = write_run(tmp_path / "now", scored(*[0.5, 0.6, 0.6] * 5, seconds=0.2))
        options = ("--baseline", before, "--rules", rules)

        passed = rag("eval", "gate", before, *options, data=tmp_path, command=RAG)
        assert passed.returncode == 0, passed.stderr
        assert passed.stdout.endswith("Passed: 3 checks.\n")

        broken = rag("eval", "gate", now, *options, "--markdown", summary, data=tmp_path)
        assert broken.returncode == 1
        assert "Line 1: f1 fell by 0.233, 0.010 is allowed.\n" in broken.stdout
        assert broken.stdout.endswith(
            "Line 6: seconds p95 0.200 s is above 0.100 s.\nFailed: 2 of 3 checks.\n"
        )
        assert summary.read_text().startswith("### ❌ Failed: 2 of 3 checks.\n")

        printed = rag("eval", "gate", now, *options, "--json", data=tmp_path)
        body = json.loads(printed.stdout)
        assert (printed.returncode, body["passed"]) == (1, False)
        assert [check["failed"] for check in body["checks"]] == [False, True, True]

        missing = rag("eval", "gate", now, *options[2:], "--baseline", tmp_path, data=tmp_path)
        assert missing.returncode == 2
        assert "is no run" in missing.stderr

    def test_names_of_slices_are_no_markup(self, tmp_path: Path) -> None:
        run = scored(0.5, slices={"x": "<b>|`"})
        rules = "[[rule]]\nmeasure = 'f1'\nslice = 'x'\nfloor = 1\n"
        verdict = gated(tmp_path, rules, run, run)
        assert any(r"| `` f1, x=<b>\|` `` |" in line for line in to_markdown(verdict))
        assert any("f1, x=<b>|`" in line for line in to_text(verdict))

    def test_a_check_has_its_line(self, tmp_path: Path) -> None:
        verdict = gated(tmp_path, self.RULES, scored(1), scored(1))
        assert [check.line for check in verdict.checks] == [1, 1, 6]
