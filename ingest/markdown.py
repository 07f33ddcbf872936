"""Markdown: headings as CommonMark defines them, and YAML front matter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from itertools import islice, pairwise

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingest.outline import Outline, field_name, lines_of, parse_fields
from rag.types import Heading, MetaValue

MAX_YAML_CHARS = 65_536


def outline(text: str) -> Outline:
    """Reads the headings outside lists and quotes; the text itself stays whole."""
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
    """The fields between `---` lines at the very top, and the offset of what follows them.

    A text may also begin with a thematic break: what is no list of fields is not front matter.
    """
    if not text.startswith("---\n"):
        return {}, 0
    inside: list[str] = []
    for start, line in islice(lines_of(text), 1, None):
        if line.rstrip() in {"---", "..."}:
            meta = parse_fields(inside)
            return (meta | _typed(inside), start + len(line)) if meta else ({}, 0)
        inside.append(line)
    return {}, 0


def _typed(lines: Sequence[str]) -> dict[str, MetaValue]:
    """The fields that YAML knows as numbers, truth values or lists; none where it fails."""
    text = "\n".join(lines)
    if len(text) > MAX_YAML_CHARS:
        return {}
    try:
        fields = yaml.load(text, Loader=_WithoutAliases)  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    return {
        field_name(key): tuple(value) if isinstance(value, list) else value
        for key, value in fields.items()
        if isinstance(key, str) and _is_typed(value)
    }


def _is_typed(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(v, str | int | float | bool) for v in value)
    return isinstance(value, int | float | bool) and abs(value) <= sys.float_info.max


class _WithoutAliases(yaml.SafeLoader):
    """A few aliases can stand for a billion values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("no aliases")
        return super().compose_node(parent, index)


def _plain(title: str) -> str:
    """A heading without inline mark-up, on one line."""
    return "".join(map(_content, _inline_parser().parseInline(title)[0].children or ())).strip()


def _content(token: Token) -> str:
    return " " if token.type == "softbreak" else token.content


@cache
def _block_parser() -> MarkdownIt:
    # Inline mark-up takes most of the time and only headings need it.
    return MarkdownIt("commonmark").disable(["inline", "text_join"])


@cache
def _inline_parser() -> MarkdownIt:
    return MarkdownIt("commonmark")
