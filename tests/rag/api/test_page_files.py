"""The page's files as the server sends them."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.settings.tree import Settings
from rag.web.page import STATIC

pytestmark = pytest.mark.anyio
LOADED = re.compile(r"(?:src|href)=\"([^\"]+)\"")


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.model_validate({"gateway": {"enabled": True}})
    transport = httpx.ASGITransport(app=app_without_lifespan(settings, Running()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_the_page_needs_no_key_and_names_only_its_own_files(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-cache"
    named = LOADED.findall(page.text)
    assert len(named) >= 3
    for address in named:
        assert address.startswith("./assets/")
        asset = await http.get(address[1:])
        assert asset.status_code == 200
        assert "immutable" in asset.headers["cache-control"]


async def test_the_policy_allows_nothing_inline_and_nothing_elsewhere(
    http: httpx.AsyncClient,
) -> None:
    page = await http.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<style" not in page.text
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|\sstyle=", page.text)


async def test_files_are_sent_compressed_and_not_sent_again(http: httpx.AsyncClient) -> None:
    (script,) = (f"/assets/{file.name}" for file in (STATIC / "assets").glob("index-*.js"))
    plain = await http.get(script, headers={"Accept-Encoding": "identity"})
    packed = await http.get(script, headers={"Accept-Encoding": "br, gzip;q=0.9"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content == (STATIC / script[1:]).read_bytes()
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, mtime=0))
    again = await http.get(script, headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/assets/none.js",
        "/assets/..%2f..%2fpage.py",
        "/assets/%2e%2e/%2e%2e/page.py",
        "/assets/%00",
        "/assets/" + "a" * 300,
        "/pdfjs/",
    ],
)
async def test_nothing_else_is_served(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404
