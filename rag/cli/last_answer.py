"""The passages that were last shown in this user's terminal, for `rag open`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rag.cli.answer_lines import numbered
from rag.cli.state_folder import state_file, write_private
from rag.client import SearchResult
from rag.errors import InputError, StorageError
from rag.privacy.redaction import words

_FILE = "last-answer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a document that was shown with a number."""

    number: int
    document_id: str
    uri: str
    page: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAnswer:
    """The service that gave an answer or hits, and the places that were shown of it, in order.

    `url` is that of a server; without one, they are of the data that the settings in `folder` name.
    """

    url: str | None
    folder: str
    tenant: str | None
    collection: str
    places: list[Place]


def remember(shown: SearchResult, args: argparse.Namespace) -> None:
    """Stores the places that are shown of an answer or of hits; a failure is only reported."""
    places = [
        Place(number=number, document_id=each.document_id, uri=each.uri, page=each.page)
        for number, each in numbered(shown)
    ]
    last = LastAnswer(
        url=args.url,
        folder=str(Path.cwd()),
        tenant=args.tenant,
        collection=args.collection,
        places=places,
    )
    try:
        write_private(state_file(_FILE), json.dumps(asdict(last)))
    except OSError as error:
        says = f"rag: `rag open` does not know this answer: {error.filename}: {error.strerror}."
        print(says, file=sys.stderr)  # noqa: T201


def last_answer() -> LastAnswer:
    """Returns the last answer.

    Raises:
        InputError: There is none.
        StorageError: It cannot be read.
    """
    file = state_file(_FILE)
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return LastAnswer(**stored | {"places": [Place(**each) for each in stored["places"]]})
    except FileNotFoundError as error:
        raise InputError(
            "Nothing was shown yet: `rag query`, `rag chat` and `rag search` show passages.",
            code="no_answer",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{file} has the passages that were shown last, and cannot be read: {words(error)}."
            " Ask again, or remove it.",
        ) from error
