"""The pages that document the API, with all that they load: a browser needs no other server."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS = "/docs/assets"
_FOLDER = Path(fastapi_offline.__file__).parent / "static"


def add_pages(app: FastAPI) -> None:
    """Adds `/docs` (Swagger UI) and `/redoc` to an app that was made without them."""

    async def docs(request: Request) -> HTMLResponse:
        below = request.scope.get("root_path", "")
        return get_swagger_ui_html(
            openapi_url=f"{below}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{below}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{below}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{below}{ASSETS}/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},  # it would be asked on the web
        )

    async def redoc(request: Request) -> HTMLResponse:
        below = request.scope.get("root_path", "")
        return get_redoc_html(
            openapi_url=f"{below}{app.openapi_url}",
            title=app.title,
            redoc_js_url=f"{below}{ASSETS}/redoc.standalone.js",
            redoc_favicon_url=f"{below}{ASSETS}/favicon.png",
            with_google_fonts=False,
        )

    app.mount(ASSETS, StaticFiles(directory=_FOLDER))
    app.add_route("/docs", docs, include_in_schema=False)
    app.add_route("/redoc", redoc, include_in_schema=False)
