from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import ConfigError
from rag.privacy.masking import RULES, Masker, Rule
from tests.planted import planted

if TYPE_CHECKING:
    from rag.privacy.presidio import PresidioMasker

MASKER = Masker()
SECRETS = {
    "e-mail": ["jane.doe@corp.example", "j+news@sub.mail.example.co.uk", "müller@straße.example"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005",
             "4111\u00a01111\u00a01111\u00a01111"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432",
             "fr1420041010050500013M02606"],
    "IP": ["192.168.178.31", "2001:db8::ff00:42:8329", "::1", "fe80::1"],
    "phone": ["+49 30 901820", "+1 (415) 555-2671", "0049 171 1234567", "415-555-2671",
              "(415) 555-2671", "030/1234567", "+4917112345678", "(030) 901820", "06 12 34 56 78"],
    "key": [
        "sk-proj-abcdefghijklmnop1234", "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        f"pl_0123456789ab_{'0a' * 32}",
        "AKIAIOSFODNN7EXAMPLE", "xoxb-123456789012-abcdefghijkl", "glpat-abcdefghij0123456789",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "Bearer abcdefghijklmnop.qrstuv", "password: hunter22", "API_KEY=abcdef123456",
        '"password": "hunter22"', "{'api_key': 'abcdef123456'}",
        "AWS_SECRET_ACCESS_KEY=abc/def123456",
        "postgres://user:hunter22@db.example/x",
        "Basic dXNlcjpodW50ZXIyMg==", "?token=abcdef123456&x=1",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    ],
}  # fmt: skip
PLAIN = [
    "In 1769 James Watt patented an engine.",
    "See https://docs.example/watt?page=12 at 12:30:45 on 2026-11-21.",
    "Order 4111 1111 1111 1112 is no card, nor is 1234567890123.",
    "Version 3.11.7 of 999.1.2.3, score 0.9933 ± 0.0001.",
    "PEP 484, RFC 9457, ISBN 978-3-16-148410-0, def f(x: int) -> str:",
    "The passwords of all were changed; a key opens doors.",
    "11111111-2222-5333-8444-555555555555",
    "Job fb66968f37e946c78370e4475ee0e57c has an IBAN's checksum by chance.",
]


@pytest.mark.parametrize(("name", "secret"), [(n, s) for n, some in SECRETS.items() for s in some])
@pytest.mark.parametrize(
    "around", ["{}", "Write to {}.", "({}), please", '{{"to": "{}"}}', "a,{};"]
)
def test_it_goes(name: str, secret: str, around: str) -> None:
    masked = MASKER.text(around.format(secret))
    assert f"[{name}]" in masked
    assert not any(part in masked for part in secret.split() if len(part) > 4)
    assert ("please" in masked) == ("please" in around)


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_none_stays(text: str) -> None:
    assert MASKER.text(text) == text


def test_two_hundred_planted_ones_all_go() -> None:
    chance = random.Random(7)
    secrets = planted(200)
    masked = MASKER.text("".join(f"{chance.choice(PLAIN)} {secret} " for secret in secrets))
    assert not [secret for secret in secrets if secret in masked]
    assert masked.count("[") >= 200


def test_all_of_a_content_is_masked() -> None:
    mail = SECRETS["e-mail"][0]
    content = {mail: [{"text": f"to {mail}", "score": 1.5, "page": None}], "n": (mail, True)}
    masked = MASKER.content(content)
    assert mail not in json.dumps(masked)
    assert masked == {
        "[e-mail]": [{"text": "to [e-mail]", "score": 1.5, "page": None}],
        "n": ["[e-mail]", True],
    }


def test_own_patterns_go_first() -> None:
    assert Masker([r"EMP-\d+"]).text("EMP-4711 of a@b.example") == "[masked] of [e-mail]"
    assert Masker([""]).text("as it is") == "as it is"


@given(st.text("ab1.@:-+ ()", max_size=300))
def test_what_is_not_masked_stays_in_its_order(text: str) -> None:
    place = 0
    for kept in re.split(r"\[[^\]]*\]", MASKER.text(text)):
        place = text.index(kept, place) + len(kept)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name} {rule.pattern[:24]}")
@given(st.data())
def test_whatever_a_rule_finds_has_its_signs(rule: Rule, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(rule.pattern))
    assert any(sign in text.casefold() for sign in rule.signs)
    assert len(re.findall(r"\d", text)) >= rule.digits


def test_a_long_text_is_masked_as_a_short_one() -> None:
    for piece in (
        "a",
        "1",
        "a.",
        "1 ",
        "1:",
        "@",
        "a@",
        "-",
        "(",
        "+123456789012345678901234x ",
        "eyJ-",
        "eyJabcdefgh.",
        "://a:",
    ):
        short, long = piece * 20, piece * (200_000 // len(piece))
        assert (MASKER.text(long) == long) == (MASKER.text(short) == short), piece


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> PresidioMasker:
    """Presidio with a model that knows one name: real models would be downloaded."""
    import spacy

    from rag.privacy.presidio import PresidioMasker

    folder = tmp_path_factory.mktemp("presidio")
    model = spacy.blank("en")
    rules = model.add_pipe("entity_ruler")
    rules.add_patterns([{"label": "PERSON", "pattern": "Jane Doe"}])  # type: ignore[attr-defined]
    model.to_disk(folder / "model")
    (folder / "presidio.yml").write_text(PRESIDIO.format(model=folder / "model"))
    return PresidioMasker(folder / "presidio.yml")


PRESIDIO = """
supported_languages: [en]
default_score_threshold: 0.3
nlp_configuration:
  nlp_engine_name: spacy
  models:
    - {{lang_code: en, model_name: {model}}}
recognizer_registry:
  supported_languages: [en]
  recognizers:
    - {{name: SpacyRecognizer, type: predefined}}
    - {{name: PhoneRecognizer, type: predefined}}
    - {{name: EmailRecognizer, type: predefined}}
"""


def test_presidio_masks_besides(names: PresidioMasker) -> None:
    masker = Masker(["Utrecht"], first=names.text)
    text = "Jane Doe, Utrecht, told jane@corp.example twice: Jane Doe pays 4111 1111 1111 1111."
    masked = masker.text(text)
    assert masked.count("[PERSON]") == 2
    assert masked.startswith("[PERSON], [masked], told ")
    for secret in ("Jane", "jane@", "4111"):
        assert secret not in masked
    assert masker.text("In 1769 James Watt") == "In 1769 James Watt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("a: [", "cannot be read"),
        ("- a list", "no YAML mapping"),
        (PRESIDIO.format(model="no_such_model"), "Are the models that it names installed"),
    ],
)
def test_a_presidio_that_cannot_be_started_is_told(
    tmp_path: Path, content: str | None, message: str
) -> None:
    from rag.privacy.presidio import PresidioMasker

    file = tmp_path / "presidio.yml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        PresidioMasker(file)
