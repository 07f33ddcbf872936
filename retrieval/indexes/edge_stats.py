"""Counts over all points of a shard, and the file that keeps them between processes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retrieval.bm25 import rounded_mean

_FILE = "stats.json"


@dataclass(slots=True)
class Stats:
    """Counts over all points of a shard: updated with each write, kept across restarts."""

    points: int = 0
    terms: int = 0
    indexed: int = 0
    lowest_mean: float = 0.0
    highest_mean: float = 0.0

    @property
    def mean_length(self) -> float:
        """The mean length for new weights."""
        return rounded_mean(self.terms, self.points)

    def note_mean(self, mean: float) -> None:
        """Records that weights were made with this mean."""
        self.lowest_mean = min(self.lowest_mean or mean, mean)
        self.highest_mean = max(self.highest_mean, mean)

    def rebuild_due(self, *, index_from: int, stale_share: float) -> bool:
        """True if too many points are outside the graph or weights were made with another mean."""
        if not self.points:
            return False
        drifted = {self.lowest_mean, self.highest_mean} != {self.mean_length}
        stale = (self.points - self.indexed) / self.points > stale_share
        return drifted or (stale and self.points >= index_from)

    @classmethod
    def counted(cls, payloads: Iterable[Mapping[str, Any]]) -> Stats:
        """Counts the points of these payloads, which have `length` and `mean`."""
        stats = cls()
        for payload in payloads:
            stats.points += 1
            stats.terms += payload["length"]
            stats.note_mean(payload["mean"])
        return stats

    @classmethod
    def read(cls, folder: Path) -> Stats | None:
        """Reads the counts of the shard in this folder; None if it was not closed or flushed."""
        file = folder / _FILE
        return cls(**json.loads(file.read_text())) if file.exists() else None

    def write(self, folder: Path) -> None:
        """Writes the counts to the shard's folder."""
        (folder / _FILE).write_text(json.dumps(asdict(self)))


def has_stats(folder: Path) -> bool:
    """Returns True if a shard's folder has its counts: it was flushed after its last change."""
    return (folder / _FILE).exists()


def remove_stats(folder: Path) -> None:
    """Removes the file before points change: a process that is killed leaves no wrong counts."""
    (folder / _FILE).unlink(missing_ok=True)
