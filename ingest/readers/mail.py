"""E-mail: one message, or a mailbox of them; attachments are read like files."""

from __future__ import annotations

import contextlib
import email.policy
import mailbox
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from rag.types import Meta

ReadPart = Callable[[bytes, str], Outline]
"""Reads an attachment by its bytes and its name."""
_FORWARDED = "message/rfc822"
_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_POLICY = email.policy.default
_SENDER_CHARS = 300
_TITLES: Mapping[PartKind, str] = {
    "quoted": QUOTED,
    "signature": SIGNATURE,
    "forwarded": "Forwarded message",
}


def outline(data: bytes, *, name: str, read_part: ReadPart) -> Outline:
    """Reads one message: its body, and below headings what it quotes, and its attachments.

    The main headers are its first heading and metadata. An attachment that cannot be read is named
    in the metadata `unread`.
    """
    return _message(_parse(data, name=name), read_part)


def mbox(data: bytes, *, read_part: ReadPart) -> Outline:
    """Reads a mailbox: each message a section below its subject."""
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        file = Path(folder) / "mbox"
        file.write_bytes(data)
        joined = Joined()
        with contextlib.closing(mailbox.mbox(file, create=False)) as box:
            for key in box.iterkeys():
                found = _message(_parse(box.get_bytes(key), name="mbox"), read_part)
                joined.add(found, heading=found.title or "(no subject)", level=1)
    return joined.outline()


def _parse(data: bytes, *, name: str) -> EmailMessage:
    if b"\0" in data[:1024]:  # the whole message is in UTF-16
        return Parser(EmailMessage, policy=_POLICY).parsestr(decode(data, name=name))
    return BytesParser(EmailMessage, policy=_POLICY).parsebytes(data)


def _message(message: EmailMessage, read_part: ReadPart) -> Outline:
    """1. headers  2. what is new, quoted, or a signature  3. attachments, each a section."""
    headers = {key: value for key in _HEADERS if (value := _header(message, key))}
    joined = Joined()
    body = _body(message)
    parts = parts_of(body.text.split("\n"))
    sender = _sender(headers, signed=signer(parts))
    if headers:  # 1.
        joined.open(sender, level=1, text=_block(headers))
    has_body = bool(parts)
    _add_body(joined, body, parts, sender)  # 2.
    unread = []
    for attachment in message.iter_attachments():  # 3.
        forwarded = attachment.get_content_type() == _FORWARDED
        unnamed = "attachment.eml" if forwarded else "attachment"
        filename = clean(attachment.get_filename() or unnamed)
        try:
            joined.add(read_part(_bytes(attachment), filename), heading=filename, level=1)
            has_body = True
        except ReadError:
            unread.append(filename)
    found = joined.outline() if has_body else Outline(text=_block(headers))
    return replace(found, title=headers.get("Subject", ""), meta=_meta(headers, unread))


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
    if body is None:
        return Outline(text="")
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


def _meta(headers: Mapping[str, str], unread: Sequence[str]) -> Meta:
    """Returns who wrote the message, to whom, its day and moment, and the attachments not read."""
    found: dict[str, str | tuple[str, ...]] = {
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
    if unread:
        found["unread"] = tuple(unread)
    return found
