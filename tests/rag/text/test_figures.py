"""Figures of claims and of the texts that should state them."""

# ruff: noqa: RUF001 - signs of numbers
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.figures import figures
from rag.text.stated_figures import missing_figures

SAME = [
    ("£50", "50 GBP"),
    ("£50", "fifty pounds"),
    ("50 Pfund", "£50"),
    ("2.5 k", "2,500"),
    ("€2.5m", "2,500,000 euros"),
    ("12 Mio. Euro", "12 million euros"),
    ("on 1 May", "am 01.05."),
    ("on 1 May", "from 1 May 2024 on"),
    ("on May 1st, 2024", "2024-05-01"),
    ("in May 2024", "from 1 May 2024"),
    ("in 2024", "from 1 May 2024"),
    ("on 1 May 2024", "In 2024 the rate changes on 1 May."),
    ("90 minutes", "1.5 hours"),
    ("two weeks", "14 days"),
    ("20 %", "zwanzig Prozent"),
    ("20 per cent", "20%"),
    ("1.5 kg", "1,500 g"),
    ("5:30 pm", "17:30"),
    ("at 9 am", "von 9 bis 17 Uhr"),
    ("zweihundertfünfzig Euro", "250 EUR"),
    ("SO-51137", "so 51137 is SO51137"),
    ("Version 3.12.1", "the release 3.12.1"),
    ("the fourth floor", "4th floor"),
    ("1 000 000 people", "a million people, 1,000,000 in all"),
    ("at most 23", "luggage of 23 kg"),
    ("3 to 5 days", "3-5 days"),
    ("27 leave days", "27 days of leave"),
    ("The mill is of the 16th century.", "It was built in 1564."),
    ("Guilds of the sixteenth century met here.", "They met on 3 March 1600."),
    ("The mayors of the 1600s were weavers.", "Mayor Blount took office in 1672."),
    ("The line closed in the 1960s.", "The last train ran on 3 March 1968."),
    ("Die Mühle ist aus dem 16. Jahrhundert.", "Sie wurde 1564 gebaut."),
]
OTHER = [
    ("£1.50", "£50"),
    ("50 %", "£50"),
    ("50 days", "50 hours"),
    ("on 2 May", "on 1 May"),
    ("on 1 May 2023", "from 1 May 2024"),
    ("in 2023", "from 1 May 2024"),
    ("SO-51138", "SO-51137"),
    ("3.12.2", "3.12.1"),
    ("−5 °C", "5 °C"),
    ("9:30", "9:00"),
    ("three", "two and 30"),
    ("£2.5m", "£2.5"),
    ("£50_000", "£50"),
    ("£50½", "£50"),
    ("£50²", "£50"),
    ("£50e3", "£50"),
    ("-£50", "£50"),
    ("£-50", "£50"),
    ("23000 bags", "23 kg"),
    ("32400", "9 hours"),
    ("£2,025", "on 1 May 2025"),
    ("£2025", "on 1 May 2025"),
    ("27‰", "27 %"),
    ("The mill is of the 16th century.", "It was built in 1601."),
    ("The line closed in the 1960s.", "The last train ran in 1970."),
    ("The temple is of the 16th century BC.", "It was dug out in 1564."),
    ("The mill is of the 16th century.", "It had 1,564 sacks."),
    ("the 16th mill", "It was built in 1564."),
    ("It was built in 1564.", "The mill is of the 16th century."),
]


@pytest.mark.parametrize(("claim", "evidence"), SAME)
def test_a_figure_in_another_form_is_stated(claim: str, evidence: str) -> None:
    assert missing_figures(claim, [evidence]) == []


@pytest.mark.parametrize(("claim", "evidence"), OTHER)
def test_another_figure_is_missing(claim: str, evidence: str) -> None:
    assert missing_figures(claim, [evidence])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Der Betrag ist 1.000 Euro und wird nicht erstattet.", 1000),
        ("The amount is 1,000 euros and it is not refunded.", 1000),
        ("Die Länge ist 1,000 km und nicht mehr.", 1000),
        ("The length of it is 1.000 km and not more.", 1000),
        ("Der Betrag ist 1.234,56 Euro und wird nicht erstattet.", 1234.56),
        ("The amount is 1,234.56 euros and it is not refunded.", 1234.56),
    ],
)
def test_separators_are_read_as_in_the_language_of_the_text(text: str, value: float) -> None:
    (figure,) = figures(text)
    assert {float(v) for v in figure.values} == {value}


def test_separators_of_an_unknown_language_may_be_either() -> None:
    (figure,) = figures("1.000")
    assert sorted(map(float, figure.values)) == [1, 1000]


@pytest.mark.parametrize(
    ("claim", "missing"),
    [
        ("For three rides that is 3 × £50 = £150.", []),
        ("For three rides that is 3 x £50 = £160.", ["£160"]),
        ("Both: £20 + £50 is £70", []),
        ("Zusammen ergibt 20 + 50 ergibt 70 Pfund", []),
        ("Together they make £70.", ["£70"]),
        ("£8 + £9 = £17", ["£8", "£9", "£17"]),
    ],
)
def test_a_result_counts_if_the_calculation_is_stated_and_right(
    claim: str, missing: list[str]
) -> None:
    evidence = ["Lunch is paid up to £20, a taxi ride up to £50, three a month."]
    found = [f.text for f in missing_figures(claim, evidence)]
    assert found == missing


@given(st.text(max_size=300))
def test_any_text_states_its_own_figures(text: str) -> None:
    assert missing_figures(text, [text]) == []


def test_one_and_articles_are_no_figures() -> None:
    assert figures("One of them is a day off, ein Tag, un jour.") == ()


@pytest.mark.parametrize("text", ["a", "a-", "1 ", "1/", "may ", "1.", "100,", "£", "a_"])
def test_long_texts_are_read_in_time(text: str) -> None:
    """Quadratic time would be minutes here."""
    figures(text * 100_000)
