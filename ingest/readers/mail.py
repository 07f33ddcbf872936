"""E-mail: one message, or a mailbox of them; attachments are read like files."""

from __future__ import annotations

import contextlib
import email.policy
import mailbox
import tempfile
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser, Parser
from email.utils import parsedate_to_datetime
from pathlib import Path

from ingest.readers import html
from ingest.readers.decoding import clean, decode
from ingest.readers.outline import Outline
from rag.errors import ReadError
from rag.types import Heading, Meta

ReadPart = Callable[[bytes, str], Outline]
"""Reads an attachment by its bytes and its name."""
_FORWARDED = "message/rfc822"
_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_POLICY = email.policy.default


def outline(data: bytes, *, name: str, read_part: ReadPart) -> Outline:
    """Reads one message: its main headers, its body, its attachments.

    An attachment that cannot be read is named in the metadata `unread`.
    """
    return _message(_parse(data, name=name), read_part)


def mbox(data: bytes, *, read_part: ReadPart) -> Outline:
    """Reads a mailbox: each message a section below its subject."""
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        file = Path(folder) / "mbox"
        file.write_bytes(data)
        text, headings = "", []
        with contextlib.closing(mailbox.mbox(file, create=False)) as box:
            for key in box.iterkeys():
                found = _message(_parse(box.get_bytes(key), name="mbox"), read_part)
                subject = found.title or "(no subject)"
                headings.append(Heading(start=len(text), level=1, text=subject))
                text += f"{subject}\n\n{found.text}\n\n"
    furniture = tuple((head.start, head.start + len(head.text)) for head in headings)
    return Outline(text=text.rstrip("\n"), headings=tuple(headings), furniture=furniture)


def _parse(data: bytes, *, name: str) -> EmailMessage:
    if b"\0" in data[:1024]:  # the whole message is in UTF-16
        return Parser(EmailMessage, policy=_POLICY).parsestr(decode(data, name=name))
    return BytesParser(EmailMessage, policy=_POLICY).parsebytes(data)


def _message(message: EmailMessage, read_part: ReadPart) -> Outline:
    headers = {key: value for key in _HEADERS if (value := _header(message, key))}
    parts = ["\n".join(f"{key}: {value}" for key, value in headers.items()), _body(message)]
    unread = []
    for attachment in message.iter_attachments():
        forwarded = attachment.get_content_type() == _FORWARDED
        unnamed = "attachment.eml" if forwarded else "attachment"
        filename = clean(attachment.get_filename() or unnamed)
        try:
            parts.append(f"{filename}\n\n{read_part(_bytes(attachment), filename).text}")
        except ReadError:
            unread.append(filename)
    return Outline(
        text="\n\n".join(filter(None, parts)),
        title=headers.get("Subject", ""),
        meta=_meta(headers, unread),
    )


def _header(message: EmailMessage, key: str) -> str:
    try:
        value = message[key]
    except (AttributeError, IndexError, TypeError, ValueError):  # Python's parser, on bad ones
        value = next(raw for name, raw in message.raw_items() if name.lower() == key.lower())
    return clean(str(value or "")).strip()


def _body(message: EmailMessage) -> str:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return ""
    data = _bytes(body)
    charset = body.get_content_charset()
    if body.get_content_subtype() == "html":
        return html.outline(data, name="the message").text
    return decode(data, name="the message", declared=charset).strip()


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
    found: dict[str, str | tuple[str, ...]] = {}
    if "From" in headers:
        found["author"] = headers["From"]
    if "Date" in headers:
        try:
            found["created"] = parsedate_to_datetime(headers["Date"]).date().isoformat()
        except ValueError:
            found["created"] = headers["Date"]
    if unread:
        found["unread"] = tuple(unread)
    return found
