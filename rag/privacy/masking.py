"""Masks personal data and secrets in content before it leaves the process."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

MASKED = "[{}]"
_CARD, _IBAN = 10, 97
_SHORTEST_CARD, _SHORTEST_IBAN = 13, 15
_ID = re.compile(r"[0-9A-F]{32}")
_DIGIT = re.compile(r"\d")
_GAP = re.compile(r"[ -]")


def _is_card(text: str) -> bool:
    """Returns True if the checksum of ISO/IEC 7812 (Luhn 1960) is right."""
    digits = [int(c) for c in text if c.isdigit()][::-1]
    if len(digits) < _SHORTEST_CARD:
        return False
    doubled = (sum(divmod(2 * digit, _CARD)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % _CARD == 0


def _is_iban(text: str) -> bool:
    """Returns True if the checksum of ISO 13616 is right.

    Ids of 32 hexadecimal digits are none, though the checksum of one in 1,700 is right: no country
    whose code is of the letters A to F has numbers of that length.
    """
    plain = re.sub(r"\s", "", text).upper()
    if len(plain) < _SHORTEST_IBAN or _ID.fullmatch(plain):
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % _IBAN == 1


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _whole_if(holds: Callable[[str], bool]) -> Callable[[str], int]:
    return lambda text: len(text) if holds(text) else 0


def _groups(holds: Callable[[str], bool]) -> Callable[[str], int]:
    """Returns a function that measures the longest run of leading groups that `holds` accepts.

    A match may have run on into unrelated numbers behind it.
    """

    def length(text: str) -> int:
        ends = [len(text), *(gap.start() for gap in reversed(list(_GAP.finditer(text))))]
        return next((end for end in ends if holds(text[:end])), 0)

    return length


class Rule(NamedTuple):
    """A pattern of a kind of secret; `length` returns how many characters of a match are one.

    Every match contains one of `signs` (casefolded) and at least `digits` digits. A text without
    them is not searched, because the pattern would be tried at every place of the text.
    """

    name: str
    pattern: str
    length: Callable[[str], int] = len
    signs: tuple[str, ...] = ("",)
    digits: int = 0


RULES = (
    Rule("key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
                r"[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", signs=("-----begin",)),
    Rule("key", r"(?<![\w-])eyJ[\w-]{8,4096}\.[\w-]{8,16384}\.[\w-]{0,2048}", signs=("eyj",)),
    Rule("key", r"(?<=://)[^\s/:@]{1,256}:[^\s/@]{1,256}(?=@)", signs=("://",)),
    Rule("key", r"\b(?:sk|pk|rk)[-_][\w-]{16,}", signs=("k-", "k_")),
    Rule("key", r"\b(?:gh[opsur]_|github_pat_|glpat-|xox[abeoprs]-|npm_|hf_|AIza)[\w-]{16,}",
         signs=("gh", "github_pat_", "glpat-", "xox", "npm_", "hf_", "aiza")),
    Rule("key", r"\bpl_[0-9a-f]{12}_[0-9a-f]{16,}", signs=("pl_",)),
    Rule("key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", signs=("akia", "asia")),
    Rule("key", r"(?i)\bbearer\s+[\w.~+/-]{16,}=*", signs=("bearer",)),
    Rule("key", r"(?i)\bbasic\s+[\w+/-]{12,}=*", signs=("bas",)),
    Rule("key", r"(?i)(?:api[-_ ]?key|access[-_ ]?(?:key|token)|auth[-_ ]?token|secret|password"
                r"|passwd|pwd)['\"]?\s*[:=]\s*['\"]?[^\s'\",;]{6,}", signs=(":", "=")),
    Rule("key", r"(?i)\btoken(?:=|['\"]\s*:\s*['\"])[^\s'\",;&]{6,}", signs=("token",)),
    Rule("e-mail", r"[\w.+%'-]{1,64}(?:@|%40)(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}",
         signs=("@", "%40")),
    Rule("IBAN", r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}\b", _groups(_is_iban), digits=2),
    Rule("card", r"(?<![\w.-])\d(?:[ \u00a0\u202f-]?\d){12,18}(?!\w)", _groups(_is_card),
         digits=13),
    Rule("IP", r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)", _whole_if(_is_ip), digits=4),
    Rule("IP", r"(?<![\w.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", _whole_if(_is_ip),
         signs=(":",)),
    Rule("phone", r"(?<![\w.+-])(?:\+|00)\d[\d ./()-]{5,18}\d(?!\w)", signs=("+", "00")),
    Rule("phone", r"(?<![\w.+-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?!\w)", digits=10),
    Rule("phone", r"(?<![\w.+-])0\d{2,4}[ /-]\d{3,4}[ -]?\d{2,5}(?!\w)", digits=8),
    Rule("phone", r"(?<![\w.+-])\(0\d{1,5}\)[ /-]?\d{3,8}(?:[ -]\d{2,5})?(?!\w)", signs=("(0",)),
    Rule("phone", r"(?<![\w.+-])0\d(?:[ .-]\d{2}){4}(?!\w)", digits=10),
)  # fmt: skip
"""The rules in order: a key may contain what looks like another kind."""


class Masker:
    """Replaces e-mail and IP addresses, phone, card and account numbers, keys and tokens."""

    def __init__(
        self, patterns: Sequence[str] = (), *, first: Callable[[str], str] | None = None
    ) -> None:
        """Makes a masker.

        Args:
            patterns: regular expressions of other texts to mask.
            first: masks a text before the rules do.
        """
        self._first = first
        self._rules = (*(Rule("masked", pattern) for pattern in patterns), *RULES)

    def text(self, text: str) -> str:
        """Returns the text with each match replaced by its kind, such as `[e-mail]`, `[card]`."""
        if self._first:
            text = self._first(text)
        folded, digits = text.casefold(), len(_DIGIT.findall(text))
        for rule in self._rules:
            if digits >= rule.digits and any(sign in folded for sign in rule.signs):
                pattern, mask = _compiled(rule.pattern), MASKED.format(rule.name)
                text = "".join(_replaced(text, pattern, rule.length, mask))
        return text

    def content(self, content: Any) -> Any:
        """Masks every string in lists, tuples and dicts, including keys."""
        match content:
            case str():
                return self.text(content)
            case dict():
                return {self.content(k): self.content(v) for k, v in content.items()}
            case list() | tuple():
                return [self.content(item) for item in content]
            case _:
                return content


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Returns the pattern, compiled at its first use: few texts need more than a few of them."""
    return re.compile(pattern)


def _replaced(
    text: str, pattern: re.Pattern[str], length: Callable[[str], int], mask: str
) -> Iterator[str]:
    """Yields the text in pieces, with the mask in place of the part that counts of each match."""
    done = at = 0
    while at <= len(text) and (found := pattern.search(text, at)):
        at = found.start() + length(found[0])
        if at > found.start():
            yield text[done : found.start()] + mask
            done = at
        else:
            at += 1
    yield text[done:]
