#!/usr/bin/env bash
# Seen on 2026-11-29 with starlette 1.10.0, fastapi 0.136.3, httpx 0.28.1, Python 3.11.
#
# One would expect: a path with GET in one route and DELETE in another answers PUT with 405 and
# `Allow: DELETE, GET`, since RFC 9110 (15.5.6) wants the methods that the resource supports.
# What happens: Allow has the methods of the first route that matches the path, and no others.
# Output seen:
#   405 GET
# Why it matters: clients that read Allow take DELETE for unsupported, and schemathesis reports a
# mismatch with the OpenAPI document for each such path.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet starlette==1.10.0 fastapi==0.136.3 httpx==0.28.1
"$folder/venv/bin/python" - <<'PYTHON' || { echo "It has changed."; exit 1; }
import asyncio

import httpx
from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{item}")
async def read(item: str) -> str:
    return item


@app.delete("/items/{item}")
async def remove(item: str) -> None:
    return None


async def main() -> None:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        response = await http.put("/items/1")
    print(response.status_code, response.headers["allow"])
    assert (response.status_code, response.headers["allow"]) == (405, "GET")


asyncio.run(main())
PYTHON
