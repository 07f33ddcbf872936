"""Refuses requests that pages of other origins send through their visitor's browser.

A page can reach a service that only its visitor can reach in two ways. The page sends a form or a
`fetch` to the service's own address: the browser then reports it in `Sec-Fetch-Site` and `Origin`.
Or the page's own name is made to resolve to the service's address (DNS rebinding): the browser then
treats both as one origin, and only the `Host` header shows the page's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.api import problems
from rag.errors import InputError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s\[\]:/@]+))(?::\d{1,5})?")
_MAX_CHARS = 100
"""Characters of a caller's header in a message."""


class ForeignHostError(InputError):
    """The `Host` header is not a name of this service."""

    code = "host_not_allowed"
    status = 421


class ForeignOriginError(InputError):
    """A page of another origin sent a request that changes something."""

    code = "origin_not_allowed"
    status = 403


class OwnHosts:
    """Refuses requests whose `Host` is none of the service's own names.

    Loopback names and the address that the connection came in at are always served: a name in DNS
    can be made to point anywhere, an address cannot. A request of HTTP/1.0 may have no `Host`: no
    browser sends one.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str]) -> None:
        """Takes further names as `name`, `*.domain` (its subdomains) or `*` (any)."""
        self._app = app
        self._any = "*" in hosts
        self._names = {_normal(host) for host in (*LOOPBACK, *hosts)}
        self._domains = tuple(host[1:].lower() for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http" or self._any or self._is_own(scope):
            await self._app(scope, receive, send)
            return
        given = ", ".join(Headers(scope=scope).getlist("host")) or "nothing"
        error = ForeignHostError(
            f"The Host header is {given[:_MAX_CHARS]!r}, which is no name of this service. If it is"
            " one, add it to the setting server.allowed_hosts."
        )
        await _refuse(error, scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        given = Headers(scope=scope).getlist("host")
        if len(given) != 1:
            return not given and scope["http_version"] == "1.0"
        if not (found := _HOST.fullmatch(given[0])):
            return False
        host = _normal(found["v6"] or found["name"])
        here = scope.get("server")
        return (
            host in self._names
            or host.endswith(self._domains)
            or (here is not None and host == _normal(here[0]))
        )


class OwnOrigins:
    """Refuses requests from pages of other origins that change something.

    Programs send neither `Sec-Fetch-Site` nor `Origin`, and pass.
    """

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        """Takes the `origins` allowed besides the service's own, each as `scheme://host:port`."""
        self._app = app
        self._origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http" or scope["method"] in _SAFE or self._is_own(scope):
            await self._app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin", "unknown")
        error = ForeignOriginError(
            f"A page of another origin ({origin[:_MAX_CHARS]!r}) sent this, and only pages of this"
            " service's own may. If you trust that page, add its origin to the setting"
            " server.allowed_origins."
        )
        await _refuse(error, scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        origin = headers.get("origin", "").lower()
        if origin in self._origins:
            return True
        # The browser's own header decides; without it the two hosts must be equal. A proxy may end
        # TLS, so the schemes may differ.
        if site := headers.get("sec-fetch-site"):
            return site in ("same-origin", "none")
        return not origin or origin.partition("://")[2] == headers.get("host", "").lower()


def _normal(host: str) -> str:
    """Returns a host in a form to compare: names in lower case, addresses in the shortest form."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower()
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


async def _refuse(error: InputError, scope: Scope, receive: Receive, send: Send) -> None:
    body = problems.problem_json(error, scope.get("request_id", ""))
    await problems.response(scope, body)(scope, receive, send)
