"""Whose address a request behind proxies has: RFC 7239's header, and values made to deceive."""

from __future__ import annotations

import asyncio
import logging
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from rag.api.forwarded import LINE_CHARS, behind_proxies, parsed
from rag.settings.operations import ServerSettings

PROXY, INNER, CALLER = "10.0.0.7", "10.1.2.3", "203.0.113.1"


def seen(
    *headers: tuple[str, str],
    peer: str = PROXY,
    read: str = "forwarded",
    trusted: tuple[str, ...] = (PROXY, "10.1.0.0/16", "2001:db8:1::/48"),
) -> tuple[str, str]:
    """Returns the address and the scheme that an app sees of a request with these headers."""
    found = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append((scope["client"][0], scope["scheme"]))

    settings = ServerSettings.model_validate({"trusted_proxies": trusted, "proxy_header": read})
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "scheme": "http", "client": (peer, 4711), "headers": pairs}
    asyncio.run(behind_proxies(app, settings)(scope, None, None))  # type: ignore[arg-type]
    [one] = found
    return one


def caller(*lines: str, peer: str = PROXY) -> str:
    return seen(*(("Forwarded", line) for line in lines), peer=peer)[0]


@pytest.mark.parametrize(
    ("line", "elements"),
    [
        ('for="_gazonk"', [{"for": "_gazonk"}]),
        ('For="[2001:db8:cafe::17]:4711"', [{"for": "[2001:db8:cafe::17]:4711"}]),
        (
            "for=192.0.2.60;proto=http;by=203.0.113.43",
            [{"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}],
        ),
        (
            'for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown',
            [{"for": "192.0.2.43"}, {"for": "[2001:db8:cafe::17]"}, {"for": "unknown"}],
        ),
        (
            'for=_a , for=_b; secret="a, \\"b\\";c"',
            [{"for": "_a"}, {"for": "_b", "secret": 'a, "b";c'}],
        ),
        (", ,for=_a;;,", [{"for": "_a"}]),
        ("", []),
    ],
)
def test_elements_are_those_of_rfc_7239(line: str, elements: list[dict[str, str]]) -> None:
    assert parsed(line) == elements


@pytest.mark.parametrize(
    "line",
    [
        'for="192.0.2.1',
        'for="192.0.2.1\\"',
        'for=", for="[2001:db8::1]"',
        "for=192.0.2.1:80",
        "for=[2001:db8::1]",
        "for =192.0.2.1",
        "for= 192.0.2.1",
        "for=192.0.2.1;for=192.0.2.2",
        "for=192.0.2.1;FOR=192.0.2.1",
        "192.0.2.1",
        "for=192.0.2.1 for=192.0.2.2",
        "for=a\x00b",
        "for",
        "=",
        "," * (LINE_CHARS + 1),
        " " * LINE_CHARS + '"',
    ],
)
def test_other_lines_are_malformed(line: str) -> None:
    with pytest.raises(ValueError, match=r"^(it has|an element has)"):
        parsed(line)
    assert caller(line) == PROXY
    assert caller(f"for={CALLER}", line) == PROXY
    # A line of a proxy to its right counts, whatever the caller sent.
    assert caller(line, f"for={CALLER}") == CALLER


@pytest.mark.parametrize(
    ("node", "address"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ('"203.0.113.1:4711"', "203.0.113.1"),
        ('"203.0.113.1:_port"', "203.0.113.1"),
        ('"[2001:DB8:0::17]"', "2001:db8::17"),
        ('"[2001:db8::17]:4711"', "2001:db8::17"),
        ('"[::ffff:203.0.113.1]"', "203.0.113.1"),
        ('"\\2\\0\\3.0.113.1"', "203.0.113.1"),
        # Hidden: the proxy's address is the last that is known.
        ("unknown", PROXY),
        ("_hidden", PROXY),
        ('"_hidden:_port"', PROXY),
        ('"unknown:80"', PROXY),
        # No node.
        ('""', PROXY),
        ('"2001:db8::17"', PROXY),
        ('"[203.0.113.1]"', PROXY),
        ('"[2001:db8::17%eth0]"', PROXY),
        ('"[2001:db8::17]4711"', PROXY),
        ('"203.0.113.1:"', PROXY),
        ('"203.0.113.1:123456"', PROXY),
        ("203.0.113.01", PROXY),
        ("203.0.113.256", PROXY),
        ("203.0.113", PROXY),
        ("localhost", PROXY),
        ('"٢٠٣.0.113.1"'.encode().decode("latin-1"), PROXY),
    ],
)
def test_an_address_is_read_as_rfc_7239_writes_it(node: str, address: str) -> None:
    assert caller(f"for={node}") == address


def test_the_rightmost_address_that_is_no_proxy_counts() -> None:
    assert caller("for=198.51.100.9", f"for={CALLER}", f"for={INNER}") == CALLER
    assert caller(f"for=198.51.100.9, for={CALLER}, for={INNER}") == CALLER
    assert caller(f'for={CALLER}, for="[2001:db8:1::5]:80"') == CALLER
    # Beyond an address that is hidden, nothing is believed.
    assert caller(f"for={CALLER}, for=_hidden") == PROXY
    assert caller(f"for={CALLER}, proto=https, for={INNER}") == INNER
    # Proxies alone: one of them called.
    assert caller("for=10.1.0.1, for=10.1.0.2") == "10.1.0.1"
    assert caller() == PROXY


def test_only_trusted_proxies_are_believed() -> None:
    assert caller(f"for={CALLER}", peer="198.51.100.9") == "198.51.100.9"
    assert caller(f"for={CALLER}", peer=f"::ffff:{PROXY}") == CALLER
    assert seen(("Forwarded", f"for={CALLER}"), trusted=()) == (PROXY, "http")


@pytest.mark.parametrize(
    ("read", "value"), [("forwarded", f"for={CALLER}"), ("x-forwarded-for", CALLER)]
)
@pytest.mark.parametrize(
    ("peer", "is_trusted"), [(PROXY, True), (INNER, True), ("10.0.0.8", False), ("10.2.2.3", False)]
)
def test_a_proxy_of_ipv4_may_be_written_as_ipv6(
    read: str, value: str, peer: str, is_trusted: bool
) -> None:
    for written in (peer, f"::ffff:{peer}"):
        found, _ = seen((read, value), peer=written, read=read)
        assert found == (CALLER if is_trusted else written)


def test_the_scheme_is_that_of_the_caller_s_own_connection() -> None:
    def scheme(line: str) -> str:
        return seen(("Forwarded", line))[1]

    assert scheme(f"for={CALLER};proto=HTTPS") == "https"
    assert scheme("for=_hidden;proto=https") == "https"
    assert scheme(f"for={CALLER};proto=https, for={INNER};proto=http") == "https"
    assert scheme(f"for=198.51.100.9;proto=https, for={CALLER}") == "http"
    assert scheme(f"for={CALLER};proto=gopher") == "http"


@pytest.mark.parametrize("read", ["forwarded", "x-forwarded-for"])
def test_one_header_is_read_and_a_proxy_that_sends_the_other_is_named_once(
    read: str, caplog: pytest.LogCaptureFixture
) -> None:
    both = {"forwarded": f"for={CALLER}", "x-forwarded-for": CALLER}
    other = next(name for name in both if name != read)
    with caplog.at_level(logging.WARNING):
        assert seen((read, both[read]), (other, "198.51.100.9"), read=read)[0] == CALLER
        assert seen((other, both[other]), read=read, peer="198.51.100.9")[0] == "198.51.100.9"
        assert caplog.messages == []
        assert seen((other, both[other]), ("X-Forwarded-Proto", "https"), read=read)[0] == PROXY
    [message] = caplog.messages
    assert f"{PROXY} sends {other}" in message
    assert f'server.proxy_header = "{other}"' in message


@given(
    st.lists(
        st.text(st.characters(max_codepoint=255))
        | st.from_regex(r'(for="?[\[\]:_.0-9a-f]*"?[;, ]*)+'),
        max_size=3,
    )
)
def test_no_value_is_an_error_or_becomes_an_address_that_is_none(lines: list[str]) -> None:
    latin = [line.encode("latin-1", "replace").decode("latin-1") for line in lines]
    assert ip_address(caller(*latin))
    assert caller(*latin, f"for={CALLER}") == CALLER
