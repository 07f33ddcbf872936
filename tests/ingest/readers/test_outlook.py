"""Outlook's messages are read as the same message in an .eml; written here by another library."""

from __future__ import annotations

import contextlib
import random

import pytest

from rag.errors import ReadError
from rag.types import Document
from tests.ingest.readers.test_formats import read_as
from tests.ingest.readers.test_mail import attached, headings
from tests.places import ROOT

FOLDER = ROOT / "tests" / "data" / "office"


def msg(name: str) -> Document:
    return read_as(name, (FOLDER / name).read_bytes())


def test_headers_text_and_what_is_quoted() -> None:
    document = msg("thread.msg")
    assert document.title == "Re: Pump hall 4"
    assert document.media_type == "application/vnd.ms-outlook"
    assert document.meta == {
        "author": "Ana Lindqvist <ana@example.org>",
        "to": "Bo Ødegård <bo@example.org>",
        "cc": "The Team <team@example.org>",
        "created": "2024-03-05",
        "sent": "2024-03-05T09:30:00+00:00",
        "attachments": ("plan.md", "Bericht äöü.txt", "Pump hall 4.eml"),
    }
    [sender] = headings(document, "It runs at 960 rpm")
    assert sender.startswith("From: Ana Lindqvist <ana@example.org>, ")
    quoted = "Quoted message: From: Bo, Sent: Monday, Subject: Pump hall 4"
    assert headings(document, "1450 rpm") == (sender, quoted)


def test_attachments_and_the_message_within() -> None:
    document = msg("thread.msg")
    plan = attached(document, "plan.md")
    assert headings(plan, "4,200 crowns") == ("Costs",)
    assert attached(document, "Bericht äöü.txt").text == "Umlaute: größer\n"
    inner = attached(document, "Pump hall 4.eml")
    assert inner.title == "Pump hall 4"
    assert inner.text.endswith("The pump in hall 4 runs at 1450 rpm.")
    pumps = attached(inner, "pumps.csv")
    [table] = pumps.tables
    assert pumps.text[table.start : table.end].startswith("Pump | Speed rpm\nP40 | 900")


def test_two_readings_give_the_same_attachments() -> None:
    one, other = msg("thread.msg"), msg("thread.msg")
    assert len(one.attachments) == 3
    assert one.attachments == other.attachments


def test_a_text_in_html_has_its_table_and_one_in_rtf_its_words() -> None:
    prices = msg("prices.msg")
    [table] = prices.tables
    assert prices.text[table.start : table.end] == "Item | Price\nCup | 3\nPlate | 5"
    assert msg("rules.msg").text.endswith("\n\nThe gate closes at 22:00.")


@pytest.mark.parametrize("name", ["thread.msg", "prices.msg", "rules.msg"])
def test_damaged_messages_are_read_or_refused(name: str) -> None:
    data, dice = (FOLDER / name).read_bytes(), random.Random(3)
    damaged = [data[: len(data) * n // 8] for n in range(1, 8)]
    for _ in range(25):
        changed = bytearray(data)
        for _ in range(40):
            changed[dice.randrange(512, len(data))] = dice.randrange(256)
        damaged.append(bytes(changed))
    for each in damaged:
        with contextlib.suppress(ReadError):  # any other error fails
            assert read_as(name, each).text
