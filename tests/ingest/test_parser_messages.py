"""Messages about documents that the reader process refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ingest.reader_process import Limits
from rag.errors import ReadError
from tests.ingest.test_parser import parser

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ({"spool": "0f3c", "name": "Annual report.pdf"}, "Annual report.pdf"),
        ({"spool": "0f3c", "name": None}, "minutes-7"),
        ({"url": "https://a.example/guide", "spool": "0f3c", "name": "guide.html"}, "guide.html"),
    ],
)
async def test_messages_name_a_document_as_people_do(
    tmp_path: Path, source: dict[str, str | None], name: str
) -> None:
    async def error_of(limits: Limits, path: Path) -> str:
        with parser(limits) as reader, pytest.raises(ReadError) as caught:
            await reader.read(source, path, id_="id", uri="urn:acme/minutes-7")
        return str(caught.value)

    endless = tmp_path / "endless"
    os.mkfifo(endless)  # opening it never returns: nothing writes to it
    long = tmp_path / "0f3c"
    text = json.dumps({"text": "word " * (300 << 10)})
    long.write_text(text)
    messages = {
        "took more than": await error_of(Limits(seconds=0.5), endless),
        "million characters": await error_of(Limits(text=1 << 20), long),
        "over the limit": await error_of(Limits(file=1 << 20), long),
        "cannot be read": await error_of(Limits(), tmp_path / "gone"),
    }
    for reason, message in messages.items():
        assert message.startswith(f"{name}: "), message
        assert reason in message
