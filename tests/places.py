"""Places in the repository that tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
PEPS = ROOT / "examples" / "peps"
DATA = ROOT / "tests" / "data"
