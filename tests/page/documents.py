"""Documents that the tests of the page upload."""

from __future__ import annotations

from pathlib import Path

from tests.pdfs import lines, pdf

HANDBOOK = """---
title: Handbook
---

# Office

The office opens at **nine** and closes at `six` in the evening.

| Room | Seats |
|------|-------|
| Alder | 12 |

## Visitors

Visitors are met at the gate. 👋 Tea is served in the Alder room at four.
"""
FAQ = """<!doctype html><html><head><title>Support</title></head><body>
<h1>Support</h1><h2>How is the logger reset?</h2>
<p>Hold the blue button for <em>twelve</em> seconds until the lamp flashes yellow.</p></body></html>
"""
NOTES = "Notes\n\nThe pump P-7 was replaced on 3 May 2025 by the night shift.\n"
FIRE = "Lithium batteries are stored in the red cabinet on the ground floor."
HOSTILE = """# Invoice <script>document.title = 'taken'</script>

The courier is paid 40 euros a day. <script>document.title = 'taken'</script>
<img src="https://elsewhere.example/pixel.png" onerror="document.title = 'taken'">
![pixel](https://elsewhere.example/pixel.png) [click](javascript:document.title='taken')
<a href="javascript:document.title='taken'">more</a> <svg onload="document.title='taken'"></svg>
<form action="https://elsewhere.example"><button formaction="javascript:1">pay</button></form>
<style>body { display: none }</style> <iframe src="https://elsewhere.example"></iframe>
"""


def write(folder: Path) -> list[Path]:
    """Writes a document of each kind; returns their paths."""
    texts = {"handbook.md": HANDBOOK, "faq.html": FAQ, "notes.txt": NOTES}
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "fire.pdf").write_bytes(
        pdf(lines(72, 700, "Stairs are kept free."), lines(72, 700, FIRE))
    )
    return [folder / name for name in (*texts, "fire.pdf")]
