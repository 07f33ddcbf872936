"""Scripts that put no spaces between words."""

from __future__ import annotations

import re

_CJK = (
    r"\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    r"\uf900-\ufaff\U00020000-\U0003fffd"
)
SOUTH_EAST_BLOCKS = (
    *((0x0E01, 0x0E4E), (0x0E81, 0x0ECE), (0x0EDC, 0x0EDF), (0x1000, 0x103F), (0x1050, 0x109F)),
    *((0x1780, 0x17D3), (0xAA60, 0xAA7F)),
)
"""First and last characters of runs of Thai, Lao, Burmese and Khmer."""
_SOUTH_EAST = "".join(f"{chr(first)}-{chr(last)}" for first, last in SOUTH_EAST_BLOCKS)
UNSPACED = re.compile(rf"[{_CJK}]+|[{_SOUTH_EAST}]+")
"""Runs of characters of scripts that put no spaces between words: Chinese, Japanese and Korean; or
Thai, Lao, Burmese and Khmer."""
