"""Writes small PDFs: text at places, in sizes, fonts, colours and render modes."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

_FONTS = {"F1": "Helvetica", "F2": "Helvetica-Bold"}
_WIDTH, _HEIGHT = 595, 842


def at(
    x: float,
    y: float,
    text: str,
    *,
    size: float = 11,
    bold: bool = False,
    colour: tuple[float, float, float] = (0, 0, 0),
    mode: int = 0,
    turn: bool = False,
    state: str = "",
) -> str:
    """A line of text whose first letter stands at (`x`, `y`) from the lower left corner."""
    shown = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    matrix = f"0 1 -1 0 {x} {y}" if turn else f"1 0 0 1 {x} {y}"
    graphics = f"/{state} gs " if state else ""
    red, green, blue = colour
    return (
        f"q {graphics}{red} {green} {blue} rg BT /{'F2' if bold else 'F1'} {size} Tf {mode} Tr"
        f" {matrix} Tm ({shown}) Tj ET Q"
    )


def lines(x: float, y: float, *texts: str, step: float = 14, size: float = 11) -> str:
    """Lines of text below one another."""
    return "\n".join(at(x, y - n * step, text, size=size) for n, text in enumerate(texts))


def box(x: float, y: float, width: float, height: float, grey: float) -> str:
    """A filled rectangle."""
    return f"q {grey} g {x} {y} {width} {height} re f Q\n"


def image() -> str:
    """An image on the whole page."""
    return f"q {_WIDTH} 0 0 {_HEIGHT} 0 0 cm /Im Do Q\n"


def pdf(
    *pages: str | Sequence[str], title: str = "", size: tuple[int, int] = (_WIDTH, _HEIGHT)
) -> bytes:
    """A file of these pages, each of this width and height in points."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, FloatObject, NameObject

    writer = PdfWriter()

    def named(**fields: object) -> DictionaryObject:
        return DictionaryObject(
            {
                NameObject(f"/{key}"): NameObject(value) if isinstance(value, str) else value
                for key, value in fields.items()
            }
        )

    picture = DecodedStreamObject()
    picture.set_data(b"\x80")
    picture.update(
        named(Type="/XObject", Subtype="/Image", ColorSpace="/DeviceGray")
        | {
            NameObject(f"/{key}"): FloatObject(n)
            for key, n in (("Width", 1), ("Height", 1), ("BitsPerComponent", 8))
        }
    )
    fonts = {
        key: writer._add_object(
            named(Type="/Font", Subtype="/Type1", BaseFont=f"/{name}", Encoding="/WinAnsiEncoding")
        )
        for key, name in _FONTS.items()
    }
    resources = named(
        Font=named(**fonts),
        XObject=named(Im=writer._add_object(picture)),
        ExtGState=named(Clear=named(ca=FloatObject(0))),
    )
    for page in pages:
        added = writer.add_blank_page(*size)
        content = DecodedStreamObject()
        text = page if isinstance(page, str) else "\n".join(page)
        content.set_data(text.encode("cp1252"))
        added[NameObject("/Contents")] = writer._add_object(content)
        added[NameObject("/Resources")] = resources
    if title:
        writer.add_metadata({"/Title": title})
    target = BytesIO()
    writer.write(target)
    return target.getvalue()
