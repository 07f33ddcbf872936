"""Settings that take one address or port, or one for each node of a cluster."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

LAST_PORT = 65535


def _addresses(value: Any) -> str | tuple[str, ...]:
    """Returns one URL, or a tuple of several from a list or a text with commas.

    Raises:
        ValueError: The value is not valid; the message does not repeat it.
    """
    urls = re.split(r"\s*,\s*(?=https?://)", value) if isinstance(value, str) else value
    if not isinstance(urls, list | tuple) or not urls:
        raise ValueError("It is an address, http://HOST:PORT, or a list of them")
    for url in urls:
        if not isinstance(url, str) or not re.match(r"https?://[^\s/]", url):
            raise ValueError("An address has the form http://HOST:PORT")
    if len(set(urls)) < len(urls):
        raise ValueError("An address is listed twice")
    return urls[0] if len(urls) == 1 else tuple(urls)


def _ports(value: Any) -> int | tuple[int, ...]:
    """Returns one port, or a tuple of several from a list or a text with commas."""
    ports = value.split(",") if isinstance(value, str) else value
    if not isinstance(ports, list | tuple):
        ports = [ports]
    numbers = [int(port) for port in ports if re.fullmatch(r"\s*\d{1,5}\s*", str(port))]
    if not numbers or len(numbers) < len(ports) or not all(1 <= n <= LAST_PORT for n in numbers):
        raise ValueError(f"A port is a number from 1 to {LAST_PORT}")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def is_secure(url: str) -> bool:
    """Returns True if an address is https, or http on this machine; without a user or spaces."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # both are parsed here
    except ValueError:
        return False
    if not host or "@" in parts.netloc or re.search(r"[\s\x00-\x1f#]", url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _secure_url(value: str) -> str:
    if not is_secure(value):
        raise ValueError("It is an address https://HOST/…; http only on this machine")
    return value


def _base_url(url: str) -> str:
    try:
        fits = urlsplit(url).hostname is not None and urlsplit(url).port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("It has the form http://HOST:PORT/v1")
    return url


Addresses = Annotated[str | tuple[str, ...], BeforeValidator(_addresses)]
Ports = Annotated[int | tuple[int, ...], BeforeValidator(_ports)]
SecureUrl = Annotated[str, AfterValidator(_secure_url)]
BaseUrl = Annotated[str, Field(pattern=r"^https?://[^\s/]+"), AfterValidator(_base_url)]
