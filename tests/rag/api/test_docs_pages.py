"""The pages that document the API load nothing from the web."""

from __future__ import annotations

import re

import httpx
import pytest

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.settings.tree import Settings

pytestmark = pytest.mark.anyio
LOADED = re.compile(r"(?:src|href)=[\"']([^\"']+)|url\(([^)]+)\)|@import ([^;]+)")


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_all_that_a_page_loads_is_here(page: str) -> None:
    transport = httpx.ASGITransport(app=app_without_lifespan(Settings(), Running()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        response = await http.get(page)
        assert response.status_code == 200
        loaded = [next(filter(None, found)) for found in LOADED.findall(response.text)]
        assert loaded
        assert all(address.startswith("/docs/assets/") for address in loaded)
        for address in loaded:
            asset = await http.get(address)
            assert (asset.status_code, len(asset.content) > 1000) == (200, True)
            if address.endswith(".css"):
                named = (next(filter(None, found)) for found in LOADED.findall(asset.text))
                assert all(name.strip("'\"").startswith(("data:", "#")) for name in named)
        assert "//validator" not in response.text.replace("validatorUrl", "")
        assert (await http.get("/openapi.json")).json()["openapi"].startswith("3.1")
