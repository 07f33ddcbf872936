#!/usr/bin/env bash
# qdrant-edge-py 0.9.0: the multilingual tokenizer of BM25 makes different Thai words one term.
#
# Seen 2026-11-30 with qdrant-edge-py 0.9.0 on Python 3.11, Linux x86-64.
#
# One would expect: TokenizerType.Multilingual, which splits Thai into words, keeps its words apart.
# What happens: tone marks are removed as accents are, though they distinguish words in Thai. "Rice"
# and "white" are one term, "shirt" and "tiger", "not" and "wood", "news" and "white" as well. Vowel
# signs stay. TokenizerType.Word, the default, splits such words at the marks, so that "not" and
# "wood" are one term, too, and of "rice" two pieces are left.
#
# Output seen, whether the two words are one term:
#   rice, white    multilingual True   word False
#   shirt, tiger   multilingual True   word False
#   not, wood      multilingual True   word True
#   news, white    multilingual True   word False
#   near, far      multilingual False  word False
#
# It matters because a question about rice finds every document with the colour white, and the word
# for "not" every one about wood, with full scores and without a notice. No setting turns it off:
# `ascii_folding=False` changes nothing. Exits with 1 if any of this is no longer so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

from qdrant_edge import Bm25, Bm25Config, TokenizerType

WORDS = {
    "rice": "\u0e02\u0e49\u0e32\u0e27",
    "white": "\u0e02\u0e32\u0e27",
    "news": "\u0e02\u0e48\u0e32\u0e27",
    "shirt": "\u0e40\u0e2a\u0e37\u0e49\u0e2d",
    "tiger": "\u0e40\u0e2a\u0e37\u0e2d",
    "not": "\u0e44\u0e21\u0e48",
    "wood": "\u0e44\u0e21\u0e49",
    "near": "\u0e43\u0e01\u0e25\u0e49",
    "far": "\u0e44\u0e01\u0e25",
}
SEEN = {
    ("rice", "white"): (True, False),
    ("shirt", "tiger"): (True, False),
    ("not", "wood"): (True, True),
    ("news", "white"): (True, False),
    ("near", "far"): (False, False),
}


def encoder(tokenizer: TokenizerType) -> Bm25:
    return Bm25(Bm25Config(tokenizer=tokenizer, ascii_folding=False))


def terms(bm25: Bm25, word: str) -> list[int]:
    return sorted(bm25.embed_document(WORDS[word]).indices)


multilingual, word = encoder(TokenizerType.Multilingual), encoder(TokenizerType.Word)
for (one, other), expected in SEEN.items():
    found = tuple(terms(each, one) == terms(each, other) for each in (multilingual, word))
    print(f"{f'{one}, {other}':15}multilingual {found[0]!s:7}word {found[1]}")
    if found != expected:
        sys.exit(f"It was {expected} with 0.9.0.")
PYTHON
