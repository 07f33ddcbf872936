"""Chooses a document's title: what a program or a template wrote is none."""

from __future__ import annotations

import re

_LISTED = """
    untitled unnamed blank new neu neue neues neuer nouveau nouvelle nuevo no title notitle
    ohne titel unbenannt unbenanntes sans titre nom sin título titulo senza titolo nome sem
    naamloos bez tytułu nazwy без имени названия 无标题 無題 무제
    document dokument documento документ 文档 文書 page seite página pagina web webpage
    presentation präsentation présentation presentación presentazione apresentação презентация
    slide folie diapositive book workbook mappe arbeitsmappe classeur libro spreadsheet
    sheet tabelle feuille hoja foglio template vorlage modèle plantilla file datei fichier
    microsoft word powerpoint excel office html pdf react vite app your here insert index
    none null undefined
"""
_WORDS = frozenset(_LISTED.split())
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


def chosen(*titles: str, name: str) -> str:
    """Returns the first title that a person wrote, or else the file's name."""
    return next((title for title in titles if title and not is_by_tool(title)), name)


def is_by_tool(title: str) -> bool:
    """True if a program or a template wrote it: "Untitled", "Document1", "Microsoft Word - a.doc".

    So does one that is a file's name, or stands in brackets to be filled in.
    """
    line = " ".join(title.split())
    if len(line) > _LONGEST:
        return bool(_PROGRAM.match(line))
    words = _PARTS.findall(line.casefold())
    return (
        (bool(words) and _WORDS.issuperset(words))
        or any(pattern.fullmatch(line) for pattern in (_FILE, _PLACEHOLDER))
        or bool(_PROGRAM.match(line))
    )
