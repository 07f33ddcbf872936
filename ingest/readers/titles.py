"""Chooses a document's title: what a program or a template wrote is none."""

from __future__ import annotations

import re

_NO_TITLE = """
    untitled unnamed blank notitle ohne unbenannt unbenanntes sans sin
    senza sem naamloos bez без 无标题 無題 무제
"""
_KINDS = """
    no title titel titre nom título titulo titolo nome tytułu nazwy имени названия
    new neu neue neues neuer nouveau nouvelle nuevo your here insert
    document dokument documento документ 文档 文書 page seite página pagina web webpage
    presentation präsentation présentation presentación presentazione apresentação презентация
    slide folie diapositive book workbook mappe arbeitsmappe classeur libro spreadsheet
    sheet tabelle feuille hoja foglio template vorlage modèle plantilla file datei fichier
    microsoft word powerpoint excel office html pdf react vite app index none null undefined
"""
_NOTHING = frozenset(_NO_TITLE.split())
_WORDS = _NOTHING | frozenset(_KINDS.split())
"""A title of these words alone, with a number at most, says nothing about the document."""
_PROGRAM = re.compile(
    r"(?:microsoft|libreoffice|openoffice)(?:\.org)? (?:word|excel|powerpoint|writer|calc|impress)"
    r" - ",
    re.IGNORECASE,
)
_FILE = re.compile(
    r".*[^\s.]\.(?:docx?|dot[xm]?|pptx?|potx?|xlsx?|odt|odp|ods|rtf|tmp|tex|dvi|indd|qxd|pages)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"[\[<{].*[\]>}]")
_PARTS = re.compile(r"[^\W\d_]+")
_LONGEST = 100


def chosen(title: str, heading: str, *, name: str) -> str:
    """Returns the title or the first heading, if a person wrote it, or else the file's name.

    A person may well write the heading "Template", but not "Untitled".
    """
    if title and not is_by_tool(title):
        return title
    words = set(_PARTS.findall(heading.casefold()))
    return name if not heading or (words & _NOTHING and words <= _WORDS) else heading


def is_by_tool(title: str) -> bool:
    """True if a program or a template wrote it: "Untitled", "Document1", "Microsoft Word - a.doc".

    So does one that is a file's name, or stands in brackets to be filled in.
    """
    line = " ".join(title.split())
    if len(line) > _LONGEST:
        return bool(_PROGRAM.match(line))
    words = set(_PARTS.findall(line.casefold()))
    return (
        (bool(words) and words <= _WORDS)
        or any(pattern.fullmatch(line) for pattern in (_FILE, _PLACEHOLDER))
        or bool(_PROGRAM.match(line))
    )
