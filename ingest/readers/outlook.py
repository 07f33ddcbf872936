"""Outlook's messages (MS-OXMSG): converted to e-mail, and then read as such."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import HeaderParser
from email.policy import default
from email.utils import format_datetime
from hashlib import sha256
from io import BytesIO
from struct import iter_unpack

import olefile

from ingest.readers import rtf
from ingest.readers.decoding import clean, decode
from ingest.readers.options import DEFAULT_OPTIONS

_Path = tuple[str, ...]
# Property ids of MS-OXPROPS.
_SUBJECT, _HEADERS, _BODY, _HTML, _RTF = 0x0037, 0x007D, 0x1000, 0x1013, 0x1009
_SENDER, _SENDER_SMTP, _SENDER_ADDRESS = 0x0C1A, 0x5D01, 0x0C1F
_SENT, _DELIVERED = 0x0039, 0x0E06
_NAME, _SMTP, _ADDRESS, _RECIPIENT_TYPE = 0x3001, 0x39FE, 0x3003, 0x0C15
_DATA, _LONG_NAME, _SHORT_NAME, _MIME_TYPE, _IS_HIDDEN = 0x3701, 0x3707, 0x3704, 0x370E, 0x7FFE
_TO, _CC = 1, 2
_UNICODE, _BYTES, _BINARY, _STORAGE = "001F", "001E", "0102", "000D"
_TIME_ORIGIN = datetime(1601, 1, 1, tzinfo=UTC)
_DEEPEST = 4
"""Messages in messages beyond those that the reader of mails opens."""
_FIXED = {"top": 32, "embedded": 24, "part": 8}
"""Bytes before the properties of a fixed length."""


def message(data: bytes) -> EmailMessage:
    """Returns the message as an e-mail: headers, text, attachments, messages within it.

    Raises:
        OSError: The container is damaged.
    """
    with olefile.OleFileIO(BytesIO(data)) as file:
        return _Storage(file, (), "top").message()


class _Storage:
    """The properties of a message, of a recipient or of an attachment."""

    def __init__(self, file: olefile.OleFileIO, path: _Path, kind: str) -> None:
        self._file = file
        self._path = path
        stream = self._stream("__properties_version1.0")[_FIXED[kind] :]
        entries = iter_unpack("<HHI8s", stream[: len(stream) // 16 * 16])
        self._fixed = {id_: value for _, id_, _, value in entries}

    def message(self, depth: int = 0) -> EmailMessage:
        """Returns the message that this storage holds."""
        found = EmailMessage(policy=default)
        for key, value in self._headers().items():
            _set(found, key, value)
        self._add_body(found)
        for part in self._parts("__attach_version1.0_#"):
            part._attach_to(found, depth)
        if found.is_multipart():  # Python's own boundaries are random: each reading would differ
            words = "\n".join((self._text(_SUBJECT), self._text(_BODY)))
            found.set_boundary(f"=_{depth}_{sha256(words.encode()).hexdigest()}")
        return found

    def _headers(self) -> dict[str, str]:
        """Returns the headers that came with the message; a draft has only properties."""
        sent = HeaderParser(policy=default).parsestr(self._text(_HEADERS).lstrip())
        people: dict[int, list[str]] = {_TO: [], _CC: []}
        for part in self._parts("__recip_version1.0_#"):
            address = part._text(_SMTP) or part._text(_ADDRESS)
            people.get(part._number(_RECIPIENT_TYPE), []).append(
                _mailbox(part._text(_NAME), address)
            )
        sender = self._text(_SENDER_SMTP) or self._text(_SENDER_ADDRESS)
        own = {
            "Subject": self._text(_SUBJECT),
            "From": _mailbox(self._text(_SENDER), sender),
            "To": ", ".join(people[_TO]),
            "Cc": ", ".join(people[_CC]),
            "Date": self._moment(),
        }
        found = {}
        for key, value in own.items():
            came = str(sent[key] or "") if key != "Subject" else ""
            if chosen := came or value:
                found[key] = chosen
        return found

    def _add_body(self, found: EmailMessage) -> None:
        text = self._text(_BODY)
        html = self._stream(_name(_HTML, _BINARY)) or self._text(_HTML).encode()
        if not text.strip() and not html and (packed := self._stream(_name(_RTF, _BINARY))):
            import compressed_rtf

            unpacked = compressed_rtf.decompress(packed)
            text = rtf.outline(unpacked, options=DEFAULT_OPTIONS).text
        if html and not text.strip():
            found.set_content(html, maintype="text", subtype="html")
        else:
            found.set_content(text)

    def _attach_to(self, found: EmailMessage, depth: int) -> None:
        """Attaches what this storage holds; pictures that the text shows are hidden."""
        if self._number(_IS_HIDDEN) & 1:
            return
        embedded = (*self._path, _name(_DATA, _STORAGE))
        if self._file.exists(list(embedded)):
            if depth < _DEEPEST:
                inner = _Storage(self._file, embedded, "embedded")
                if inner._fixed:  # an object of another program has no properties
                    found.add_attachment(inner.message(depth + 1), filename=self._file_name(".eml"))
            return
        main, _, sub = (self._text(_MIME_TYPE) or "application/octet-stream").partition("/")
        if main in ("message", "multipart") or not (main.isalnum() and sub):
            main, sub = "application", "octet-stream"
        found.add_attachment(
            self._stream(_name(_DATA, _BINARY)),
            maintype=main,
            subtype=sub,
            filename=self._file_name(),
        )

    def _file_name(self, suffix: str = "") -> str | None:
        name = self._text(_LONG_NAME) or self._text(_SHORT_NAME) or self._text(_NAME)
        if suffix and name and not name.endswith(suffix):
            name += suffix
        return _line(name) or None

    def _parts(self, name: str) -> Iterator[_Storage]:
        depth = len(self._path)
        here = [
            tuple(path)
            for path in self._file.listdir(streams=False, storages=True)
            if len(path) == depth + 1 and tuple(path[:depth]) == self._path
        ]
        for path in sorted(path for path in here if path[-1].startswith(name)):
            yield _Storage(self._file, path, "part")

    def _moment(self) -> str:
        raw = self._fixed.get(_SENT) or self._fixed.get(_DELIVERED)
        if raw is None:
            return ""
        ticks = int.from_bytes(raw, "little")
        try:
            return format_datetime(_TIME_ORIGIN + timedelta(microseconds=ticks // 10))
        except OverflowError:
            return ""

    def _number(self, id_: int) -> int:
        return int.from_bytes(self._fixed.get(id_, b"")[:4], "little")

    def _text(self, id_: int) -> str:
        wide = self._stream(_name(id_, _UNICODE)).decode("utf-16-le", "replace")
        narrow = b"" if wide else self._stream(_name(id_, _BYTES))
        return clean(wide or decode(narrow, name="the message")).rstrip("\0")

    def _stream(self, name: str) -> bytes:
        path = [*self._path, name]
        if not self._file.exists(path) or self._file.get_type(path) != olefile.STGTY_STREAM:
            return b""
        with self._file.openstream(path) as stream:
            return bytes(stream.read())


def _name(id_: int, type_: str) -> str:
    return f"__substg1.0_{id_:04X}{type_}"


def _mailbox(name: str, address: str) -> str:
    """Returns a person as in a header; addresses of Exchange's directory are left out."""
    name, address = _line(name), _line(address)
    if "@" not in address:
        return name
    try:
        return str(Address(name if name != address else "", addr_spec=address))
    except (ValueError, IndexError, AttributeError):  # Python's parser, on bad ones
        return f"{name} {address}".strip()


def _line(text: str) -> str:
    return " ".join(text.split())


def _set(found: EmailMessage, key: str, value: str) -> None:
    try:
        found[key] = _line(value)
    except Exception:  # noqa: BLE001 - Python's parser raises anything on bad addresses
        plain = "".join(c if c.isalnum() else " " for c in value)
        found[key] = _line(plain)
