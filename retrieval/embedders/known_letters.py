"""The letters of a text that a tokenizer knows, as parts of words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.text.unspaced import UNSPACED

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ENOUGH = 0.6
"""Share of known letters from which a model may understand a text. MiniLM's tokenizer knows at
least 0.69 of each question of XQuAD in six languages in Latin letters, and of Russian, Arabic,
Greek, Hindi and Thai on average 0.01 to 0.16, of Chinese 0.29: docs/reranking.md."""
_UNKNOWN = ("[UNK]", "<unk>")


def is_known(tokenizer: Tokenizer, text: str) -> bool:
    """Returns True if at least `ENOUGH` of a text's letters are known, or it has none.

    A letter is known in a token of several letters. A token of one letter says nothing, except in
    scripts without spaces, where it may be a word. Text in ASCII is not looked at.
    """
    if text.isascii():
        return True
    encoded = tokenizer.encode(text, add_special_tokens=False)
    unknown = {tokenizer.token_to_id(token) for token in _UNKNOWN}
    letters = known = 0
    for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
        own = sum(map(str.isalpha, text[start:end]))
        letters += own
        if token not in unknown and (own > 1 or UNSPACED.match(text, start, end)):
            known += own
    return known >= ENOUGH * letters
