"""Markdown: headings and tables as GitHub defines them, grid tables, and YAML front matter."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice, pairwise

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingest.readers.drawn_tables import grids
from ingest.readers.edits import Edit, Edited
from ingest.readers.markdown_html import Html
from ingest.readers.outline import Line, Outline, field_name, lines_of, parse_fields
from ingest.readers.pipe_tables import header_line, rows_written
from rag.types import Heading, MetaValue, Scalar, Span

MAX_YAML_CHARS = 65_536
_LONGEST_HEADING = 1000
_CODE = frozenset({"fence", "code_block"})
_COMMENT = re.compile("<!--.*?-->")


def outline(text: str, *, hidden: bool = False) -> Outline:
    """Reads headings outside lists and quotes, and tables; the rest of the text stays as it is.

    Comments and HTML that nobody sees are read if `hidden`; otherwise a note counts them.
    """
    meta, body = _front_matter(text)
    lines = list(lines_of(text, body))
    tokens = _block_parser().parse(text[body:])
    headings = [
        (_span(lines, opening.map), int(opening.tag.removeprefix("h")), _plain(content.content))
        for opening, content in pairwise(tokens)
        if opening.type == "heading_open" and not opening.level and opening.map
    ]
    html = Html(text, code=[_span(lines, t.map) for t in tokens if t.type in _CODE and t.map])
    unread = None if hidden else _COMMENT
    cuts, notes = ([], ()) if hidden else html.hidden()
    tables = [*html.tables(hidden=hidden), *_tables(tokens, lines, unread)]
    edited = Edited(text, [*cuts, *tables])
    furniture = [(0, body)] if body else []
    return Outline(
        text=edited.text,
        title=str(meta.get("title", "")),
        headings=tuple(
            Heading(start=edited.at(start), level=level, text=title)
            for (start, _), level, title in headings
        ),
        tables=edited.tables,
        furniture=tuple(map(edited.span, furniture + [span for span, _, _ in headings])),
        meta=meta,
        notes=tuple(notes),
    )


def _span(lines: Sequence[Line], map_: Sequence[int] | None) -> Span:
    """Returns the span of a token's lines, without the line end."""
    first, after = map_ or (0, 0)
    last, line = lines[min(after, len(lines)) - 1]
    return lines[first][0], last + len(line)


def _tables(
    tokens: Sequence[Token], lines: Sequence[Line], unread: re.Pattern[str] | None
) -> Iterator[Edit]:
    """Yields the pipe and grid tables, which are paragraphs to CommonMark, without the `unread`."""
    for opening, content in pairwise(tokens):
        if opening.type != "paragraph_open" or not opening.map or "|" not in content.content:
            continue
        first, after = opening.map
        if content.content.startswith("+"):
            for _, _, edit in grids(lines, within=range(first, after)):
                yield edit
        elif (header := header_line(content.content)) is not None:
            source = content.content.split("\n")[header:]
            if unread:
                source = [unread.sub("", line) for line in source]
            text, table = rows_written(source)
            yield Edit(*_span(lines, (first + header, after)), text, (table,) if table else ())


def _front_matter(text: str) -> tuple[dict[str, MetaValue], int]:
    """Returns the fields between `---` lines at the very top, and the offset of the text below.

    A text may also begin with a thematic break: lines that are no list of fields are not front
    matter.
    """
    if not text.startswith("---\n"):
        return {}, 0
    inside: list[str] = []
    for start, line in islice(lines_of(text), 1, None):
        if line.rstrip() in {"---", "..."}:
            meta = parse_fields(inside)
            # A title is always a text, even if YAML reads it as another type.
            typed = {k: v for k, v in _typed(inside).items() if k != "title"} if meta else {}
            return (meta | typed, start + len(line)) if meta else ({}, 0)
        inside.append(line)
    return {}, 0


def _typed(lines: Sequence[str]) -> dict[str, MetaValue]:
    """Returns fields that are numbers, truth values or lists of scalars; none if YAML fails."""
    text = "\n".join(lines)
    if len(text) > MAX_YAML_CHARS:
        return {}
    try:
        top = yaml.compose(text, Loader=_WithoutAliases)
    except (yaml.YAMLError, RecursionError):
        return {}
    if not isinstance(top, yaml.MappingNode):
        return {}
    fields = {field_name(str(key.value)): _value(value) for key, value in top.value}
    return {key: value for key, value in fields.items() if value is not None}


def _value(node: yaml.Node) -> MetaValue | None:
    """Returns a value; None for a text, which `parse_fields` reads, and for a nested value."""
    if isinstance(node, yaml.SequenceNode):
        items = [item for item in node.value if isinstance(item, yaml.ScalarNode)]
        return tuple(map(_scalar, items)) if items and len(items) == len(node.value) else None
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    return None if isinstance(value, str) else value


def _scalar(node: yaml.ScalarNode) -> Scalar:
    """Returns a scalar of YAML 1.2; numbers in another notation are texts: 1.10, 007."""
    text = str(node.value)
    if node.style is not None:  # quoted
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text and abs(number) <= sys.float_info.max:
            return number
    return text


class _WithoutAliases(yaml.SafeLoader):
    """A loader that refuses aliases: a few of them can stand for a billion values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("no aliases")
        return super().compose_node(parent, index)


def _plain(title: str) -> str:
    """Returns a heading without inline mark-up, on one line; an overlong one is cut."""
    inline = _inline_parser().parseInline(title[:_LONGEST_HEADING])[0]
    return "".join(map(_content, inline.children or ())).strip()


def _content(token: Token) -> str:
    if token.type == "html_inline" and token.content.startswith("<!--"):
        return ""
    return " " if token.type == "softbreak" else token.content


@cache
def _block_parser() -> MarkdownIt:
    # Inline mark-up takes most of the time and only headings need it.
    return MarkdownIt("commonmark").disable(["inline", "text_join"])


@cache
def _inline_parser() -> MarkdownIt:
    return MarkdownIt("commonmark")
