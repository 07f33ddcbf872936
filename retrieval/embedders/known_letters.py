"""The letters of a text that a tokenizer knows, as parts of words."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from rag.text.unspaced import UNSPACED

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ENOUGH = 0.6
"""Share of known letters from which a model may understand a text. MiniLM's tokenizer knows at
least 0.69 of each question of XQuAD in six languages in Latin letters, and on average at most 0.16
of Russian, Arabic, Greek, Hindi and Thai, and 0.29 of Chinese: docs/reranking.md."""
SHORT = 6
"""Letters from which a text with spaces is looked at: a formula or a code has few."""
LOOKED_AT = 500
"""Characters of a text that are looked at: a millisecond at most."""
_UNKNOWN = ("[UNK]", "<unk>")
_SYLLABIC = re.compile(
    r"[\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003fffd]"
)
"""Chinese characters and Korean syllables: one of them may be a word."""


def is_known(tokenizer: Tokenizer, text: str) -> bool:
    """Returns True if at least `ENOUGH` of a text's letters are known, or it has next to none.

    A letter is known in a token of several letters, and a Chinese character or a Korean syllable
    that is one token: some tokenizers have a token for each part of a syllable. Any other token of
    one letter says nothing. Text in ASCII is not looked at.
    """
    if text.isascii():
        return True
    text = text[:LOOKED_AT]
    encoded = tokenizer.encode(text, add_special_tokens=False)
    unknown = {tokenizer.token_to_id(token) for token in _UNKNOWN}
    parts = Counter(encoded.offsets)
    letters = known = 0
    for (start, end), token in dict(zip(encoded.offsets, encoded.ids, strict=True)).items():
        own = sum(map(str.isalpha, text[start:end]))
        letters += own
        whole = own > 1 or (parts[start, end] == 1 and _SYLLABIC.match(text, start))
        if token not in unknown and whole:
            known += own
    return known >= ENOUGH * letters or (letters < SHORT and not UNSPACED.search(text))
