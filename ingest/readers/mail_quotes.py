"""Tells apart what the sender of a mail wrote, what is quoted below it, and the signature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

PartKind = Literal["new", "forwarded", "quoted", "signature"]
_DEEPEST = 20
"""Messages quoted within messages that are told apart; those further in are one."""
_LABEL_CHARS = 200
_LINES_OF_ATTRIBUTION, _CHARS_OF_ATTRIBUTION = 3, 300
_LINES_OF_HEADERS = 12
_LABEL_WITHIN = 32
"""Characters within which the colon of a header stands."""
_COLONS = (":", "：")
_CHARS_OF_CLOSING, _CHARS_OF_DEVICE = 45, 100
_LINES_SIGNED, _CHARS_SIGNED = 2, 60
_LINES_OF_SIGNATURE, _CHARS_OF_SIGNATURE = 15, 120
"""Lines, and characters of each, that may follow a closing formula; more are a text."""

_QUOTE = re.compile(r"[ \t]{0,3}> ?")
_WROTE = re.compile(
    r"\b(?:wrote|writes|schrieb|écrit|escribió|escreveu|ha scritto|scrisse|schreef|skrev|napisał"
    r"|napisała|napsal|napsala|napísal|írta|kirjoitti|написала?|писала?|пишет|έγραψε|yazdı"
    r"|a scris)\b|كتب|כתב|写道|寫道|書きました|작성|đã viết|लिखा|เขียน",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[<(\[]?[^\s<>@]{1,64}@[^\s<>@]{1,64}")
_DASHES = re.compile(r"\s*-{3,}[ \t]*(?P<words>[^\s-][^\n]{1,58}[^\s-])[ \t]*-{3,}\s*")
_FORWARD = re.compile(
    r"forward|weiterg?e?leitet|transf[eé]r|reenviad|inoltrat|doorgestuurd|encaminhad|vidarebeford"
    r"|videresend|przekazan|přepos|пересыл|переслан|iletil|转发|轉寄|転送|전달",
    re.IGNORECASE,
)
_BEGIN = re.compile(
    r"\s*(?:begin forwarded message|anfang der weitergeleiteten (?:e-mail|nachricht)"
    r"|début du (?:message|courriel) transféré|inizio messaggio inoltrato"
    r"|inicio del mensaje reenviado|begin doorgestuurd bericht)\s*:\s*",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"[*\s]{0,4}(?P<label>[^\W\d_][^:：\n]{0,24}?)[*\s]{0,4}[:：][*\s]*(?P<value>.*)"
)
_FROM = frozenset((
    "from", "von", "de", "da", "van", "från", "fra", "od", "от", "kimden", "发件人",
    "寄件者", "差出人", "보낸사람", "gönderen", "feladó", "από", "מאת", "من",
))  # fmt: skip
_SENT = frozenset((
    "sent", "date", "gesendet", "datum", "envoyé", "enviado", "fecha", "inviato",
    "data", "verzonden", "skickat", "sendt", "dato", "wysłano", "odesláno",
    "отправлено", "дата", "gönderildi", "tarih", "küldve", "lähetetty", "发送时间",
    "日期", "送信日時", "日付", "보낸날짜", "날짜",
))  # fmt: skip
_SIGNATURE = re.compile(r"--\s*|—\s*|_{2,5}\s*")
_SENT_FROM = re.compile(
    r"\s*(?:sent from (?:my|outlook|yahoo)|get outlook for|von meinem \S+ gesendet|gesendet (?:von"
    r"|mit)|envoyé de(?:puis)? mon|enviado desde mi|inviato da(?:l mio)?|verzonden vanaf mijn"
    r"|skickat från min|sendt fra min|wysłane? z|отправлено с)\b.{0,60}",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"\s*(?:(?:with )?(?:best|kind|warm|kindest|warmest)(?: regards| wishes)?|regards"
    r"|(?:yours )?(?:sincerely|faithfully)(?: yours)?|cheers"
    r"|mit (?:freundlichen|besten|herzlichen) gr(?:ü|ue)(?:ß|ss)en"
    r"|(?:freundliche|beste|viele|liebe|herzliche) gr(?:ü|ue)(?:ß|ss)e|mfg|lg|vg"
    r"|(?:bien )?cordialement|(?:sincères|meilleures) salutations|bien à vous"
    r"|(?:un |muchos )?saludos?|atentamente|cordialmente|(?:cordiali|distinti) saluti"
    r"|met vriendelijke groet(?:en)?|(?:hartelijke )?groeten|mvg|atenciosamente"
    r"|(?:com os melhores )?cumprimentos"
    r"|(?:med )?vänliga hälsningar|(?:med )?venlig hilsen|(?:med )?vennlig hilsen|mvh"
    r"|z poważaniem|pozdrawiam|s pozdravem|с уважением|saygılarımla|με εκτίμηση|üdvözlettel"
    r"|ystävällisin terveisin|此致|敬具|よろしくお願いいたします|감사합니다)[\s,.!]*",
    re.IGNORECASE,
)


@dataclass(slots=True)
class MailPart:
    """Lines of a mail of one kind; `label` says of a quoted message who wrote it and when.

    `first` is the number of the first line in the mail; if `verbatim`, the lines stand there as
    they are here, else without the marks of a quotation.
    """

    kind: PartKind
    first: int
    label: str = ""
    lines: list[str] = field(default_factory=list)
    verbatim: bool = True
    is_closing: bool = False
    """A closing formula began it, and no delimiter."""


def parts_of(lines: Sequence[str]) -> list[MailPart]:
    """Returns the parts of a mail in the order of its text; blank ones are left out."""
    parts: list[MailPart] = []
    _read(lines, parts, kind="new", first=0, verbatim=True, depth=0)
    for before, part in zip([None, *parts], parts, strict=False):
        if part.is_closing and not _is_signature(part.lines) and before is not None:
            part.kind = before.kind
    return [part for part in map(_trimmed, parts) if part.lines]


def signer(parts: Sequence[MailPart]) -> list[str]:
    """Returns the first lines of the sender's own signature: a name, and often an organisation."""
    own = next((part for part in parts if part.kind == "signature"), None)
    named = [
        line.strip()
        for line in (own.lines if own else ())
        if line.strip() and not (_is_closing(line) or _begins_signature(line))
    ]
    return [line for line in named[:_LINES_SIGNED] if len(line) <= _CHARS_SIGNED]


def _trimmed(part: MailPart) -> MailPart:
    """Returns the part without the blank lines at its ends."""
    filled = [number for number, line in enumerate(part.lines) if line.strip()]
    first, end = (filled[0], filled[-1] + 1) if filled else (0, 0)
    return replace(part, first=part.first + first, lines=part.lines[first:end])


def _read(
    lines: Sequence[str],
    parts: list[MailPart],
    *,
    kind: PartKind,
    first: int,
    verbatim: bool,
    depth: int,
    label: str = "",
) -> None:
    """Appends the parts of a message, which begins in line `first` and is of this kind."""
    part = MailPart(kind, first, label, verbatim=verbatim)
    parts.append(part)
    at = 0
    while at < len(lines):
        found = _quotation(lines, at) if depth < _DEEPEST and _may_begin(lines, at) else None
        if found is None:
            line = lines[at]
            if part.kind == "new" and ((closes := _is_closing(line)) or _begins_signature(line)):
                part = MailPart("signature", first + at, verbatim=verbatim, is_closing=closes)
                parts.append(part)
            part.lines.append(line)
            at += 1
            continue
        within = lines[found.begin : found.end]
        _read(
            [_unmarked(line) for line in within] if found.marked else within,
            parts,
            kind="forwarded" if found.forwarded and kind == "new" else "quoted",
            first=first + found.begin,
            verbatim=verbatim and not found.marked,
            depth=depth + 1,
            label=found.label,
        )
        at = found.end
        part = MailPart(kind, first + at, label, verbatim=verbatim)
        parts.append(part)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quotation:
    """Lines `begin` to `end` quote a message; `marked`: each of them begins with ">"."""

    begin: int
    end: int
    label: str
    marked: bool = False
    forwarded: bool = False


def _may_begin(lines: Sequence[str], at: int) -> bool:
    """Tells whether a quotation may begin in line `at`: a quick check, as most lines are text."""
    near = "".join(lines[at : at + _LINES_OF_ATTRIBUTION])
    if ":" in near or "：" in near:
        return True
    line = lines[at]
    return ">" in line[:4] or "---" in line[:_LABEL_WITHIN]


def _quotation(lines: Sequence[str], at: int) -> _Quotation | None:
    """Returns the quotation that begins in line `at` with its introduction; None if none does."""
    if _is_marked(lines[at]):
        return _Quotation(begin=at, end=_marked_until(lines, at), label="", marked=True)
    if not lines[at].strip() or len(lines[at]) > _CHARS_OF_ATTRIBUTION:
        return None
    return _attributed(lines, at) or _separated(lines, at)


def _attributed(lines: Sequence[str], at: int) -> _Quotation | None:
    """Returns a quotation below a line like "On Monday, 4 March, Ana wrote:"."""
    near = lines[at : at + _LINES_OF_ATTRIBUTION]
    for line in near:
        if line.rstrip().endswith(_COLONS):
            break
    else:  # as most lines: they are many
        return None
    for end in range(at + 1, at + len(near) + 1):
        text = " ".join(line.strip() for line in lines[at:end])
        if not lines[end - 1].strip() or len(text) > _CHARS_OF_ATTRIBUTION:
            return None
        if not text.endswith(_COLONS):
            continue
        has_address, has_digit = bool(_ADDRESS.search(text)), any(c.isdigit() for c in text)
        wrote = _WROTE.search(text) is not None
        begin = _next_line(lines, end)
        if begin < len(lines) and _is_marked(lines[begin]) and (wrote or has_address):
            until = _marked_until(lines, begin)
            return _Quotation(begin=begin, end=until, label=_label(text), marked=True)
        if has_digit and (wrote or has_address):
            return _Quotation(begin=end, end=len(lines), label=_label(text))
    return None


def _separated(lines: Sequence[str], at: int) -> _Quotation | None:
    """Returns a quotation below "-----Original Message-----", or below its headers alone."""
    dashes = _DASHES.fullmatch(lines[at])
    ends = lines[at].rstrip().endswith(":")
    introduced = dashes is not None or (ends and _BEGIN.fullmatch(lines[at]) is not None)
    begin = _next_line(lines, at + 1) if introduced else at
    if not introduced and not _names_sender(lines[at]):  # before the lines below are read
        return None
    headers, end = _headers(lines, begin)
    is_block = len(headers) > 2 and headers[0][0] in _FROM and _has_date(headers)  # noqa: PLR2004 - who, when, what
    if not headers or not (introduced or is_block):
        return None
    forwarded = _FORWARD.search(lines[at]) is not None if introduced else False
    label = _label(", ".join(line for _, line in headers))
    return _Quotation(begin=end, end=len(lines), label=label, forwarded=forwarded)


def _headers(lines: Sequence[str], begin: int) -> tuple[list[tuple[str, str]], int]:
    """Returns the label and the line of each header from `begin` on, and the line after them."""
    headers: list[tuple[str, str]] = []
    end = begin
    while end < len(lines) and end - begin < _LINES_OF_HEADERS:
        if label := _header_of(lines[end]):
            headers.append((label, lines[end].strip(" *\t")))
        elif not (headers and lines[end].startswith((" ", "\t")) and lines[end].strip()):
            break
        end += 1
    return headers, end


def _names_sender(line: str) -> bool:
    """Tells whether a line may be the header that names the sender."""
    label = line[: _LABEL_WITHIN + 1].replace("：", ":").partition(":")[0]
    return "".join(label.replace("*", " ").split()).casefold() in _FROM


def _header_of(line: str) -> str:
    """Returns the label of a header in lower case without spaces; "" if the line is none."""
    found = _HEADER.fullmatch(line)
    return found["label"].replace(" ", "").casefold() if found else ""


def _has_date(headers: Sequence[tuple[str, str]]) -> bool:
    return any(label in _SENT or label.startswith(("enviado", "envoyé")) for label, _ in headers)


def _marked_until(lines: Sequence[str], at: int) -> int:
    """Returns the end of the marked lines from `at` on; blank ones between them are in it."""
    end = at
    for number in range(at, len(lines)):
        if _is_marked(lines[number]):
            end = number + 1
        elif lines[number].strip():
            break
    return end


def _is_marked(line: str) -> bool:
    return line[:1] == ">" or _QUOTE.match(line) is not None


def _unmarked(line: str) -> str:
    if line[:1] == ">":
        return line[2:] if line[1:2] == " " else line[1:]
    return _QUOTE.sub("", line, count=1)


def _next_line(lines: Sequence[str], at: int) -> int:
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at


def _is_closing(line: str) -> bool:
    return len(line) <= _CHARS_OF_CLOSING and _CLOSING.fullmatch(line) is not None


def _begins_signature(line: str) -> bool:
    is_short = len(line) <= _CHARS_OF_DEVICE
    return is_short and bool(_SIGNATURE.fullmatch(line) or _SENT_FROM.fullmatch(line))


def _is_signature(lines: Sequence[str]) -> bool:
    filled = [line for line in lines if line.strip()]
    return len(filled) <= _LINES_OF_SIGNATURE and all(
        len(line) <= _CHARS_OF_SIGNATURE for line in filled
    )


def _label(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LABEL_CHARS else f"{text[: _LABEL_CHARS - 1]}…"
