"""Documents from the web, from real servers on this machine."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sources.addresses import Address, is_public
from ingest.sources.fetch import REDIRECTS, Fetcher
from ingest.sources.files import Spool
from ingest.sources.web import WebReader, is_url, parse_url, submission_of_url
from rag.errors import RagError, ReadError, StorageError, UpstreamError
from rag.text.uris import document_id
from tests.fakes import HereReader
from tests.ports import free_port
from tests.web import Page, Web, web

KIB, MIB = 1 << 10, 1 << 20


def loopback(address: Address) -> bool:
    return address == ip_address("127.0.0.1")


@pytest.fixture
def site() -> Iterator[Web]:
    with web({"/a.txt": Page(b"Otters hold hands.")}) as running:
        yield running


def fetched(
    url: str, to: Path, *, max_bytes: int = MIB, seconds: float = 20.0
) -> tuple[str, bytes]:
    """Fetches a URL; returns the name and the body."""
    fetcher = Fetcher(max_bytes=max_bytes, seconds=seconds, allows=loopback)
    name = asyncio.run(fetcher.fetch(url, to / "body"))
    return name, (to / "body").read_bytes()


def refused(kind: type[RagError], url: str, to: Path, **limits: Any) -> RagError:
    with pytest.raises(kind) as caught:
        fetched(url, to, **limits)
    assert type(caught.value) is kind
    return caught.value


# Addresses

PUBLIC = (
    "1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.63.0.1", "223.255.255.255",
    "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1",
)  # fmt: skip
INSIDE = (
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192",
    "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fec0::1",
    "ff02::1", "2001:db8::1", "2001::1", "::127.0.0.1", "64:ff9b:1::1.1.1.1", "3fff::1",
)  # fmt: skip
WRAPPINGS = ("::ffff:", "64:ff9b::")


@pytest.mark.parametrize("text", PUBLIC)
def test_addresses_out_on_the_internet(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", INSIDE)
def test_addresses_that_are_somebody_s_own(text: str) -> None:
    assert not is_public(ip_address(text))


@given(st.ip_addresses(v=4))
def test_an_address_is_judged_by_what_it_wraps(address: IPv4Address) -> None:
    for wrapping in WRAPPINGS:
        assert is_public(ip_address(f"{wrapping}{address}")) == is_public(address)
    high, low = divmod(int(address), 1 << 16)
    assert not is_public(ip_address(f"2002:{high:x}:{low:x}::1"))  # 6to4, whatever it wraps


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_to_be_inside(
    address: IPv4Address | IPv6Address,
) -> None:
    known = (
        address.is_private, address.is_loopback, address.is_link_local, address.is_multicast,
        address.is_reserved, address.is_unspecified,
    )  # fmt: skip
    if is_public(address) and not str(address).startswith(WRAPPINGS):
        assert not any(known)


# URLs


def test_what_is_meant_as_a_url() -> None:
    assert is_url("https://a.example/b")
    assert is_url("HTTP://A.EXAMPLE")
    assert not is_url("https")
    assert not is_url("notes/http.md")
    assert not is_url("ftp://a.example/b")


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/b", "file:///etc/passwd", "https://", "http:///b", "http://[::1", "/b", "",
     "http://a.example:port/", "http://a\0.example/", "data:text/plain,x"],
)  # fmt: skip
def test_urls_that_cannot_be_fetched(url: str) -> None:
    with pytest.raises(ReadError) as caught:
        parse_url(url)
    assert caught.value.code == "invalid_url"


@pytest.mark.parametrize(
    "url", ["https://me:secret@a.example/b", "https://secret@a.example/", "http://me:secret@[::1"]
)
def test_a_url_with_a_password_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ReadError) as caught:
        submission_of_url(url, "key")
    assert "secret" not in str(caught.value)


def test_a_submission_says_where_the_bytes_will_lie() -> None:
    url = "https://a.example/b"
    one, two = submission_of_url(url, "key"), submission_of_url(url, "other", own_id="mine")
    assert (one.document_id, one.uri, one.source["url"]) == (document_id(url), url, url)
    assert (two.document_id, two.source["own_id"]) == ("mine", True)
    assert (one.source["spool"], two.source["spool"]) == ("key", "other")


# Fetching


def test_a_body_is_written_as_it_is(site: Web, tmp_path: Path) -> None:
    assert fetched(f"{site.url}/a.txt", tmp_path) == ("a.txt", b"Otters hold hands.")
    [(path, headers)] = site.requests
    assert path == "/a.txt"
    assert headers["host"] == site.url.removeprefix("http://")
    assert headers["user-agent"].startswith("Plumbline/")
    assert not {"cookie", "authorization", "referer"} & set(headers)


def test_the_query_is_sent_and_the_fragment_is_not(site: Web, tmp_path: Path) -> None:
    site.pages["/a%20b?q=%C3%BC"] = Page(b"found")
    assert fetched(f"{site.url}/a b?q=ü#part", tmp_path)[1] == b"found"


def test_proxies_of_the_environment_are_not_asked(
    site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert fetched(f"{site.url}/a.txt", tmp_path)[1]


@pytest.mark.parametrize(
    ("path", "content_type", "name"),
    [
        ("/report.pdf", "text/html", "report.pdf"),
        ("/page.php", "text/html; charset=utf-8", "page.php.html"),
        ("/wiki/Otter", "TEXT/HTML", "Otter.html"),
        ("/", "text/html", "127.0.0.1.html"),
        ("/data", "text/csv", "data.csv"),
        ("/notes", "text/plain", "notes"),
        ("/no%00tes.md", "text/plain", "notes.md"),
        ("/what", "application/unheard-of", "what"),
    ],
)
def test_a_name_tells_what_it_is(
    site: Web, tmp_path: Path, path: str, content_type: str, name: str
) -> None:
    site.pages[path] = Page(b"x", headers={"Content-Type": content_type})
    assert fetched(site.url + path, tmp_path)[0] == name


def test_redirects_are_followed_and_cookies_are_not_kept(site: Web, tmp_path: Path) -> None:
    moved = {"Location": "b", "Set-Cookie": "a=1"}
    site.pages["/x/a"] = Page(status=302, headers=moved)
    site.pages["/x/b"] = Page(status=308, headers={"Location": f"{site.url}/a.txt"})
    assert fetched(f"{site.url}/x/a", tmp_path) == ("a.txt", b"Otters hold hands.")
    assert [path for path, _ in site.requests] == ["/x/a", "/x/b", "/a.txt"]
    assert "cookie" not in site.requests[-1][1]


def test_redirects_have_an_end(site: Web, tmp_path: Path) -> None:
    site.pages["/loop"] = Page(status=301, headers={"Location": "/loop"})
    error = refused(ReadError, f"{site.url}/loop", tmp_path)
    assert error.code == "too_many_redirects"
    assert len(site.requests) == REDIRECTS + 1


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("file:///etc/passwd", "invalid_url"),
        ("ftp://127.0.0.1/", "invalid_url"),
        ("http://me:secret@127.0.0.1/", "invalid_url"),
        ("http://[::1", "invalid_url"),
        ("http://127.0.0.2:1/", "private_address"),
        ("//169.254.169.254/latest/meta-data", "private_address"),
        ("http://[::ffff:169.254.169.254]/", "private_address"),
        ("http://[::1]:1/", "private_address"),
        ("http://2852039166/latest/meta-data", "private_address"),
        ("http://0xa9.0xfe.0xa9.0xfe/", "private_address"),
        ("http://0251.0376.0251.0376/", "invalid_url"),
        ("http://127.2/", "private_address"),
    ],
)
def test_redirects_to_where_nothing_is_fetched(
    site: Web, tmp_path: Path, location: str, code: str
) -> None:
    site.pages["/out"] = Page(status=302, headers={"Location": location})
    error = refused(ReadError, f"{site.url}/out", tmp_path)
    assert error.code == code
    assert "secret" not in str(error)


def test_keys_in_a_redirect_s_query_are_not_told(site: Web, tmp_path: Path) -> None:
    site.pages["/in"] = Page(status=302, headers={"Location": "/signed?key=secret"})
    assert "secret" not in str(refused(ReadError, f"{site.url}/in", tmp_path))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "[::1]",
        "0x7f.1",
        "0",
        "[::ffff:7f00:1]",
        "127。0。0。1",
    ],
)
def test_by_default_nothing_of_this_machine_is_fetched(tmp_path: Path, host: str) -> None:
    fetcher = Fetcher(max_bytes=MIB, seconds=20.0)
    with pytest.raises(ReadError, match=r"fetch\.private_addresses") as caught:
        asyncio.run(fetcher.fetch(f"http://{host}:1/", tmp_path / "body"))
    assert caught.value.code == "private_address"


def test_one_private_address_among_public_ones_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, [["93.184.216.34", "10.0.0.1"]])
    fetcher = Fetcher(max_bytes=MIB, seconds=20.0)
    with pytest.raises(ReadError) as caught:
        asyncio.run(fetcher.fetch("http://two-faced.example/", tmp_path / "body"))
    assert caught.value.code == "private_address"


def test_a_name_is_looked_up_once_and_its_checked_address_connected_to(
    site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(monkeypatch, [["127.0.0.1"], ["127.0.0.2"]])
    port = site.url.rpartition(":")[2]
    assert fetched(f"http://rebinding.example:{port}/a.txt", tmp_path)[1]
    assert asked == ["rebinding.example"]
    assert site.requests[0][1]["host"] == f"rebinding.example:{port}"


def answers(monkeypatch: pytest.MonkeyPatch, addresses: list[list[str]]) -> list[str]:
    """Makes name look-ups return these addresses in turn; returns the list of names looked up."""
    asked: list[str] = []

    def look_up(host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        found = addresses[len(asked) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_a_host_that_has_several_addresses_is_tried_at_each(
    site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, [["::1", "127.0.0.1"]])
    fetcher = Fetcher(max_bytes=MIB, seconds=20.0, allows=lambda _: True)
    url = f"http://several.example:{site.url.rpartition(':')[2]}/a.txt"
    assert asyncio.run(fetcher.fetch(url, tmp_path / "body")) == "a.txt"


def test_tls_is_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=tls.example",
         "-addext", "subjectAltName=DNS:tls.example"],
        check=False, capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("needs openssl")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    asked: list[str] = []
    server_side.sni_callback = lambda _socket, name, _context: asked.append(name)
    with web({"/a.txt": Page(b"Safe.")}, tls=server_side) as site:
        port = site.url.rpartition(":")[2]
        answers(monkeypatch, [["127.0.0.1"]] * 3)
        error = refused(UpstreamError, f"https://tls.example:{port}/a.txt", tmp_path)
        assert "self-signed" in str(error)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetched(f"https://tls.example:{port}/a.txt", tmp_path)[1] == b"Safe."
        error = refused(UpstreamError, f"https://other.example:{port}/a.txt", tmp_path)
        assert "Hostname mismatch" in str(error)
    assert asked == ["tls.example", "tls.example", "other.example"]


# Limits


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(site: Web, tmp_path: Path) -> None:
    site.pages["/fits"] = Page(b"x" * MIB)
    site.pages["/large"] = Page(b"x" * (MIB + 1))
    assert len(fetched(f"{site.url}/fits", tmp_path)[1]) == MIB
    error = refused(ReadError, f"{site.url}/large", tmp_path)
    assert error.code == "too_large"
    assert "limits.file_mb" in str(error)


def test_a_body_without_an_end_is_cut_off(site: Web, tmp_path: Path) -> None:
    def endless(to: BaseHTTPRequestHandler) -> None:
        while True:
            to.wfile.write(b"x" * KIB)

    site.pages["/endless"] = Page(write=endless)
    assert refused(ReadError, f"{site.url}/endless", tmp_path).code == "too_large"


def test_gzip_is_undone(site: Web, tmp_path: Path) -> None:
    text = b"Otters hold hands. " * 20_000
    site.pages["/packed"] = Page(gzip.compress(text), headers={"Content-Encoding": "GZIP"})
    assert fetched(f"{site.url}/packed", tmp_path) == ("packed", text)


def test_a_gzip_bomb_counts_by_what_is_in_it(site: Web, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(200 * MIB), compresslevel=9)
    assert len(bomb) < MIB
    site.pages["/bomb"] = Page(bomb, headers={"Content-Encoding": "gzip"})
    assert refused(ReadError, f"{site.url}/bomb", tmp_path).code == "too_large"
    assert (tmp_path / "body").stat().st_size <= MIB


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"cut short" * 99, mtime=0)[:-9], b""])
def test_gzip_that_is_none(site: Web, tmp_path: Path, body: bytes) -> None:
    site.pages["/packed"] = Page(body, headers={"Content-Encoding": "gzip"})
    assert "its gzip is" in str(refused(UpstreamError, f"{site.url}/packed", tmp_path))


def test_other_encodings_are_refused(site: Web, tmp_path: Path) -> None:
    site.pages["/packed"] = Page(b"x", headers={"Content-Encoding": "br"})
    assert refused(ReadError, f"{site.url}/packed", tmp_path).code == "unsupported_encoding"


def test_the_deadline_is_for_all_of_it(site: Web, tmp_path: Path) -> None:
    over = threading.Event()

    def drip(to: BaseHTTPRequestHandler) -> None:
        while not over.wait(0.02):
            to.wfile.write(b"x")

    site.pages["/redirect"] = Page(status=302, headers={"Location": "/slow"})
    site.pages["/slow"] = Page(write=drip)
    try:
        error = refused(UpstreamError, f"{site.url}/redirect", tmp_path, seconds=0.5)
    finally:
        over.set()
    assert error.code == "fetch_timeout"
    assert "fetch.seconds" in str(error)


# Failures


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 451, 499])
def test_an_answer_without_the_document_is_final(site: Web, tmp_path: Path, status: int) -> None:
    site.pages["/no"] = Page(status=status)
    error = refused(ReadError, f"{site.url}/no", tmp_path)
    assert (error.code, f"answered {status}" in str(error)) == ("http_status", True)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_an_answer_that_may_change_can_be_asked_for_again(
    site: Web, tmp_path: Path, status: int
) -> None:
    site.pages["/no"] = Page(status=status)
    assert f"answered {status}" in str(refused(UpstreamError, f"{site.url}/no", tmp_path))


def test_servers_that_do_not_answer(tmp_path: Path) -> None:
    refused(UpstreamError, f"http://127.0.0.1:{free_port()}/", tmp_path)
    refused(UpstreamError, f"http://{'a' * 64}.example/", tmp_path)
    message = str(refused(UpstreamError, "http://nowhere.invalid/", tmp_path))
    assert "nowhere.invalid is not found: " in message
    assert "Errno" not in message


def test_a_body_that_is_cut_short(site: Web, tmp_path: Path) -> None:
    def cut(to: BaseHTTPRequestHandler) -> None:
        to.wfile.write(b"x")

    site.pages["/cut"] = Page(headers={"Content-Length": "100"}, write=cut)
    refused(UpstreamError, f"{site.url}/cut", tmp_path)


def test_a_full_disk(site: Web, tmp_path: Path) -> None:
    (tmp_path / "body").mkdir()
    error = refused(StorageError, f"{site.url}/a.txt", tmp_path)
    assert error.code == "disk_full"


# As a document


def test_what_is_fetched_is_read_as_a_file_is(site: Web, tmp_path: Path) -> None:
    html = {"Content-Type": "text/html"}
    site.pages["/page"] = Page(b"<title>Otters</title><p>They swim.", headers=html)
    spool = Spool(tmp_path / "spool").of("acme")
    submission = submission_of_url(f"{site.url}/page", spool.new_key())
    fetcher = Fetcher(max_bytes=MIB, seconds=20.0, allows=loopback)
    reader = WebReader(HereReader(max_bytes=MIB), lambda: fetcher)
    path = spool.path(submission.source)
    document = asyncio.run(
        reader.read(submission.source, path, id_=submission.document_id, uri=submission.uri)
    )
    assert (document.title, document.media_type) == ("Otters", "text/html")
    assert (document.text, document.uri) == ("They swim.", f"{site.url}/page")
    spool.drop(submission.source)
    assert not path.exists()
