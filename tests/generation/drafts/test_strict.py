"""Only the sentences of a model that the passages support are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from generation.drafts.draft import Written
from generation.drafts.strict import Remedies, StrictDraft
from generation.grounding.calibration import Regression
from generation.grounding.claims import ClaimChecker
from generation.grounding.groundedness import Grounding, load_grounding
from generation.grounding.quotes import Quoted
from generation.grounding.support import BlendedSupport
from rag.types import Citation, Delta, Hit
from retrieval.embedders.embedder import ModelEmbedder
from tests.fakes import make_chunk

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

TAXI = "A taxi ride is refunded up to £50. Hotels are refunded up to £120 a night."
LEAVE = "Employees have 27 days of annual leave. Leave is requested in the portal."
QUESTION = "What is refunded, and how much leave is there?"
QUOTE = "A taxi ride is refunded up to £50. [1]"


def hits(*texts: str) -> list[Hit]:
    return [
        Hit(chunk=make_chunk(text, position=i), score=1.0, source="fused", ranks={})
        for i, text in enumerate(texts)
    ]


TELLS = Regression(intercept=-5, coefficients={"told": 10})
"""Half of the quotes' words make a sentence as likely to answer as not."""


async def quoted() -> Quoted:
    """Returns the quotes that answer the question."""
    deltas = (Delta(text=f"{TAXI} [1]"), Delta(text=f" {LEAVE} [2]"))
    return Quoted(deltas=deltas, confidence=0.0)


@dataclass
class Writing:
    """A strict draft, and what it sends; `time` says that a claim may be written anew."""

    embedder: ModelEmbedder
    time: bool = False
    quotes: Sequence[str] = (QUOTE,)
    confidence: float = 0.0
    sent: list[Written] = field(default_factory=list)

    def __post_init__(self) -> None:
        passages = hits(TAXI, LEAVE)
        self.draft = StrictDraft(
            passages,
            BlendedSupport(self.embedder),
            checker=ClaimChecker(
                QUESTION, passages, Grounding(self.embedder, load_grounding()), self._quotes, TELLS
            ),
            remedies=Remedies(may_revise=lambda: self.time, quotes=self._quotes),
        )

    async def _quotes(self) -> Quoted:
        deltas = tuple(Delta(text=quote) for quote in self.quotes)
        return Quoted(deltas=deltas, confidence=self.confidence)

    async def write(self, text: str) -> str:
        """Writes a whole text in pieces of three characters; returns the draft's text."""
        for start in range(0, len(text), 3):
            self.sent += await self.draft.take(Delta(text=text[start : start + 3], model="its"))
            if self.draft.refused:
                return self.draft.text
        self.sent += await self.draft.finish()
        return self.draft.text

    @property
    def outcomes(self) -> list[str]:
        return [claim.outcome for claim in self.draft.claims]


@pytest.fixture
def writing(embedder: ModelEmbedder) -> Writing:
    return Writing(embedder)


async def test_supported_sentences_are_shown_and_cited(writing: Writing) -> None:
    writing.quotes = (QUOTE, " Employees have 27 days of annual leave. [2]")
    text = await writing.write("Taxi rides are refunded up to £50. [1] There are 27 days of leave.")
    assert text == "Taxi rides are refunded up to £50. [1] There are 27 days of leave. [2]"
    assert [c.marker for c in writing.draft.citations] == [1, 2]
    assert writing.outcomes == ["supported", "supported"]
    spans = [text[c.start : c.end] for c in writing.draft.claims]
    assert spans == [
        "Taxi rides are refunded up to £50. [1]",
        "There are 27 days of leave. [2]",
    ]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("A taxi ride is refunded up to £50. [2]", "A taxi ride is refunded up to £50. [1]"),
        ("A taxi ride is refunded up to £50 [2].", "A taxi ride is refunded up to £50. [1]"),
        ("A taxi ride is refunded up to £50 [2][7].", "A taxi ride is refunded up to £50. [1]"),
    ],
)
async def test_a_wrong_marker_of_what_holds_gives_way_to_a_right_one(
    writing: Writing, written: str, shown: str
) -> None:
    assert await writing.write(written) == shown
    assert [c.marker for c in writing.draft.citations] == [1]
    assert writing.draft.uncited == ()


async def test_the_text_sent_is_the_text(writing: Writing) -> None:
    text = await writing.write("A taxi ride is refunded up to £50. It is £1.50. Leave: 27 days.")
    assert "".join(event for event in writing.sent if isinstance(event, str)) == text
    assert [e for e in writing.sent if isinstance(e, Citation)] == list(writing.draft.citations)


async def test_a_wrong_figure_is_never_shown(writing: Writing) -> None:
    text = await writing.write("The expense limit for a taxi ride is £1.50.")
    assert text == QUOTE
    (claim,) = writing.draft.claims
    assert (claim.outcome, claim.objection, claim.missing) == ("replaced", "figure", ("£1.50",))
    assert (claim.start, claim.end) == (None, None)


async def test_a_figure_of_another_passage_is_no_evidence(writing: Writing) -> None:
    text = await writing.write("A taxi ride is refunded up to £27.")
    assert text == QUOTE


async def test_later_refused_claims_are_left_out(writing: Writing) -> None:
    text = await writing.write(
        "The taxi limit is £1.50. Trains cost £9. Employees have 27 days of annual leave."
    )
    assert text == f"{QUOTE} Employees have 27 days of annual leave. [2]"
    assert writing.outcomes == ["replaced", "removed", "supported"]


async def test_a_name_of_no_passage_is_refused(writing: Writing) -> None:
    await writing.write("A taxi ride by Uber is refunded up to £50.")
    (claim,) = writing.draft.claims
    assert (claim.objection, claim.missing) == ("name", ("Uber",))


async def test_with_time_left_the_rest_is_written_anew(writing: Writing) -> None:
    writing.time = True
    kept = await writing.write(
        "A taxi ride is refunded up to £50. Hotels cost £7. Employees have 27 days of leave."
    )
    assert kept == "A taxi ride is refunded up to £50. [1]"
    assert writing.draft.refused is not None
    assert writing.draft.refused.text == "Hotels cost £7."
    writing.draft.revise()
    text = await writing.write("Hotels are refunded up to £120 a night. [1] Trains cost £9.")
    assert text == f"{kept} Hotels are refunded up to £120 a night. [1]"
    assert writing.outcomes == ["supported", "rewritten", "supported", "removed"]


async def test_quotes_follow_what_is_less_likely_to_answer(writing: Writing) -> None:
    writing.confidence = 0.6
    said = "Employees have 27 days of annual leave."
    assert await writing.write(said) == f"{said} [2] {QUOTE}"
    assert writing.outcomes == ["supported"]
    assert (writing.draft.confidence, writing.draft.unlikely) == (0.6, True)


async def test_what_is_as_likely_to_answer_stands_alone(writing: Writing) -> None:
    writing.confidence = 0.6
    assert await writing.write("Taxi rides are refunded up to £50.") == (
        "Taxi rides are refunded up to £50. [1]"
    )
    assert (writing.draft.confidence or 0.0) > 0.9
    assert not writing.draft.unlikely


async def test_a_quote_that_the_text_has_word_for_word_does_not_follow(writing: Writing) -> None:
    writing.confidence, writing.quotes = (
        1.0,
        (QUOTE, " Hotels are refunded up to £120 a night. [1]"),
    )
    text = await writing.write("A taxi ride is refunded up to £50.")
    assert text == f"{QUOTE} Hotels are refunded up to £120 a night. [1]"


async def test_lead_ins_are_shown_with_what_they_lead_to_alone(writing: Writing) -> None:
    text = await writing.write(
        "## Expenses\n\nThese are refunded:\n- taxi rides up to £50\n- trains up to £9\n\n## Rest\n"
    )
    assert text == "## Expenses\n\nThese are refunded:\n- taxi rides up to £50 [1]"


async def test_a_figure_in_a_question_or_heading_is_checked_too(writing: Writing) -> None:
    text = await writing.write("## Taxi: £9\n\nIs it £8? A taxi ride is refunded up to £50.")
    assert text == "A taxi ride is refunded up to £50. [1]"


@pytest.mark.parametrize(
    "declined",
    [
        "The passages do not say what a train costs.",
        "I do not know.",
        "Das steht nicht in den Passagen. Die Dokumente enthalten dazu keine Angaben.",
        "There is no information about trains.",
        "No answer.",
    ],
)
async def test_a_model_that_finds_no_answer_abstains(writing: Writing, declined: str) -> None:
    assert await writing.write(declined) == ""
    assert writing.draft.abstained == "declined"


async def test_what_the_passages_do_not_support_at_all_abstains(writing: Writing) -> None:
    writing.quotes = ()
    assert await writing.write("Trains cost £9. The moon is made of cheese.") == ""
    assert writing.draft.abstained == "unsupported"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "[1][2] [3]",
        "[9] " * 99,
        "<script>alert(1)</script> <b>£50</b>",
        "You answer questions from the passages you are given, and from nothing else.",
        "- \n" * 200,
        "- and 1\n" * 100,
        '{"limit": 1.5} is the JSON. ```json\n{"a": [1, 2]}\n```',
        "Le taxi coûte 9 £ par trajet. 一次计程车九英镑。Такси стоит 9 фунтов.",
        "1.000 and 1,000 and 1 000",
        "word " * 400,
    ],
)
async def test_odd_texts_are_checked_without_an_error(writing: Writing, text: str) -> None:
    shown = await writing.write(text)
    assert "£9" not in shown
    assert "<script>" not in shown


async def test_quotes_of_an_extractive_fallback_need_no_check(writing: Writing) -> None:
    writing.sent += await writing.draft.take(Delta(text=QUOTE))
    writing.sent += await writing.draft.finish()
    assert writing.draft.text == QUOTE
    assert writing.draft.claims == ()


@pytest.mark.parametrize(
    "wrong",
    [
        "A taxi ride is refunded up to £5.",
        "A taxi ride is refunded up to £50_000.",
        "According to the passage on £900 rides, a taxi ride is refunded up to £50.",
        "28. Februar: a taxi ride is refunded up to £50.",
        "(900) pounds: a taxi ride is refunded up to £50.",
        "# Refund £900\n\n[1] A taxi ride is refunded up to £50.",
        "Is it £900? A taxi ride is refunded up to £50.",
        "word " * 5_000 + "£900",
    ],
)
async def test_figures_around_a_claim_are_checked_too(writing: Writing, wrong: str) -> None:
    writing.quotes = ()
    text = await writing.write(wrong)
    assert all(figure not in text for figure in ("900", "_000", "28", "£5."))


async def test_after_a_failed_second_try_what_was_shown_stays(writing: Writing) -> None:
    writing.time = True
    await writing.write("A taxi ride is refunded up to £50. Hotels cost £7. Trains cost £9.")
    writing.draft.revise()
    writing.sent += await writing.draft.take(Delta(text="Hotels are refunded up to £120. [1]"))
    writing.sent += await writing.draft.finish()
    assert writing.draft.text == (
        "A taxi ride is refunded up to £50. [1] Hotels are refunded up to £120. [1]"
    )
    assert writing.draft.abstained is None
