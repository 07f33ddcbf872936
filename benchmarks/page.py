"""The page at `/`: its size, its first view, its memory over 200 questions, and Lighthouse.

Measured in the Chromium of the tests, on loopback, with the shipped examples indexed. Size: the
bytes that the first view loads, as sent (gzip); PDF.js comes with the first PDF. First view: from
the request to the field for the question, fifteen fresh profiles, median. Memory: the JavaScript
heap after a forced collection, after 50 and after 200 questions. Lighthouse (npm, 12.8.2, installed
into a temporary folder) runs its categories performance and accessibility without the web.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page

from benchmarks._common import EXAMPLES, Report, SkippedError, Target, p50
from benchmarks._server import examples, serving
from tests.browser import CHROMIUM, chromium, tab

LIGHTHOUSE = "lighthouse@12.8.2"
VIEWS = 15
QUESTIONS = 200
EARLY = 50
"""Questions before the first look at the memory: caches are full by then."""
PACKAGE_SECONDS = 600


def run() -> Report:
    """All of it against one server."""
    if not CHROMIUM.exists():
        raise SkippedError("there is no Chromium: `make chromium` unpacks one")
    report = Report()
    with examples() as env, serving(env) as url, chromium() as browser:
        size = _size(url)
        views = [_first_view(browser, url) for _ in range(VIEWS)]
        early, late = _memory(browser, url)
        scores = _lighthouse(url)
    report.add("first view, bytes as sent", size / 1e3, unit="kB", target=Target(bound=150))
    report.add("first view p50", p50(views), unit="s", target=Target(bound=1))
    report.add(f"heap after {QUESTIONS} questions", late, unit="MiB", floor=early)
    for name, score in scores.items():
        target = Target(bound=95, at_least=True)
        report.add(f"Lighthouse {name}", score, unit="points", target=target)
    return report


def _size(url: str) -> int:
    """Returns the bytes of the page with what it names, as a browser gets them."""
    with httpx.Client(base_url=url) as http:
        page = http.get("/")
        named = [part for part in page.text.split('"') if part.startswith("./assets/")]
        sent = [page, *(http.get(name[1:]) for name in named)]
        return sum(response.num_bytes_downloaded for response in sent)


def _first_view(browser: Browser, url: str) -> float:
    started = time.perf_counter()
    with tab(browser, url) as opened:
        opened.page.get_by_role("textbox", name="Your question").wait_for()
        return time.perf_counter() - started


def _memory(browser: Browser, url: str) -> tuple[float, float]:
    """Returns the heap in MiB after the early questions, and after all."""
    titles = [path.stem.replace("-", " ") for path in sorted(EXAMPLES.iterdir())]
    early = 0.0
    with tab(browser, url) as opened:
        for turn in range(1, QUESTIONS + 1):
            opened.page.get_by_label("Your question").fill(f"What does {titles[turn % 40]} say?")
            opened.page.keyboard.press("Enter")
            opened.page.get_by_role("button", name="Ask", exact=True).wait_for()
            if turn == EARLY:
                early = _heap(opened.page)
        return early, _heap(opened.page)


def _heap(page: Page) -> float:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return float(used) / (1 << 20)


def _lighthouse(url: str) -> dict[str, float]:
    """Returns the points of 100, by category; none where npm is not to be had."""
    if (npm := shutil.which("npm")) is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        install = [npm, "install", "--silent", "--no-save", "--prefix", folder, LIGHTHOUSE]
        subprocess.run(install, check=True, timeout=PACKAGE_SECONDS)
        report = Path(folder) / "report.json"
        command = [
            *(f"{folder}/node_modules/.bin/lighthouse", url, "--quiet", "--output=json"),
            *(f"--output-path={report}", "--preset=desktop"),
            "--only-categories=performance,accessibility",
            "--chrome-flags=--headless --no-sandbox --disable-gpu",
        ]
        env = os.environ | {"CHROME_PATH": str(CHROMIUM)}
        subprocess.run(command, env=env, check=True, timeout=PACKAGE_SECONDS)
        categories = json.loads(report.read_text())["categories"]
    return {name: 100 * category["score"] for name, category in categories.items()}
