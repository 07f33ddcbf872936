"""The beginning of a prompt that decides which replica has it in its prefix cache."""

from __future__ import annotations

from collections.abc import Sequence

from rag.types import Message

PREFIX_CHARS = 256
"""Characters after the system's message that count: some 64 tokens, four blocks of vLLM's cache."""


def prefix_key(messages: Sequence[Message]) -> bytes:
    """Returns the system's messages and the first `PREFIX_CHARS` of the message after them.

    An engine's prefix cache shares whole blocks of tokens from the start of a prompt up to the
    first that differs (vLLM: 16 tokens, each block's hash includes the one before). Our prompts
    begin with the same rules, which every replica soon has; then come the passages, in the order of
    their ranks; the question is last. So two prompts share more than the rules if their first
    passages are the same, and only then. The first 256 characters tell the first passage. A longer
    key would part prompts that have their first passage in common and not their second.
    """
    rules = [m.content for m in messages if m.role == "system"]
    rest = next((m.content for m in messages if m.role != "system"), "")
    return "\0".join((*rules, rest[:PREFIX_CHARS])).encode(errors="replace")
