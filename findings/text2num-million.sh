#!/usr/bin/env bash
# Seen on 2026-11-30 with text2num 3.1.0, Python 3.11, x86-64.
#
# One would expect: alpha2digit writes the numbers of a text in digits, and each number keeps its value:
# "2.5 million" becomes 2500000, or stays as it is.
# What happens: a word after digits is a number of its own. "2.5 million" becomes two numbers, "2.5 1000000",
# and "3 thousand" becomes "3 1000", while "two point five million" and "three thousand" are right.
# Output seen:
#   "sales of 2.5 million euros" -> "sales of 2.5 1000000 euros"
#   "3 thousand people" -> "3 1000 people"
#   "three thousand people" -> "3000 people"
#   "12 Millionen Euro" -> "12 1000000 Euro"
# Why it matters: reports write large amounts with digits and a word. Normalized so, 2.5 million is found as
# 2.5 and as a million, and never as itself: a check of figures passes what is wrong, and refuses what is
# right. Plumbline reads a power of thousand right behind a number as its multiple (rag/text/figures.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet text2num==3.1.0
"$folder/venv/bin/python" - <<'PYTHON' || { echo "It has changed."; exit 1; }
from text_to_num import alpha2digit

expected = {
    ("en", "sales of 2.5 million euros"): "sales of 2.5 1000000 euros",
    ("en", "3 thousand people"): "3 1000 people",
    ("en", "three thousand people"): "3000 people",
    ("de", "12 Millionen Euro"): "12 1000000 Euro",
}
for (language, text), seen in expected.items():
    found = alpha2digit(text, language)
    print(f'"{text}" -> "{found}"')
    assert found == seen, found
PYTHON
