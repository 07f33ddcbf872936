"""The address of a caller behind proxies, by `Forwarded` (RFC 7239) or `X-Forwarded-For`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from rag.settings.operations import ServerSettings

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
LINE_CHARS = 4096
"""Longest value that is parsed: proxies append to what callers send."""
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_PAIR = re.compile(rf"[ \t]*+(?:({_WORD})=({_WORD}|{_QUOTED}))?[ \t]*+([;,]|\Z)")
"""A parameter, which may be absent, and what follows it."""
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?")
"""An address, and a port or an obfuscated one."""
_NAMELESS = re.compile(r"unknown(?::[0-9]{1,5})?|_[0-9A-Za-z._-]+(?::[0-9A-Za-z._-]+)?", re.I)
_OTHER = {"x-forwarded-for": "forwarded", "forwarded": "x-forwarded-for"}
_log = logging.getLogger(__name__)


def behind_proxies(app: ASGIApp, settings: ServerSettings) -> ASGIApp:
    """Returns the app with the callers' addresses, as trusted proxies write them.

    One header is believed: a proxy that writes one passes on a caller's own value of the other.
    """
    trusted = settings.trusted_proxies
    if not trusted:
        return app
    networks = [ip_network(proxy) for proxy in trusted]
    checked = UnreadHeader(app, networks, believed=settings.proxy_header)
    if settings.proxy_header == "forwarded":
        return Forwarded(checked, networks)
    both = [str(written) for network in networks for written in _written(network)]
    return ProxyHeadersMiddleware(checked, both)  # type: ignore[arg-type, return-value]


class Forwarded:
    """Replaces the address and the scheme of requests of trusted proxies by those of the caller.

    The caller is the rightmost address that is no trusted proxy. Where the header hides an address
    (`unknown`, `_hidden`), lacks it or is malformed, the proxy that passed this on counts as the
    caller: whoever sends such a header shares limits with others, and escapes none.
    """

    def __init__(self, app: ASGIApp, trusted: Networks) -> None:
        self._app = app
        self._trusted = trusted
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "http" and (peer := _trusted_peer(scope, self._trusted)):
            caller, scheme = self._caller(peer, Headers(scope=scope).getlist("forwarded"))
            if caller != peer:
                scope["client"] = (str(caller), 0)
            if scheme in ("http", "https"):
                scope["scheme"] = scheme
        await self._app(scope, receive, send)

    def _caller(self, peer: Address, lines: Sequence[str]) -> tuple[Address, str | None]:
        """Returns the caller, and the scheme by which it called the first trusted proxy."""
        caller, scheme = peer, None
        try:
            for element in _from_the_right(lines):
                scheme = element.get("proto", "").lower()
                address = _address(element.get("for", "unknown"))
                if address is None:
                    break
                caller = address
                if not _among(address, self._trusted):
                    break
        except ValueError as error:
            if not self._warned:
                self._warned = True
                _log.warning(
                    "A Forwarded header from %s is malformed: %s. Its requests count as the"
                    " proxy's own. This is logged once.",
                    peer,
                    error,
                )
        return caller, scheme


class UnreadHeader:
    """Warns once if a trusted proxy sends the other header than the one that is believed."""

    def __init__(self, app: ASGIApp, trusted: Networks, *, believed: str) -> None:
        self._app = app
        self._trusted = trusted
        self._believed, self._other = believed, _OTHER[believed]
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, whose address is the proxy's if the believed header is absent."""
        if not self._warned and scope["type"] == "http" and _trusted_peer(scope, self._trusted):
            names = {name for name, _ in scope["headers"]}
            if self._other.encode() in names and self._believed.encode() not in names:
                self._warned = True
                _log.warning(
                    "The trusted proxy %s sends %s, which is not read: all its callers share its"
                    " address. If the proxy itself writes that header, set server.proxy_header ="
                    ' "%s"; otherwise let it write %s.',
                    scope["client"][0],
                    self._other,
                    self._other,
                    self._believed,
                )
        await self._app(scope, receive, send)


def parsed(line: str) -> list[dict[str, str]]:
    """Returns the elements of a `Forwarded` header from left to right: values by lower-case names.

    Raises:
        ValueError: It is malformed, or longer than `LINE_CHARS`.
    """
    if len(line) > LINE_CHARS:
        raise ValueError(f"it has over {LINE_CHARS} characters")
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(line):
        if (pair := _PAIR.match(line, at)) is None:
            raise ValueError(f"it has no parameter at character {at}")
        name, value, end = pair.groups()
        if name is not None:
            if name.lower() in elements[-1]:
                raise ValueError(f"an element has two parameters {name[:40]!r}")
            elements[-1][name.lower()] = _unquoted(value)
        if end == ",":
            elements.append({})
        at = pair.end()
    return [element for element in elements if element]


def _from_the_right(lines: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yields the elements of all lines, that of the nearest proxy first.

    Each line is parsed alone: an open quote of a caller's line takes in no line of a proxy.
    """
    for line in reversed(lines):
        yield from reversed(parsed(line))


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _address(node: str) -> Address | None:
    """Returns the address of a node; None if it is hidden.

    Raises:
        ValueError: It is no node.
    """
    if _NAMELESS.fullmatch(node):
        return None
    if (found := _NODE.fullmatch(node)) is None:
        raise ValueError("a value of 'for' is neither an address nor an identifier")
    six, four = found.groups()
    return _plain(IPv6Address(six)) if six else IPv4Address(four)


def _trusted_peer(scope: Scope, trusted: Networks) -> Address | None:
    """Returns the address that the request comes from if it is a trusted proxy's."""
    try:
        peer = _plain(ip_address((scope.get("client") or ("",))[0]))
    except ValueError:
        return None
    return peer if _among(peer, trusted) else None


def _written(network: IPv4Network | IPv6Network) -> Networks:
    """Returns a network, and one of IPv4 also as IPv6: a socket for both has its peers so."""
    if isinstance(network, IPv6Network):
        return (network,)
    mapped = f"::ffff:{network.network_address}/{96 + network.prefixlen}"
    return network, IPv6Network(mapped)


def _plain(address: Address) -> Address:
    """Returns an IPv4 address that is written as IPv6 as IPv4."""
    return getattr(address, "ipv4_mapped", None) or address


def _among(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)
