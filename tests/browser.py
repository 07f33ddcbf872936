"""A real Chromium that opens the page: the npm package @sparticuz/chromium, by Playwright."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright

from tests.servers import PATIENCE

_FOLDER = Path(sys.prefix) / "chromium"
"""The folder into which `make chromium` unpacks it."""
CHROMIUM = _FOLDER / "chromium"
AXE = _FOLDER / "node_modules" / "axe-core" / "axe.min.js"
needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists() or shutil.which("node") is None,
    reason="there is no Chromium: `make chromium` unpacks one",
)
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_STORED = """() => new Promise((done, failed) => {
  const opening = indexedDB.open("plumbline");
  opening.onerror = failed;
  opening.onsuccess = () => {
    const database = opening.result;  // transactions that write wait for each other
    const writing = database.transaction("conversations", "readwrite");
    writing.oncomplete = () => { database.close(); done(); };
  };
})"""
NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 800}
expect.set_options(timeout=PATIENCE * 1000)


@dataclass
class Tab:
    """A tab with the page of a server, and what went wrong in it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    """Exceptions, and what the page's own policy refused."""
    elsewhere: list[str] = field(default_factory=list)
    """Addresses of other servers that were asked for something."""

    def go(self, place: str) -> None:
        """Shows a place of the page, as `documents` or `admin/keys`."""
        self.page.goto(f"{self.url}/#/{place}")

    def ask(self, question: str) -> Locator:
        """Asks, and returns the answered turn."""
        before = self.page.locator(".turn").count()
        self.page.get_by_role("textbox", name="Your question").fill(question)
        self.page.keyboard.press("Enter")
        turn = self.page.locator(".turn").nth(before)
        expect(turn.locator(".feedback, .fault")).to_be_visible()
        return turn

    def reload(self) -> None:
        """Reloads the page, once the browser has stored what the page was storing."""
        self.page.evaluate(_STORED)
        self.page.reload()

    def marked(self) -> str:
        """Returns the marked text of the open source, once it is marked."""
        expect(self.page.locator("dialog mark").first).to_be_visible()
        return "".join(self.page.locator("dialog mark").all_text_contents())

    def violations(self) -> list[str]:
        """Returns what axe finds against WCAG 2.2 AA, and its best practices."""
        # Playwright evaluates it outside the page's policy.
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        options: dict[str, Any] = {"runOnly": _RULES, "resultTypes": ["violations"]}
        found = self.page.evaluate("options => axe.run(document, options)", options)
        return [
            f"{each['id']}: {node['html']}"
            for each in found["violations"]
            for node in each["nodes"]
        ]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Yields the browser."""
    with sync_playwright() as playwright:
        names = "--host-resolver-rules=MAP *.example 127.0.0.1"
        arguments = ["--no-sandbox", "--disable-gpu", names]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        with contextlib.closing(browser):
            yield browser


@contextlib.contextmanager
def tab(browser: Browser, url: str, **context: Any) -> Iterator[Tab]:
    """Opens the page of the server at `url` with a fresh profile; fails if anything went wrong."""
    settings: dict[str, Any] = {"viewport": WIDE, "locale": "en-GB"} | context
    with contextlib.closing(browser.new_context(**settings)) as opened:
        opened.set_default_timeout(PATIENCE * 1000)
        page = opened.new_page()
        made = Tab(page, url)

        def note(request: Request) -> None:
            if not request.url.startswith((url, "blob:", "data:")):
                made.elsewhere.append(request.url)

        page.on("request", note)
        page.on("pageerror", lambda error: made.errors.append(str(error)))
        page.on(
            "console",
            lambda line: (
                made.errors.append(line.text) if "Content Security Policy" in line.text else None
            ),
        )
        page.goto(url)
        yield made
        assert not made.errors, made.errors
        assert not made.elsewhere, made.elsewhere
