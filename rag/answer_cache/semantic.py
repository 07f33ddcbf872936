"""Finds earlier questions that ask the same in other words: near by vector, and by their words."""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rag.answer_cache.answer_keys import Key
from rag.answer_cache.entries import UnreadableEntryError
from rag.answer_cache.meaning import meaning_of
from rag.answer_cache.stores import AnswerStore
from rag.protocols import Embedder
from rag.types import Float32Array

MOST_QUESTIONS = 1000
"""Questions of a group that are compared: with more, each look-up would take longer."""
MOST_COMPARED = 8
"""Nearest questions whose words are compared."""
MOST_ROWS = 20_000
"""Vectors that a process holds: 30 MB of 384 dimensions."""
MOST_GROUPS = 1000
"""Groups that a process knows: each conversation, and each version of a collection, has its own."""
_VECTORS = 256
"""Vectors of questions under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """A question of a group, the key of its answer, and its vector: float16, in base64."""

    question: str
    answer: str
    vector: bytes


@dataclass(slots=True)
class _Group:
    read: int = 0
    questions: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    vectors: list[Float32Array] = field(default_factory=list)


_ITEMS: TypeAdapter[_Item] = TypeAdapter(_Item)


class SimilarQuestions:
    """The earlier questions, by the group of their keys; those of other processes too."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        store: AnswerStore,
        similarity: float,
        seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Makes the questions.

        Args:
            embedder: Compares them.
            store: Has them for all processes.
            similarity: The cosine from which two may ask the same.
            seconds: The time to live of the store.
            clock: Returns the time, in seconds since 1970.
        """
        self._embedder = embedder
        self._store = store
        self._similarity = similarity
        self._seconds = seconds
        self._clock = clock
        self._groups: OrderedDict[str, _Group] = OrderedDict()
        self._vectors: OrderedDict[str, Float32Array] = OrderedDict()

    async def find(self, key: Key, question: str) -> list[str]:
        """Returns the keys of the answers to questions that ask the same, nearest first.

        Raises:
            UpstreamError: The store or the embedder does not answer.
            UnreadableEntryError: The store has bytes that are no question.
        """
        vector = await self._vector(question)
        meaning = meaning_of(question)
        near: list[tuple[float, str]] = []
        for name in self._names(key):
            group = await self._read(name)
            if not group.vectors:
                continue
            scores = np.stack(group.vectors) @ vector
            for place in np.argsort(-scores)[:MOST_COMPARED].tolist():
                if scores[place] < self._similarity:
                    break
                if meaning.agrees(meaning_of(group.questions[place])):
                    near.append((float(scores[place]), group.answers[place]))
        return [answer for _, answer in sorted(near, reverse=True)]

    async def add(self, key: Key, question: str) -> None:
        """Adds a question whose answer is kept. Raises UpstreamError as `find` does."""
        vector = (await self._vector(question)).astype(np.float16)
        item = _Item(
            question=question, answer=key.answer, vector=base64.b64encode(vector.tobytes())
        )
        name = self._names(key)[0]
        await self._store.append(name, _ITEMS.dump_json(item), most=MOST_QUESTIONS)

    def _names(self, key: Key) -> tuple[str, str]:
        """Returns the names of the list of a group for this time to live, and for the one before.

        So a list only grows, and a process reads what it has not read yet.
        """
        turn = int(self._clock() // self._seconds)
        return f"{key.group}:{turn}", f"{key.group}:{turn - 1}"

    async def _read(self, name: str) -> _Group:
        group = self._groups.setdefault(name, _Group())
        self._groups.move_to_end(name)
        start = group.read
        items = await self._store.items(name, start=start)
        for found in items[group.read - start :]:  # another question may have read some meanwhile
            group.read += 1  # what cannot be read is told once
            item, vector = self._item(found)
            group.questions.append(item.question)
            group.answers.append(item.answer)
            group.vectors.append(vector)
        while (
            len(self._groups) > MOST_GROUPS
            or sum(len(each.answers) for each in self._groups.values()) > MOST_ROWS
        ):
            self._groups.popitem(last=False)
        return group

    def _item(self, found: bytes) -> tuple[_Item, Float32Array]:
        try:
            item = _ITEMS.validate_json(found)
            vector = np.frombuffer(base64.b64decode(item.vector, validate=True), np.float16)
        except (ValidationError, ValueError) as error:
            # Without the cause: its message quotes what was found.
            raise UnreadableEntryError(type(error).__name__) from None
        if len(vector) != self._embedder.dim:
            raise UnreadableEntryError(f"{len(vector)} dimensions")
        return item, vector.astype(np.float32)

    async def _vector(self, question: str) -> Float32Array:
        """Returns the unit vector of a question; those of the last ones are remembered."""
        if question not in self._vectors:
            [vector] = await self._embedder.embed([question], kind="query")
            self._vectors[question] = vector
            while len(self._vectors) > _VECTORS:
                self._vectors.popitem(last=False)
        return self._vectors[question]
