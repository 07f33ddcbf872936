from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from eval.compare.markup import page, tag
from eval.compare.report import Report, examine, to_markdown, to_text
from eval.compare.report_html import to_html
from eval.compare.svg_charts import Axis, Curve, curves
from eval.runs.run_folder import Outcome, read_run
from rag.errors import InputError
from tests.eval_runs import outcome, seeded, write_run
from tests.servers import RAG, rag

WICKED = """<script>alert('x')</script> "quoted" <img src=http://x/y onerror='z'> & ]]> {{ 7 }}"""
LOADS = {"src", "srcset", "href", "xlink:href", "action", "poster", "data", "style"}


class Page(HTMLParser):
    """A parsed HTML page: its tags, its attributes' values by name, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def examined(tmp_path: Path, *runs: list[Outcome], **info: str) -> Report:
    folders = [write_run(tmp_path / f"run-{i}", run, **info) for i, run in enumerate(runs)]
    return examine([read_run(folder) for folder in folders])


def test_a_page_asks_for_nothing(tmp_path: Path) -> None:
    html = to_html(examined(tmp_path, seeded(1, cost=0.1), seeded(2, f1=0.1, cost=0.2)))
    found = Page(html)
    assert not LOADS & found.attributes.keys()
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(found.tags)
    assert not re.search(r"url\(|@import|https?:", html)
    (policy,) = (each for each in found.attributes["content"] if "default-src" in each)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_no_text_of_a_run_is_markup(tmp_path: Path) -> None:
    fields = {
        "question": WICKED,
        "answer": WICKED,
        "expected": (WICKED,),
        "slices": {WICKED: WICKED},
        "timings": {WICKED: 1.0},
        "error": "",
    }
    before = [outcome(WICKED, **fields, measures={"f1": 1.0, WICKED: 0.5})]
    after = [outcome(WICKED, **fields, measures={"f1": 0.0, WICKED: 0.25})]
    info = {"set_name": WICKED, "version": WICKED}
    for runs in ([before], [before, after]):
        folder = tmp_path / str(len(runs))
        found = Page(to_html(examined(folder, *runs, **info)))
        assert "script" not in found.tags
        assert "img" not in found.tags
        assert not {"onerror", "src"} & found.attributes.keys()
        assert found.text.count(WICKED) >= 6


def test_every_part_is_there(tmp_path: Path) -> None:
    html = to_html(examined(tmp_path, seeded(1, cost=0.1), seeded(2, f1=0.1, cost=0.2)))
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "Runs",
        "Measures",
        "Latency",
        "Risk and coverage",
        "Cost and quality",
        "By slice",
        "Time by stage",
        "Questions",
    ]
    assert len(re.findall('class="bars"', html)) == 2 * 8
    assert '<td class="told better">better</td>' in html
    assert "Gained most f1: run-1" in html


def test_one_run_is_compared_with_nothing(tmp_path: Path) -> None:
    html = to_html(examined(tmp_path, seeded(1)))
    assert "Cost and quality" not in html
    assert "told" not in html.split("</style>")[1]
    assert "Lowest f1" in html


def test_the_expected_answer_stands_beside_the_given_one(tmp_path: Path) -> None:
    golds = ("£68,400", "68,400 a year", "£68,400")
    wrong = outcome("a", expected=golds, answer="£50,000.", measures={"f1": 0.0})
    right = outcome("a", expected=golds, answer="68,400.", measures={"f1": 1.0})
    beyond = outcome("b", slices={"answerable": "no"}, answer="Ten.", measures={"f1": 0.1})
    old = outcome("c", answer="Nobody knows.", measures={"f1": 0.2})
    for name, runs in (("one", [[wrong, beyond, old]]), ("two", [[right, old], [wrong, old]])):
        html = to_html(examined(tmp_path / name, *runs))
        quotes = re.findall(r"<blockquote[^>]*>.*?</blockquote>", html)
        about = [re.sub(r"<[^>]+>", "|", quote) for quote in quotes]
        expected = "||expected||£68,400 / 68,400 a year||"
        if name == "one":
            assert about == [
                "||given||£50,000.||", expected, "||given||Ten.||", "||expected||(no answer)||",
                "||Nobody knows.||",
            ]  # fmt: skip
        else:
            assert about == ["||run-0||68,400.||", "||run-1||£50,000.||", expected]


def test_where_nothing_was_answered_the_charts_are_empty(tmp_path: Path) -> None:
    lost = Outcome(id="a", question="?", slices={}, timings={}, measures={"f1": 0.0}, error="late")
    report = examined(tmp_path, [lost], [lost])
    html = to_html(report)
    assert "polyline" not in html
    assert "nan" not in html.split("</style>")[1]
    assert "The set has no slices." in html
    assert any(line.startswith("failed") and "100.0%" in line for line in to_text(report))


def test_a_slice_far_from_the_mean_is_shaded(tmp_path: Path) -> None:
    good = [outcome(f"g{i}", slices={"lang": "en"}, measures={"f1": 1.0}) for i in range(3)]
    poor = [outcome("p", slices={"lang": "de"}, measures={"f1": 0.2})]
    html = to_html(examined(tmp_path, good + poor))
    assert '<td class="above4">1.000</td>' in html
    assert '<td class="below4">0.200</td>' in html


def test_the_markdown_has_means_and_their_intervals(tmp_path: Path) -> None:
    lines = list(to_markdown(examined(tmp_path, seeded(1))))
    assert lines[0] == "### 240 questions of `otters`"
    assert any(re.fullmatch(r"\| `f1` \| 0\.\d{3} \(0\.\d{3} … 0\.\d{3}\) \|", x) for x in lines)
    assert any(line.startswith("| `seconds p95` |") for line in lines)


def test_no_more_runs_than_colours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="6 runs at most; these are 7"):
        examined(tmp_path, *[[outcome("a")]] * 7)


def test_no_run_twice(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", [outcome("a")]))
    with pytest.raises(InputError, match="given twice"):
        examine([run, run])


def test_text_stands_where_it_was_put() -> None:
    html = page("t", "p > a { color: red }", tag("p", "a < b ", tag("b", "&"), " c", ["d", "e"]))
    assert "<p>a &lt; b <b>&amp;</b> cde</p>" in html
    assert "p > a { color: red }" in html


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.61, 0.78, [0.65, 0.7, 0.75]),
        (0, 0.0022, [0, 0.0005, 0.001, 0.0015, 0.002]),
        (-3, 12, [0, 5, 10]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert Axis(low=low, high=high, format=str).ticks() == pytest.approx(ticks)


def test_a_curve_keeps_its_ends_and_stays_within_its_axis() -> None:
    axis = Axis(low=0, high=1, format=str)
    x = np.linspace(0, 2, 5001)
    drawn = curves("c", "", axis, axis, [Curve(0, x, np.minimum(x, 1))])
    line = drawn.find("polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
    assert len(points) == 200
    assert (points[0], points[-1]) == ((46.0, 206.0), (344.0, 10.0))


def test_the_command(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", seeded(1)), write_run(tmp_path / "b", seeded(2))]
    out, summary = tmp_path / "report.html", tmp_path / "summary.md"
    printed = rag(
        "eval", "report", *runs, "--out", out, "--markdown", summary, data=tmp_path, command=RAG
    )
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.endswith(f"\nThe page is {out}.\n")
    assert out.read_text("utf-8").startswith("<!doctype html>\n<html lang=")
    assert summary.read_text("utf-8").startswith("### 240 questions")
    body = json.loads(rag("eval", "report", *runs, "--out", out, "--json", data=tmp_path).stdout)
    assert body["file"] == str(out)
    assert body["runs"][0]["slices"]["lang=de"]["questions"] == 80
    nowhere = rag("eval", "report", *runs, "--out", tmp_path / "no" / "r.html", data=tmp_path)
    assert nowhere.returncode == 1
    assert "cannot be written" in nowhere.stderr
