"""The gate: decides who calls, before a route or a body is looked at. Plain ASGI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.api import problems
from rag.api.deps import Running
from rag.api.docs_pages import ASSETS
from rag.api.mcp_endpoint import PATH as MCP
from rag.api.resource_metadata import METADATA, ResourceMetadata
from rag.errors import RagError, UnauthenticatedError
from rag.gateway.accounts import Accounts
from rag.types import Principal
from rag.web import page

OPEN = ("/", "/healthz", "/readyz", "/docs", "/redoc", "/openapi.json", METADATA)
"""Paths that need no key: probes have none, and the pages hold no data."""
_FOLDERS = tuple(f"{folder}/" for folder in (ASSETS, *page.FOLDERS))
UNCHARGED = (MCP,)
"""Paths whose requests only make others, through the same gate, which are charged."""
_BEARER = "bearer "
_MAX_CHARS = 16_384
"""Characters of a credential; tokens with many groups have some thousands."""


class Gate:
    """Puts the caller into `scope["principal"]`, or answers in place of the routes.

    A request of this process, as lines of batches are, has its caller there already, and the factor
    of its cost as `scope["price"]`: `AppTransport` puts them there, and no server does.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        running: Running,
        caller: Principal | None,
        metadata: ResourceMetadata,
    ) -> None:
        """Takes the `caller` of all requests; with None, each is authenticated."""
        self._app = app
        self._running = running
        self._caller = caller
        self._metadata = metadata

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if self._caller is not None:
            scope["principal"] = self._caller
        elif "principal" not in scope and not is_open(scope["path"]):
            try:
                scope["principal"] = await self._authenticate(scope)
            except RagError as error:
                await self._refuse(error, scope, receive, send)
                return
        if self._running.gateway is None or "principal" not in scope or scope["path"] in UNCHARGED:
            await self._app(scope, receive, send)
        else:
            await self._charged(self._running.gateway.accounts, scope, receive, send)

    async def _charged(
        self, accounts: Accounts, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Handles a request within the limits of its caller, to the last byte of its response."""
        try:
            account = scope["account"] = await accounts.open(
                scope["principal"], price=scope.get("price", 1.0)
            )
        except RagError as error:
            await self._refuse(error, scope, receive, send)
            return

        async def send_charged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_fields(message["headers"], account.fields())
            elif not message.get("more_body", False):  # a kill from now on loses no row
                await account.written()
            await send(message)

        try:
            await self._app(scope, receive, send_charged)
        finally:
            account.close()

    async def _authenticate(self, scope: Scope) -> Principal:
        gateway = self._running.gateway
        if gateway is None:
            raise self._running.loading("The service is still starting; /readyz says when it is.")
        address = (scope.get("client") or ("",))[0]
        return await gateway.identify(credential_of(scope), address)

    async def _refuse(self, error: RagError, scope: Scope, receive: Receive, send: Send) -> None:
        headers = problems.retry_after(error)
        if isinstance(error, UnauthenticatedError):
            headers["WWW-Authenticate"] = self._metadata.challenge(scope)
        body = problems.problem_json(error, scope.get("request_id", ""))
        await problems.response(scope, body, headers)(scope, receive, send)


def _with_fields(
    headers: Iterable[tuple[bytes, bytes]], fields: Mapping[str, str]
) -> list[tuple[bytes, bytes]]:
    """Returns the headers with the fields, which replace those of the same names.

    Once for each request: `MutableHeaders` looks for each name among all headers.
    """
    added = {name.lower().encode(): value.encode("latin-1") for name, value in fields.items()}
    return [*(pair for pair in headers if pair[0] not in added), *added.items()]


def is_open(path: str) -> bool:
    """Returns True if a path is served without a key."""
    return path in OPEN or path.startswith(_FOLDERS)


def credential_of(scope: Scope) -> str:
    """Returns the key or token of a request: that of `Authorization`, else that of `api-key`.

    Raises:
        UnauthenticatedError: There is none, or more than one of a kind.
    """
    headers = Headers(scope=scope)
    if given := headers.getlist("authorization"):
        is_bearer = len(given) == 1 and given[0].lower().startswith(_BEARER)
        found = given[0][len(_BEARER) :].strip() if is_bearer else ""
    else:
        keys = headers.getlist("api-key")
        found = keys[0].strip() if len(keys) == 1 else ""
    if not 0 < len(found) <= _MAX_CHARS:
        raise UnauthenticatedError
    return found
