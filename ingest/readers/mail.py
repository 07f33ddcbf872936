"""E-mail: one message, or a mailbox of them; attachments become documents of their own."""

from __future__ import annotations

import contextlib
import email.policy
import mailbox
import mimetypes
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser, Parser
from email.utils import parsedate_to_datetime
from itertools import accumulate
from pathlib import Path

from ingest.readers import html
from ingest.readers.decoding import clean, decode
from ingest.readers.joined import Joined, part_of
from ingest.readers.mail_quotes import MailPart, PartKind, parts_of, signer
from ingest.readers.outline import Outline
from rag.errors import ReadError
from rag.text.quoted import QUOTED, SIGNATURE
from rag.types import Attachment, Meta

Check = Callable[[bytes, str], None]
"""Raises ReadError if an attachment, by its bytes and its name, is none that a reader takes."""
_FORWARDED = "message/rfc822"
_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_POLICY = email.policy.default
_OF_MESSAGE = ("subject", "sent")
_SENDER_CHARS = 300
_NAME_CHARS = 200
MOST = 10_000
"""Attachments of one file; a mailbox has those of all its messages."""
_MOST_NAMED = 100
"""Names in the metadata, which each chunk has."""
_TITLES: Mapping[PartKind, str] = {
    "quoted": QUOTED,
    "signature": SIGNATURE,
    "forwarded": "Forwarded message",
}


def outline(data: bytes, *, name: str, check: Check) -> Outline:
    """Reads one message: its body, and below headings what it quotes.

    The main headers are its first heading and metadata. An attachment that cannot be read is named
    in the metadata `unread`, the others in `attachments`.
    """
    return _message(_parse(data, name=name), check)


def msg(data: bytes, *, check: Check) -> Outline:
    """Reads a message of Outlook."""
    from ingest.readers import outlook

    return _message(outlook.message(data), check)


def mbox(data: bytes, *, check: Check) -> Outline:
    """Reads a mailbox: each message a section below its subject."""
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        file = Path(folder) / "mbox"
        file.write_bytes(data)
        joined, attached = Joined(), Attached(check)
        with contextlib.closing(mailbox.mbox(file, create=False)) as box:
            for key in box.iterkeys():
                found = _text(_parse(box.get_bytes(key), name="mbox"), attached)
                joined.add(found, heading=found.title or "(no subject)", level=1)
    return attached.added_to(joined.outline())


def _parse(data: bytes, *, name: str) -> EmailMessage:
    if b"\0" in data[:1024]:  # the whole message is in UTF-16
        return Parser(EmailMessage, policy=_POLICY).parsestr(decode(data, name=name))
    return BytesParser(EmailMessage, policy=_POLICY).parsebytes(data)


def _message(message: EmailMessage, check: Check) -> Outline:
    attached = Attached(check)
    return attached.added_to(_text(message, attached))


def _text(message: EmailMessage, attached: Attached) -> Outline:
    """1. headers  2. what is new, quoted, or a signature  3. attachments, each a document."""
    headers = {key: value for key in _HEADERS if (value := _header(message, key))}
    joined = Joined()
    body = _body(message)
    parts = parts_of(body.text.split("\n"))
    sender = _sender(headers, signed=signer(parts))
    if headers:  # 1.
        joined.open(sender, level=1, text=_block(headers))
    has_body = bool(parts)
    _add_body(joined, body, parts, sender)  # 2.
    meta = _meta(headers)
    names = []
    for part in _attachments(message):  # 3.
        if (more := _more_text(part)) is not None:
            joined.add(more, level=1)
            has_body = True
        else:
            names.append(attached.add(part, about={**meta, "subject": headers.get("Subject", "")}))
    bare = headers | ({"Attachments": ", ".join(names)} if names else {})
    found = joined.outline() if has_body else Outline(text=_block(bare))
    return replace(found, title=headers.get("Subject", ""), meta=meta)


class Attached:
    """The attachments of the messages of a document, those that cannot be read, and the reasons."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._found: list[Attachment] = []
        self._unread: list[str] = []
        self._reasons: list[str] = []

    def add(self, part: MIMEPart, *, about: Meta) -> str:
        """Adds an attachment of a message with this metadata; returns its name."""
        name = _name(part)
        data = _bytes(part)
        try:
            self._check_one(data, name)
        except ReadError as error:
            self._unread.append(name)
            self._reasons.append(str(error))
        else:
            meta = {key: about[key] for key in _OF_MESSAGE if about.get(key)}
            if author := about.get("author"):
                meta["from"] = author
            self._found.append(Attachment(name=name, data=data, meta=meta))
        return name

    def _check_one(self, data: bytes, name: str) -> None:
        if len(self._found) == MOST:
            raise ReadError(f"{name}: comes after {MOST:,} attachments of one file.")
        self._check(data, name)

    def added_to(self, outline: Outline) -> Outline:
        """Returns the outline with the attachments, and their names as metadata."""
        lists = {"attachments": [each.name for each in self._found], "unread": self._unread}
        return replace(
            outline,
            meta={
                **outline.meta,
                **{key: tuple(names[:_MOST_NAMED]) for key, names in lists.items() if names},
            },
            notes=(*outline.notes, *self._reasons),
            attachments=tuple(self._found),
        )


def _attachments(message: MIMEPart) -> Iterator[MIMEPart]:
    """Yields what is attached, also within parts that only group others."""
    for part in message.iter_attachments():
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            yield from _attachments(part)
        else:
            yield part


def _more_text(part: MIMEPart) -> Outline | None:
    """Returns a text without a name that goes on with the message; None for an attachment."""
    if part.get_content_maintype() != "text" or part.is_attachment() or part.get_filename():
        return None
    with contextlib.suppress(ReadError):  # in no known encoding: a file, which is named as unread
        return _of_text(part)
    return None


def _name(part: MIMEPart) -> str:
    type_ = part.get_content_type()
    unnamed = ".eml" if type_ == _FORWARDED else mimetypes.guess_extension(type_) or ""
    name = clean(part.get_filename() or "").replace("\\", "/").rpartition("/")[2]
    return " ".join(name.split())[-_NAME_CHARS:] or f"attachment{unnamed}"


def _add_body(joined: Joined, body: Outline, parts: Sequence[MailPart], sender: str) -> None:
    starts = [0, *accumulate(len(line) + 1 for line in body.text.split("\n"))]
    for number, part in enumerate(parts):
        text = "\n".join(part.lines)
        start = starts[part.first]
        found = part_of(body, start, start + len(text)) if part.verbatim else Outline(text=text)
        if part.kind == "new":
            if number:  # below a quotation
                joined.open(sender, level=1, text="")
            joined.add(found, level=1)
        else:
            title = _TITLES[part.kind]
            joined.add(found, heading=f"{title}: {part.label}" if part.label else title, level=2)


def _block(headers: Mapping[str, str]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in headers.items())


def _sender(headers: Mapping[str, str], *, signed: Sequence[str]) -> str:
    """Returns the heading above a message: who wrote it, to whom and when. The title is another.

    What the sender `signed` with stands behind the name: questions name an organisation rather than
    an address.
    """
    author = headers.get("From", "")
    author = ", ".join(filter(None, (author, *(line for line in signed if line not in author))))
    others = {key: value for key, value in headers.items() if key not in ("Subject", "From")}
    fields = {"From": author, **others}
    text = ", ".join(f"{key}: {value}" for key, value in fields.items() if value) or "Message"
    return text if len(text) <= _SENDER_CHARS else f"{text[: _SENDER_CHARS - 1]}…"


def _header(message: EmailMessage, key: str) -> str:
    try:
        value = message[key]
    except (AttributeError, IndexError, TypeError, ValueError):  # Python's parser, on bad ones
        value = next(raw for name, raw in message.raw_items() if name.lower() == key.lower())
    return clean(str(value or "")).strip()


def _body(message: EmailMessage) -> Outline:
    body = message.get_body(preferencelist=("plain", "html"))
    return Outline(text="") if body is None else _of_text(body)


def _of_text(body: MIMEPart) -> Outline:
    data = _bytes(body)
    charset = body.get_content_charset()
    if body.get_content_subtype() == "html":
        return html.outline(data, name="the message")
    return Outline(text=decode(data, name="the message", declared=charset).strip())


def _bytes(part: MIMEPart) -> bytes:
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        return payload
    inner = part.get_payload()
    forwarded = inner[0] if isinstance(inner, list) and inner else None
    if part.get_content_type() == _FORWARDED and isinstance(forwarded, EmailMessage):
        return bytes(forwarded)  # the part itself is no more than its envelope
    return bytes(part)


def _meta(headers: Mapping[str, str]) -> Meta:
    """Returns who wrote the message, to whom, and its day and moment."""
    found = {
        field: headers[key]
        for key, field in (("From", "author"), ("To", "to"), ("Cc", "cc"))
        if key in headers
    }
    if "Date" in headers:
        try:
            moment = parsedate_to_datetime(headers["Date"])
            found |= {"created": moment.date().isoformat(), "sent": moment.isoformat()}
        except ValueError:
            found["created"] = headers["Date"]
    return found
