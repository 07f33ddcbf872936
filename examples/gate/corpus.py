"""The documents of the gate's set, as it wants them: `python examples/gate/corpus.py FOLDER`.

Every third of the shipped PEPs, as plain text; questions and judgements lie beside this file.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
PEPS = HERE.parent / "peps"


def main() -> None:
    """Writes a set in the BEIR layout."""
    folder = Path(sys.argv[1])
    if (HERE / "set").is_dir():
        shutil.copytree(HERE / "set", folder, dirs_exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for pep in sorted(PEPS.glob("*.rst"))[::3]:
            text = pep.read_text(encoding="utf-8")
            row = {"_id": pep.stem, "title": pep.stem.upper(), "text": text}
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
