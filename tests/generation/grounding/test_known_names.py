"""Names of a claim are known in another form, and by their initials."""

from __future__ import annotations

import pytest

from generation.grounding.known_names import KnownNames

TEXT = "The Bank of England and Germany met in the U.S. with Protestants of the European Union."


@pytest.mark.parametrize(
    "claim",
    [
        "It met the German bank.",
        "It helped Protestantism.",
        "It is in the EU.",
        "It is in the United States.",
        "It is of the US.",
        "It is the BE's.",
        "Later it met Germany's Union-Bank.",
    ],
)
def test_another_form_of_a_name_is_known(claim: str) -> None:
    assert KnownNames(TEXT).missing(claim) == []


@pytest.mark.parametrize(
    ("claim", "missing"),
    [
        ("It met Uber, and Uber again.", ["Uber"]),
        ("It is in the UK.", ["UK"]),
        ("It is in the United Kingdom.", ["United", "Kingdom"]),
        ("It met Germaine.", ["Germaine"]),
        ("It is of the EUR.", ["EUR"]),
    ],
)
def test_another_name_is_missing(claim: str, missing: list[str]) -> None:
    assert KnownNames(TEXT).missing(claim) == missing


def test_nouns_of_german_are_no_names() -> None:
    assert KnownNames(TEXT).missing("Das ist der Preis für die Hütte und das Haus.") == []


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("It is by Ms Kücükdeveci.", "The case is Kucukdeveci."),
        ("It is by Weiss and Citroen.", "Later came Weiß and Citroën."),
        ("It was founded in France by Dutchmen.", "It is French."),
        ("It is in the Netherlands.", "It is Dutch."),
        ("It was the Poles' king.", "It is in Poland."),
        ("A POLE and a Turk met.", "It is Polish and of Turkey."),
        ("It is England's.", "It is English."),
        ("It lies to the East.", "It is Eastern."),
        ("A Member of the Scottish Parliament spoke.", "It was an MSP."),
        ("Governor Vaudreuil signed it.", "It was signed by Vaudreil."),
    ],
)
def test_a_name_is_known_in_another_spelling(text: str, claim: str) -> None:
    assert KnownNames(text).missing(claim) == []
    assert KnownNames("Nothing of it.").missing(claim) != []


@pytest.mark.parametrize("claim", ["It is by Johnston.", "It is Spanish.", "It is by Maudreuil."])
def test_a_name_like_another_is_missing(claim: str) -> None:
    assert KnownNames("Johnson met France and Vaudreuil.").missing(claim) != []


@pytest.mark.parametrize(
    ("text", "claim", "missing"),
    [
        ("A telephone pole fell. Use polish.", "It is in Poland.", "Poland"),
        ("We grow swedes, and a swede is sweet.", "It is in Sweden.", "Sweden"),
        ("We roast a turkey.", "It is Turkish.", "Turkish"),
    ],
)
def test_a_common_word_is_no_name_of_a_country(text: str, claim: str, missing: str) -> None:
    assert KnownNames(text).missing(claim) == [missing]


TOWN = "Mayor Keller opened the harbour of Ostend with Ms Groener."


@pytest.mark.parametrize(
    ("claim", "question"),
    [
        ("Later Mayor Kellar opened it.", "What did Mayor Kellar open?"),
        ("It was opened with Groner.", "Who opened it with Groner?"),
    ],
)
def test_a_typing_error_of_the_question_is_no_other_name(claim: str, question: str) -> None:
    names = KnownNames(TOWN)
    assert names.missing(claim, question) == []
    assert names.missing(claim, "Who opened it?") != []


@pytest.mark.parametrize("name", ["Heller", "Osten", "Kettner", "Bruges"])
def test_another_name_of_the_question_is_missing(name: str) -> None:
    assert KnownNames(TOWN).missing(f"It is {name}.", f"Is it {name}?") == [name]
