"""Opens the zip containers of Office and OpenDocument, and parses the XML in them."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from io import BytesIO
from typing import Any, NamedTuple

from lxml import etree

from rag.errors import ReadError
from rag.types import Meta

Element = Any
"""An element of lxml, which has no types."""

_MOST_BYTES_OF_A_TREE = 128 << 20
_MOST_BYTES_OF_A_STREAM = 1 << 30
_STRICT = b"http://purl.oclc.org/ooxml/"
_OFFICE = b"http://schemas.openxmlformats.org/"
_FAMILIES = b"officeDocument spreadsheetml wordprocessingml presentationml drawingml".split()
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
# Entities and other files are never read: a few bytes could ask for gigabytes, or for secrets.
_SAFE = {"resolve_entities": False, "no_network": True, "load_dtd": False, "remove_comments": True}


class Relation(NamedTuple):
    """A link of a part to another: the last word of its type, and the path of the other."""

    kind: str
    target: str


class Package:
    """The parts of a zip container by their paths."""

    def __init__(self, data: bytes, *, name: str) -> None:
        self._name = name
        self._zip = zipfile.ZipFile(BytesIO(data))
        self._parts = {part.lstrip("/").lower(): part for part in self._zip.namelist()}
        self._parser = etree.XMLParser(**_SAFE, remove_pis=True)
        self._related: dict[str, Mapping[str, Relation]] = {}

    def __contains__(self, path: str) -> bool:
        return path.lower() in self._parts

    def tree(self, path: str, *, trimmed: Callable[[bytes], bytes] | None = None) -> Element:
        """Returns the root of a part; `trimmed` may drop elements from its bytes before.

        Raises:
            ReadError: The part is too large for this (`code="too_large"`).
        """
        data = self._zip.read(self._entry(path, _MOST_BYTES_OF_A_TREE))
        if _STRICT in data[:4096]:
            data = _transitional(data)
        return etree.fromstring(trimmed(data) if trimmed else data, self._parser)

    def elements(self, path: str, *tags: str) -> Iterator[Element]:
        """Yields the elements with these tags as they end; each is emptied after its turn.

        Raises:
            ReadError: As `tree`.
        """
        with self._zip.open(self._entry(path, _MOST_BYTES_OF_A_STREAM)) as file:
            for _, element in etree.iterparse(file, tag=tags, **_SAFE):
                yield element
                element.clear(keep_tail=False)
                while element.getprevious() is not None:
                    del element.getparent()[0]

    def related(self, path: str) -> Mapping[str, Relation]:
        """Returns the parts that a part names, by the ids that it uses for them."""
        if path not in self._related:
            self._related[path] = self._read_related(path)
        return self._related[path]

    def _read_related(self, path: str) -> Mapping[str, Relation]:
        folder, _, file = path.rpartition("/")
        relations = f"{folder}/_rels/{file}.rels".lstrip("/")
        if relations not in self:
            return {}
        return {
            each.get("Id"): Relation(
                kind=each.get("Type", "").rpartition("/")[2],
                target=posixpath.normpath(posixpath.join("/", folder, each.get("Target", "")))[1:],
            )
            for each in self.tree(relations)
            if each.get("TargetMode") != "External"
        }

    def of_kind(self, path: str, kind: str) -> list[str]:
        """Returns the paths of the related parts of one kind that exist."""
        related = self.related(path).values()
        return [each.target for each in related if each.kind == kind and each.target in self]

    def title(self) -> str:
        """Returns the title in an Office file's properties; "" if it has none."""
        return self._properties.get("title", "")

    def meta(self) -> Meta:
        """Returns author and day of creation, if an Office file names them."""
        found = self._properties
        day = _DAY.match(found.get("created", ""))
        meta = {"author": found.get("creator", ""), "created": day[0] if day else ""}
        return {key: value for key, value in meta.items() if value}

    @cached_property
    def _properties(self) -> dict[str, str]:
        path = "docProps/core.xml"
        if path not in self:
            return {}
        return {local(each): " ".join((each.text or "").split()) for each in self.tree(path)}

    def _entry(self, path: str, most: int) -> zipfile.ZipInfo:
        entry = self._zip.getinfo(self._parts[path.lower()])
        if entry.file_size > most:
            raise ReadError(
                f"{self._name}: its part {path[:80]!r} unpacks to more than {most >> 20} MiB."
                " Split the document.",
                code="too_large",
            )
        return entry


def local(element: Element) -> str:
    """Returns an element's tag without its namespace."""
    return str(element.tag).rpartition("}")[2]


def child(element: Element, name: str) -> Element | None:
    """Returns the first child with this tag in any namespace, faster than `find`."""
    return next(element.iterchildren(f"{{*}}{name}"), None)


def is_on(value: str | None) -> bool:
    """Reads a truth value of XML; an attribute that is missing means false."""
    return value is not None and value.strip().lower() not in {"", "0", "false", "off"}


def _transitional(data: bytes) -> bytes:
    """Returns a part in Office's strict dialect with the namespaces of the usual one."""
    for family in _FAMILIES:
        for year_first in (b"/main", b"/relationships", b"/chart", b"/wordprocessingDrawing"):
            data = data.replace(
                _STRICT + family + year_first, _OFFICE + family + b"/2006" + year_first
            )
    return data
