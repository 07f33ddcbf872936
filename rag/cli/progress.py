"""Progress of long commands, on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@contextlib.contextmanager
def progress_bar(title: str, total: int | None, *, quiet: bool) -> Iterator[Progress]:
    """Shows a bar on standard error, if that is a terminal, with one task of `total` steps."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        bar.add_task(title, total=total)
        yield bar


@contextlib.contextmanager
def activity(title: str, *, quiet: bool) -> Iterator[None]:
    """Shows on standard error, if that is a terminal, that work of unknown length goes on."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(title):
        yield
