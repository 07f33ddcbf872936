"""Removes the secrets of URLs from addresses and from messages of other software."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
MAX_CHARS = 300
"""Characters that are shown of a message of other software."""
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_SHORTEST = 4
"""Characters of the shortest query value to hide: shorter ones, like `on`, are common words."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`]+")
_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<net>[^/?#]*)"
    r"(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?",
    re.DOTALL,
)
_HOSTS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:,\[\]@\s]*)(:\d*)?(,[^:,\[\]@\s]+(:\d*)?)*,?")
_SOCKET = re.compile(r"[\w./:-]+")


def masked(url: str) -> str:
    """Returns a URL for operators: scheme, host, port and path; `***` for possible secrets.

    `host` and `port` of a query, as in PostgreSQL's URLs, stay. If an `@` comes after the host,
    the password may contain a `/`, a `?` or a `#`: then only the scheme stays.
    """
    parts = _PARTS.fullmatch(url)
    if parts is None:
        return HIDDEN
    user, _, host = parts["net"].rpartition("@")
    tail = url[parts.end("net") :]
    if "@" in tail or not _HOSTS.fullmatch(host):
        return parts["scheme"] + HIDDEN
    result = parts["scheme"] + (f"{HIDDEN}@" if user else "") + host + parts["path"]
    if parts["query"]:
        result += "?" + "&".join([*_places(parts["query"][1:]), HIDDEN])
    return result + (f"#{HIDDEN}" if parts["fragment"] else "")


def scrubbed(text: str, url: str = "") -> str:
    """Returns a message with all URLs masked, and with the secrets of `url` hidden anywhere.

    The secrets are found as they are written in the URL, decoded, and encoded.
    """
    text = _URL.sub(lambda found: masked(found[0]), text)
    for secret in sorted(set(_secrets(url)), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def words(error: BaseException, url: str = "") -> str:
    """Returns an error's message as `one_line` does; the name of its type if it is empty."""
    return one_line(str(error), url) or type(error).__name__


def one_line(text: str, url: str = "") -> str:
    """Returns a message on one line: scrubbed, at most `MAX_CHARS` long, without `[Errno n]`."""
    return " ".join(scrubbed(_ERRNO.sub("", text), url).split())[:MAX_CHARS]


def _places(query: str) -> Iterator[str]:
    for name, value in parse_qsl(query):
        if name in ("host", "port") and _SOCKET.fullmatch(value):
            yield f"{name}={value}"


def _secrets(url: str) -> Iterator[str]:
    parts = _PARTS.fullmatch(url)
    if parts is None:
        return
    user, _, password = parts["net"].rpartition("@")[0].partition(":")
    fragment = (parts["fragment"] or "")[1:]
    values = [part.partition("=")[2] for part in (parts["query"] or "")[1:].split("&")]
    places = {place.partition("=")[2] for place in _places((parts["query"] or "")[1:])}
    for secret in (password, user if not password else "", fragment, *values):
        forms = {secret, unquote(secret), unquote_plus(secret)} - places
        for form in {*forms, *(quote(f, safe="") for f in forms), *map(quote_plus, forms)}:
            if form and (secret == password or len(form) >= _SHORTEST):
                yield form
