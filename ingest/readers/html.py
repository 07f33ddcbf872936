"""Extracts the text of an HTML page, without the parts that surround it on every page of a site."""

from __future__ import annotations

import re
from collections import Counter

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.readers import html_hidden
from ingest.readers.decoding import clean, decode
from ingest.readers.html_page import Page, Skipped, extract
from ingest.readers.outline import Outline, parse_fields
from rag.errors import ReadError


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_DECLARATION = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w-]{2,20})", re.IGNORECASE)
_DECLARED_WITHIN = 4096
_UNSEEN = _words(
    "script style template noscript head title svg math iframe object canvas audio video "
    "button select textarea datalist"
)
_BOILERPLATE = _words("nav footer")
_TAG = re.compile(r"<(/?)([a-z][^\s/>]{0,40})")
# Without an end tag, or closed by the next of their kind.
_NEVER_DEEP = _words(
    "area base br col embed hr img input link meta param source track wbr p li dt dd tr td th "
    "tbody thead tfoot option"
)
_DEEPEST = 10_000
_META_NAMES = _words("author description date keywords")


def outline(data: bytes, *, name: str, hidden: bool = False) -> Outline:
    """Reads a page: its main text, title, headings, tables and `<meta>`.

    Elements that nobody sees and comments are read if `hidden`; otherwise a note counts them.

    Raises:
        ReadError: The bytes are no text, or nest deeper than a page does.
    """
    declared = _DECLARATION.search(data, 0, _DECLARED_WITHIN)
    html = decode(data, name=name, declared=_label(declared))
    if is_too_deep(html):
        raise ReadError(f"{name}: over {_DEEPEST} elements are open at once; not a real page.")
    tree = LexborHTMLParser(html)
    body = tree.body
    if body is None:
        return Outline(text="")
    page = _main(tree, body, hidden=hidden)
    title = tree.css_first("head title")
    return Outline(
        text=page.text,
        title=" ".join(clean(title.text()).split()) if title else "",
        headings=tuple(page.headings),
        tables=tuple(page.tables),
        furniture=tuple((head.start, head.start + len(head.text)) for head in page.headings),
        meta=_meta(tree),
        notes=tuple(page.notes),
    )


def fragment(html: str, *, hidden: bool = False) -> Outline:
    """Reads a part of a page, such as a table within Markdown; it has no furniture."""
    tree = LexborHTMLParser(html)
    body = tree.body
    if body is None:
        return Outline(text="")
    unseen = {} if hidden else html_hidden.unseen(tree)
    page = extract(body, Skipped(_UNSEEN, frozenset(), unseen), comments=hidden)
    return Outline(text=page.text, tables=tuple(page.tables), notes=tuple(page.notes))


def _main(tree: LexborHTMLParser, body: LexborNode, *, hidden: bool) -> Page:
    """Returns the page's main text, or all of it if it has nothing else."""
    unseen = {} if hidden else html_hidden.unseen(tree)
    around = {node.mem_id for node in body.css("[role=navigation]")}
    tags = _UNSEEN | _surroundings(body)
    page = extract(body, Skipped(tags, around, unseen), comments=hidden)
    if page.text:
        return page
    return extract(body, Skipped(_UNSEEN, frozenset(), unseen), comments=hidden)


def _label(declared: re.Match[bytes] | None) -> str | None:
    return declared[1].decode("ascii", "ignore") if declared else None


def is_too_deep(html: str) -> bool:
    """True for the deep nesting of an attack: parsing takes time quadratic in the depth."""
    unclosed: Counter[str] = Counter()
    depth = 0
    for slash, tag in _TAG.findall(html.lower()):
        if tag in _NEVER_DEEP:
            continue
        step = 1 if not slash else -bool(unclosed[tag])
        unclosed[tag] += step
        depth += step
        if depth > _DEEPEST:
            return True
    return False


def _surroundings(body: LexborNode) -> frozenset[str]:
    """Returns the tags around the main text. Some sites put the whole page into a form."""
    in_forms = sum(len(form.text()) for form in body.css("form"))
    return _BOILERPLATE | ({"form"} if 2 * in_forms < len(body.text()) else set())


def _meta(tree: LexborHTMLParser) -> dict[str, str]:
    fields = {}
    for node in tree.css("meta[name][content]"):
        name = (node.attributes["name"] or "").lower()
        if name in _META_NAMES:
            content = " ".join(clean(node.attributes["content"] or "").split())
            fields.update(parse_fields([f"{name}: {content}"]) or {})
    return fields
