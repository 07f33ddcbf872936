"""Markdown: headings as CommonMark defines them, and YAML front matter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from itertools import islice, pairwise

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingest.readers.outline import Outline, field_name, lines_of, parse_fields
from rag.types import Heading, MetaValue, Scalar

MAX_YAML_CHARS = 65_536
_LONGEST_HEADING = 1000


def outline(text: str) -> Outline:
    """Reads the headings outside lists and quotes; the text itself stays complete."""
    meta, body = _front_matter(text)
    starts = [start for start, _ in lines_of(text, body)]
    headings, furniture = [], [(0, body)] if body else []
    for opening, content in pairwise(_block_parser().parse(text[body:])):
        if opening.type != "heading_open" or opening.level or not opening.map:
            continue
        first, after = opening.map
        start = starts[first]
        end = starts[after] - 1 if after < len(starts) else len(text)
        level = int(opening.tag.removeprefix("h"))
        headings.append(Heading(start=start, level=level, text=_plain(content.content)))
        furniture.append((start, end))
    return Outline(
        text=text,
        title=str(meta.get("title", "")),
        headings=tuple(headings),
        furniture=tuple(furniture),
        meta=meta,
    )


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
    return " " if token.type == "softbreak" else token.content


@cache
def _block_parser() -> MarkdownIt:
    # Inline mark-up takes most of the time and only headings need it.
    return MarkdownIt("commonmark").disable(["inline", "text_join"])


@cache
def _inline_parser() -> MarkdownIt:
    return MarkdownIt("commonmark")
