"""Finds the elements of a page that nobody sees, by attributes and style sheets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

_HIDING = {
    "display": re.compile(r"none"),
    "visibility": re.compile(r"hidden|collapse"),
    "font-size": re.compile(r"0*\.?0+(?:[a-z]{1,4}|%)?"),
}
# A descendant may set these again, and is then seen.
_INHERITED = ("visibility", "font-size")
_RELATIVE_SIZE = re.compile(r"[\d.]+(?:em|ex|%)|inherit|smaller|larger")
_HIDES = re.compile(r"display\s*:\s*none|visibility\s*:|font-size\s*:\s*0", re.IGNORECASE)
_DECLARATION = re.compile(
    r"(?:^|;)\s*(display|visibility|font-size)\s*:\s*([^;!]*)(!\s*important)?", re.IGNORECASE
)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BRACE = re.compile(r"([^{}]*)([{}])")
_BETWEEN_SELECTORS = re.compile(r",(?![^(]*\))")
_ALWAYS = re.compile(r"@(?:layer|supports|media\s+(?:screen|all)\s*(?:,|$))", re.IGNORECASE)
_NAMED = re.compile(r"[.#]([\w-]+)")
_IDS, _CLASSES, _TAGS = (
    re.compile(r"#[\w-]"),
    re.compile(r"\.[\w-]|\[|(?<!:):(?!:|not|is|where)"),
    re.compile(r"(?:^|[\s>+~(])[a-z]", re.IGNORECASE),
)
_MOST_RULES = 200
_MOST_JUDGED = 5000
"""Elements for which all rules are compared; for others, one that hides is enough."""
_INLINE = (1 << 10, 0, 0)

Weight = tuple[bool, tuple[int, int, int], int]
"""Is important, specificity, order: the rule with the largest one decides."""


class _Rule(NamedTuple):
    weight: Weight
    selector: str
    name: str
    hides: bool


def unseen(tree: LexborHTMLParser) -> dict[int, bool]:
    """Returns the `mem_id`s of elements that nobody sees, with all that is in them.

    For each it says whether the element keeps its place on the page, as one without `display:
    none` does. The attributes `hidden` and `aria-hidden` hide an element, and so do styles:
    `display: none`, `visibility: hidden` and `font-size: 0`. Styles for some media or widths alone
    do not count, and those of the whole page do not: a script shows it.
    """
    found = {node.mem_id: True for node in tree.css("[aria-hidden=true]")}
    for node in tree.css("[hidden], dialog:not([open])"):
        if node.attributes.get("hidden") != "until-found":
            found[node.mem_id] = False
    rules = _rules_of(tree)
    shown = {name: _with_shown(tree, name, rules) for name in _INHERITED}
    for number, node in enumerate(_suspects(tree, rules)):
        if number >= _MOST_JUDGED:
            found.setdefault(node.mem_id, True)
            continue
        hiding = [name for name in _HIDING if _decided(node, name, rules)]
        hiding = [name for name in hiding if node.mem_id not in shown.get(name, ())]
        if hiding:
            found[node.mem_id] = "display" not in hiding and found.get(node.mem_id, True)
    for node in tree.css("html, body"):
        found.pop(node.mem_id, None)
    return found


def hides(attributes: Mapping[str, str | None]) -> bool:
    """True if an element with these attributes is not seen, whatever the style sheets say."""
    if "hidden" in attributes:
        return attributes["hidden"] != "until-found"
    if (attributes.get("aria-hidden") or "").lower() == "true":
        return True
    return any(hidden for _, hidden, _ in _declared(attributes.get("style") or ""))


def _suspects(tree: LexborHTMLParser, rules: Sequence[_Rule]) -> Iterator[LexborNode]:
    """Yields each element that a style hides, unless another shows it."""
    seen: set[int] = set()
    for node in tree.css("[style]"):
        if _HIDES.search(node.attributes["style"] or ""):
            seen.add(node.mem_id)
            yield node
    for rule in rules:
        for node in tree.css(rule.selector) if rule.hides else ():
            if node.mem_id not in seen:
                seen.add(node.mem_id)
                yield node


def _decided(node: LexborNode, name: str, rules: Sequence[_Rule]) -> bool:
    """True if the rule that decides about this property of an element hides it."""
    style = node.attributes.get("style") or ""
    inline = [
        ((important, _INLINE, order), hidden)
        for order, (property_, hidden, important) in enumerate(_declared(style))
        if property_ == name
    ]
    outer = [
        (rule.weight, rule.hides)
        for rule in rules
        if rule.name == name and node.css_matches(rule.selector)
    ]
    return max(inline + outer, default=(None, False))[1]


def _with_shown(tree: LexborHTMLParser, name: str, rules: Sequence[_Rule]) -> set[int]:
    """Returns the elements with a descendant that an inherited property, set again, shows."""
    styled = (
        node
        for node in tree.css(f'[style*="{name}"]')
        if any(
            n == name and not hidden for n, hidden, _ in _declared(node.attributes["style"] or "")
        )
    )
    showing = (rule for rule in rules if rule.name == name and not rule.hides)
    found: set[int] = set()
    for node in chain(styled, *(tree.css(rule.selector) for rule in showing)):
        above = node.parent
        while above is not None and above.mem_id not in found:
            found.add(above.mem_id)
            above = above.parent
    return found


def _declared(style: str) -> Iterator[tuple[str, bool, bool]]:
    """Yields the declarations that matter as (property, hides, is important).

    A size relative to the parent's says nothing about whether it is seen.
    """
    for found in _DECLARATION.finditer(style):
        name, value = found[1].lower(), found[2].strip().lower()
        if name == "font-size" and _RELATIVE_SIZE.fullmatch(value) and value.strip("0.em%x"):
            continue
        yield name, bool(_HIDING[name].fullmatch(value)), bool(found[3])


def _rules_of(tree: LexborHTMLParser) -> list[_Rule]:
    """Returns the rules on visibility whose selectors can match something in the page."""
    sheets = [node.text() for node in tree.css("style") if not node.attributes.get("media")]
    if not any(map(_HIDES.search, sheets)):
        return []
    names = set()
    for node in tree.css("[class], [id]"):
        names.update((node.attributes.get("class") or "").split())
        names.add(node.attributes.get("id") or "")
    possible = {
        (rule.selector, rule.name, rule.hides): rule  # of equal ones, the last decides
        for rule in _rules("\n".join(sheets))
        if names.issuperset(_NAMED.findall(rule.selector))
    }
    hiding = (rule for rule in possible.values() if rule.hides)
    showing = (rule for rule in possible.values() if not rule.hides)
    first = [*islice(hiding, _MOST_RULES), *islice(showing, _MOST_RULES)]
    return [rule for rule in first if _is_valid(tree, rule.selector)]


def _is_valid(tree: LexborHTMLParser, selector: str) -> bool:
    try:
        tree.css_first(selector)
    except SelectolaxError:
        return False
    return True


def _rules(css: str) -> Iterator[_Rule]:
    """Yields the rules of a style sheet that apply always, in order."""
    order = 0
    blocks: list[str] = []  # the open blocks' selectors; "" for a block whose rules do not apply
    for text, brace in _BRACE.findall(_COMMENT.sub("", css)):
        if brace == "{":
            prelude = text.rpartition(";")[2].strip()
            applies = all(blocks) and (not prelude.startswith("@") or _ALWAYS.match(prelude))
            blocks.append(prelude if applies else "")
        elif blocks:
            inside, selectors = all(blocks), blocks.pop()
            if not inside or selectors.startswith("@"):
                continue
            for name, hidden, important in _declared(text):
                order += 1
                for selector in map(str.strip, _BETWEEN_SELECTORS.split(selectors)):
                    yield _Rule((important, _specificity(selector), order), selector, name, hidden)


def _specificity(selector: str) -> tuple[int, int, int]:
    ids, classes, tags = (len(part.findall(selector)) for part in (_IDS, _CLASSES, _TAGS))
    return ids, classes, tags


def note(elements: int, comments: int) -> Iterable[str]:
    """Yields a sentence that counts what was left out; none if nothing was."""
    counts = ((elements, "hidden element"), (comments, "comment"))
    parts = [f"{n} {what}{'s' * (n > 1)}" for n, what in counts if n]
    if parts:
        yield f"Left out: {' and '.join(parts)}."
