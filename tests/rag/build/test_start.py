"""A service that cannot start reports the cause and ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rag.api import app as app_module
from rag.build import running
from rag.errors import RagError
from rag.settings.tree import Settings

pytestmark = pytest.mark.anyio


async def test_a_bug_at_the_start_ends_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextlib.asynccontextmanager
    async def start(_: Settings) -> AsyncIterator[Any]:
        raise ValueError("of a document")
        yield

    monkeypatch.setattr(running, "start", start)
    failed = asyncio.Event()
    app = app_module.create_app(
        Settings(data_dir=tmp_path), url="http://localhost", host="localhost", on_failure=failed.set
    )
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(20), app.router.lifespan_context(app):
            await failed.wait()
    failure = app.state.running.failure
    assert isinstance(failure, RagError)
    assert "ValueError" in str(failure)
    assert "of a document" not in str(failure)
    assert "The service cannot start" in caplog.text
