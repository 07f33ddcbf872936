"""HTML and SVG as trees: text is a node, so it is never markup, whatever it holds."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

Content = str | Element | Iterable["Content"]


def tag(kind: str, /, *content: Content, **attributes: str | float) -> Element:
    """Makes an element. `_` in the name of an attribute stands for `-`; `class_` is the class."""
    named = {key.rstrip("_").replace("_", "-"): _text(value) for key, value in attributes.items()}
    element = Element(kind, named)
    _fill(element, content)
    return element


def page(title: str, style: str, *body: Content) -> str:
    """Returns a self-contained document: no script, no request, no style but the given one.

    Its content security policy allows nothing more: even if a text turned out to be markup, a
    browser would not load or run it (https://www.w3.org/TR/CSP3/).
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", style),
    )
    document = tag("html", head, tag("body", *body), lang="en")
    return f"<!doctype html>\n{tostring(document, encoding='unicode', method='html')}\n"


def _fill(element: Element, content: Iterable[Content]) -> None:
    for each in content:
        if isinstance(each, Element):
            element.append(each)
        elif not isinstance(each, str):
            _fill(element, each)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + each
        else:
            element.text = (element.text or "") + each


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
