"""Writes Office's formulas (OMML) on one line."""

from __future__ import annotations

from ingest.readers.package import Element, local


def formula(element: Element) -> str:  # noqa: PLR0911 - a line for each kind
    """Returns a formula's text: "a^2", "x_1", "(a)/(b)", "√(x)"."""
    parts = {local(child): child for child in element if isinstance(child.tag, str)}
    match local(element):
        case "t":
            return element.text or ""
        case "f":
            return f"{_grouped(parts.get('num'))}/{_grouped(parts.get('den'))}"
        case "sSup":
            return f"{_grouped(parts.get('e'))}^{_grouped(parts.get('sup'))}"
        case "sSub":
            return f"{_grouped(parts.get('e'))}_{_grouped(parts.get('sub'))}"
        case "sSubSup":
            powers = f"_{_grouped(parts.get('sub'))}^{_grouped(parts.get('sup'))}"
            return _grouped(parts.get("e")) + powers
        case "rad":
            return f"{_inside(parts.get('deg'))}√{_grouped(parts.get('e'), always=True)}"
        case "nary":
            limits = {"_": _inside(parts.get("sub")), "^": _inside(parts.get("sup"))}
            bounds = "".join(f"{mark}({limit})" for mark, limit in limits.items() if limit)
            return f"{_sign(element, 'naryPr', 'chr', '∫')}{bounds} {_inside(parts.get('e'))}"
        case "d":
            inner = ", ".join(_inside(child) for child in element if local(child) == "e")
            return (
                _sign(element, "dPr", "begChr", "(") + inner + _sign(element, "dPr", "endChr", ")")
            )
        case "eqArr":
            return "; ".join(_inside(child) for child in element if local(child) == "e")
        case _:
            return _inside(element)


def _inside(element: Element | None) -> str:
    if element is None:
        return ""
    children = (child for child in element if isinstance(child.tag, str))
    return "".join(formula(child) for child in children if not local(child).endswith("Pr"))


def _grouped(element: Element | None, *, always: bool = False) -> str:
    text = _inside(element)
    return f"({text})" if always or not text.isalnum() else text


def _sign(element: Element, properties: str, name: str, default: str) -> str:
    found = element.find(f"{{*}}{properties}/{{*}}{name}")
    if found is None:
        return default
    return next((str(value) for value in found.attrib.values()), "")
