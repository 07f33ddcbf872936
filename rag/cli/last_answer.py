"""The places that the last answer in this user's terminal cites, for `rag open`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rag.cli.state_folder import state_file, write_private
from rag.client import Answer
from rag.errors import InputError

_FILE = "last-answer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a document that a marker of the answer names."""

    marker: int
    document_id: str
    uri: str
    page: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAnswer:
    """The service that gave the answer, and the cited places in their order.

    `url` is that of a server; without one, the answer is of the data that the settings in `folder`
    name.
    """

    url: str | None
    folder: str
    tenant: str | None
    collection: str
    places: list[Place]


def remember(answer: Answer, args: argparse.Namespace) -> None:
    """Stores the places that an answer cites; a failure is reported, and the answer stands."""
    places = [
        Place(marker=c.marker, document_id=c.document_id, uri=c.uri, page=c.page)
        for c in answer.citations
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
    """
    try:
        stored = json.loads(state_file(_FILE).read_text(encoding="utf-8"))
        return LastAnswer(**stored | {"places": [Place(**each) for each in stored["places"]]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "There is no last answer: `rag query` and `rag chat` give one.", code="no_answer"
        ) from error
