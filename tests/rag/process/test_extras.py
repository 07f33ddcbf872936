"""Packages that come with an extra."""

from __future__ import annotations

import pytest

from rag.errors import ConfigError
from rag.process.extras import needing


def test_a_package_that_is_not_installed_is_reported_with_the_command_that_installs_it() -> None:
    expected = (
        r"`queue\.kind` needs the module 'no_such_module', which is not installed: run"
        r" `pip install 'plumbline-rag\[cluster\]'`\."
    )
    with pytest.raises(ConfigError, match=expected), needing("cluster", for_="`queue.kind`"):
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
