"""Puts a question as people put it in messages: with courtesy, context, capitals, typing errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_CONTEXT = (
    "I joined the team two weeks ago and am still finding my way around. My colleague is on a"
    " journey and could not say. We talked about it at lunch today, and nobody there was sure of it"
    " either."
)


def mistyped(question: str) -> str:
    """Returns the question with two letters in the middle of its longest word swapped."""
    word = max(question.split(), key=len)
    middle = len(word) // 2
    swapped = word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]
    return question.replace(word, swapped, 1)


WAYS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "courtesy": "Hi all, {} Thanks a lot in advance! Best regards, Anna".format,
    "context": f"{_CONTEXT} {{}}".format,
    "a request": "Hello, could you please tell me: {}".format,
    "signature": "Good morning,\n\n{}\n\n-- \nTom Berg\nSales Manager\n+49 30 1234567".format,
    "capitals": str.upper,
    "a typing error": mistyped,
}


def put(question: str, place: int) -> str:
    """Returns the question put in one of the ways, which take turns by `place`."""
    ways = list(WAYS.values())
    return ways[place % len(ways)](question)
