"""Checks of commands that work on the data folder itself, and have it to themselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from rag.errors import ConfigError, InputError
from rag.settings.tree import Settings


def refuse_server(command: str) -> None:
    """Raises InputError if RAG_URL names a server: the command would not work on its data."""
    if url := os.environ.get("RAG_URL"):
        raise InputError(
            f"`{command}` works on the data folder itself, and RAG_URL names a server ({url}):"
            " unset it, and stop the server if the folder is its own.",
            code="not_through_a_server",
        )


@contextlib.contextmanager
def own_folder(command: str, settings: Settings) -> Iterator[None]:
    """Names the command in the ConfigError of a block that finds the data folder in use."""
    try:
        yield
    except ConfigError as error:
        if error.code != "data_folder_in_use":
            raise
        raise ConfigError(
            f"`{command}` needs the data folder {settings.data_dir} to itself, and another"
            " process works on it: end that one (`rag serve`, `rag ingest`) and run it again.",
            code=error.code,
        ) from None
