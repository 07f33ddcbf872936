from __future__ import annotations

import pytest

from generation.query.expansion import MAX_TOKENS, QUERIES, SYSTEM, QuestionExpander
from rag.build.generation import build_expander
from rag.errors import ConfigError, InputError, RagError
from rag.settings.retrieval import RetrievalSettings
from rag.telemetry.trace import Trace
from rag.types import Usage
from tests.fakes import ScriptedModel

pytestmark = pytest.mark.anyio
QUESTION = "How long may a line be?"


@pytest.mark.parametrize(
    ("said", "texts"),
    [
        ("maximum line length\ncolumn limit", ("maximum line length", "column limit")),
        ("1. One?\n 2) Two?\n- Three?\n• Four?", ("One?", "Two?", "Three?")),
        ("\n\n  3 spaces  per\ttab \n\n", ("3 spaces per tab",)),
        (f"{QUESTION}\nOther?\nOther?", ("Other?",)),
    ],
)
async def test_other_questions_line_by_line(said: str, texts: tuple[str, ...]) -> None:
    assert len(texts) <= QUERIES
    expander = QuestionExpander(ScriptedModel(said), method="multi_query")
    assert (await expander.expand(QUESTION, Trace())).texts == texts


async def test_a_passage() -> None:
    model, trace = ScriptedModel("Lines have 79 characters.\nComments have 72.\n"), Trace()
    expander = QuestionExpander(model, method="hyde")
    expansion = await expander.expand(QUESTION, trace)
    assert expansion.texts == ("Lines have 79 characters. Comments have 72.",)
    ((system, user),) = model.sent
    assert (system.content, user.content) == (SYSTEM["hyde"], f"Question: {QUESTION}")
    told = await model.count_tokens(model.sent[0])
    assert expansion.usage == trace.usage == Usage(input_tokens=told, output_tokens=7)
    assert "expand" in trace.timings


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (InputError("It is too long."), 0),
        ("", 0),
        ("word " * (MAX_TOKENS + 1), 0),
        ("Too late.", 600),
    ],
)
async def test_where_it_fails_there_is_nothing_more(said: str | RagError, seconds: float) -> None:
    trace = Trace()
    model = ScriptedModel(said, seconds=seconds)
    expander = QuestionExpander(model, method="multi_query", seconds=0.1)
    expansion = await expander.expand(QUESTION, trace)
    assert expansion.texts == ()
    (cause,) = expansion.degraded
    assert cause.startswith("expand: ")
    assert trace.degraded == [cause]
    assert expansion.usage == trace.usage


async def test_it_needs_a_language_model() -> None:
    assert build_expander(RetrievalSettings(), None, 5.0) is None
    assert build_expander(RetrievalSettings(expansion="hyde"), ScriptedModel(), 5.0) is not None
    with pytest.raises(ConfigError, match=r"retrieval\.expansion = 'hyde'.*generator\.kind"):
        build_expander(RetrievalSettings(expansion="hyde"), None, 5.0)
