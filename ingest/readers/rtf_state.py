r"""The words of RTF that the reader follows, and what a group inherits from the one around it."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field, replace

TOKEN = re.compile(
    rb"\\'(?P<byte>[0-9a-fA-F]{2})|\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})?[ ]?"
    rb"|\\(?P<symbol>[^a-zA-Z0-9])|(?P<open>\{)|(?P<close>\})|(?P<text>[^\\{}\r\n]+)"
    rb"|(?P<other>[\r\n]+|\\)",
    re.DOTALL,
)
# The character sets of fonts: RTF 1.9.1, \fcharset.
_CHARACTER_SETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gbk",
    136: "cp950", 161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256",
    186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip
CODE_PAGES = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}
CHARACTERS = {
    "tab": "\t", "line": "\n", "emdash": "—", "endash": "–", "lquote": "\u2018", "rquote": "’",
    "ldblquote": "“", "rdblquote": "”", "bullet": "•", "emspace": " ", "enspace": " ",
    "zwj": "\u200d", "zwnj": "\u200c",
}  # fmt: skip
SYMBOLS = {b"~": "\u00a0", b"_": "-", b"\\": "\\", b"{": "{", b"}": "}"}
SKIPPED = frozenset(
    {
        "atnauthor", "atndate", "atnid", "atnref", "bkmkend", "bkmkstart", "colorschememapping",
        "colortbl", "datastore", "falt", "filetbl", "fldinst", "generator", "latentstyles",
        "listoverridetable", "listtable", "listtext", "mmathPr", "nonshppict", "objclass",
        "objdata", "object", "panose", "pict", "pntext", "revtbl", "rsidtbl", "sp", "stylesheet",
        "template", "themedata", "upr", "xmlnstbl",
    }
)  # fmt: skip
"""The groups that hold no text of the document."""
HEADERS = {
    f"{place}{side}": place for place in ("header", "footer") for side in ("", "l", "r", "f")
}
INFO = frozenset({"title", "author"})
TARGETS = {word: word for word in ("title", "author", "creatim")} | HEADERS | {
    "footnote": "note", "annotation": "comment", "shptxt": "box", "info": "outer",
    "shpinst": "outer", "shppict": "outer",
}  # fmt: skip
"""The groups that hold something else than the body, and what each holds."""


KNOWN = SKIPPED | TARGETS.keys() | CHARACTERS.keys() | {
    "ansicpg", "bin", "cell", "cellx", "clmrg", "clvmrg", "cpg", "deff", "deleted", "dy", "f",
    "fcharset", "fonttbl", "intbl", "mac", "mo", "mvf", "nestcell", "outlinelevel", "page", "par",
    "pard", "pc", "pca", "plain", "row", "sect", "trhdr", "trleft", "trowd", "u", "uc", "v", "yr",
}  # fmt: skip
"""All words that the reader follows; the others, most of a file, only end a run of bytes."""


@dataclass(slots=True)
class State:
    """The state that a group inherits from the one around it.

    `target` tells where text goes, and `words` collects it outside the body. `skip` counts the
    characters after a Unicode one that stand for it in old readers.
    """

    target: str = "body"
    owns_target: bool = False
    words: list[str] = field(default_factory=list)
    font: int | None = None
    skip: int = 1
    hidden: bool = False
    deleted: bool = False
    in_table: bool = False

    def inherited(self) -> State:
        """Returns the state at the beginning of a group within this one."""
        return replace(self, owns_target=False)

    def begin(self, target: str) -> None:
        """Has the group's text go to another place; an "outer" one has no text itself."""
        self.target = target
        self.owns_target, self.words = True, []


class Fonts:
    """The encodings of the fonts; one that names none has the document's."""

    def __init__(self) -> None:
        self.document = "cp1252"
        self.default = 0
        self._encodings: dict[int, str] = {}
        self._defined = 0

    def define(self, word: str, number: int | None) -> None:
        """Follows a control word of the table of fonts."""
        if word == "f":
            self._defined = number or 0
        elif word == "fcharset" and number in _CHARACTER_SETS:
            self._encodings[self._defined] = _CHARACTER_SETS[number]
        elif word == "cpg":
            self._encodings[self._defined] = f"cp{number}"

    def encoding(self, font: int | None) -> str:
        """Returns the encoding of a font; None is the default one."""
        name = self._encodings.get(self.default if font is None else font, self.document)
        try:
            return codecs.lookup(name).name
        except LookupError:
            return "cp1252"
