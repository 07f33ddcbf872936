"""A shard of the embedded index is flushed after changes, and not after reads alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.indexes.edge_shard import Shard
from tests.fakes import HashEmbedder, make_chunk, make_points

DIM = HashEmbedder().dim
ONE, OTHER = make_chunk("the cat sat"), make_chunk("a dog ran", position=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a shard with one chunk, closed."""
    shard = Shard.create(tmp_path, dim=DIM)
    shard.write(make_points([ONE]), mean=3.0)
    shard.close()
    return tmp_path


@pytest.fixture
def shard(folder: Path) -> Iterator[Shard]:
    opened = Shard(folder, dim=DIM)
    yield opened
    opened.close()


def counts(folder: Path) -> Path:
    return folder / "stats.json"


def test_what_was_only_read_is_not_written_again(folder: Path, shard: Shard) -> None:
    before = counts(folder).stat()
    assert len(shard.fetch([ONE.id], None)) == 1
    shard.flush()
    assert counts(folder).stat() == before


def test_a_change_is_written_by_the_next_flush(folder: Path, shard: Shard) -> None:
    shard.write(make_points([OTHER]), mean=3.0)
    assert not counts(folder).exists()
    shard.flush()
    assert counts(folder).exists()
    shard.delete([ONE.id])
    assert not counts(folder).exists()
    shard.close()
    again = Shard(folder, dim=DIM)
    assert (again.stats.points, again.chunk_ids(None)) == (1, {OTHER.id})
    again.close()


def test_counts_that_a_killed_process_did_not_write_are_written_after_reads(folder: Path) -> None:
    counts(folder).unlink()
    shard = Shard(folder, dim=DIM)
    shard.close()
    assert counts(folder).exists()
    again = Shard(folder, dim=DIM)
    assert again.stats.points == 1
    again.close()
