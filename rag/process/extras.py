"""Imports of packages that come with an extra of the distribution."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rag.errors import ConfigError


@contextlib.contextmanager
def needing(extra: str, *, for_: str) -> Iterator[None]:
    """Reports a package that is not installed as a ConfigError that names the extra to install.

    Args:
        extra: name of the extra.
        for_: name of the thing that needs the package, as a sentence begins.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{for_} needs the module {error.name!r}, which is not installed: run"
            f" `pip install 'plumbline-rag[{extra}]'`."
        ) from None
