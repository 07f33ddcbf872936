"""The contract of `PermittedIndex`: readers see an index that holds only what they may read."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from rag.errors import UnknownFieldError
from rag.protocols import StoredIndex
from rag.types import Chunk, Leg, Point, Readers, Scope
from retrieval.indexes.filters import EACH_WORD
from tests.fakes import HashEmbedder, dense_leg, make_chunk, make_points, sparse_leg
from tests.indexes import at, corpus, term_of
from tests.qdrant_servers import NO_INDEXES

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop"), NO_INDEXES]

ANNA: Readers = frozenset({"public", "user:anna", "group:sales"})
BERT: Readers = frozenset({"public", "user:bert"})
NOBODY: Readers = frozenset()
ACLS: tuple[Readers, ...] = (
    frozenset({"public"}),
    frozenset({"group:sales", "group:law"}),
    frozenset({"user:anna", "user:bert"}),
    frozenset({"group:law"}),
    NOBODY,
)
WORDS = ["cat", "dog", "fish", "bird", "horse", "mouse", "soup", "rice", "tree", "lake"]


def guarded(points: list[Point], *acls: Readers) -> list[Point]:
    return [replace(point, acl=acl) for point, acl in zip(points, acls, strict=True)]


def seen_by(scope: Scope, readers: Readers) -> Scope:
    return replace(scope, readers=readers)


def texts_of(chunks: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


async def found(index: StoredIndex, scope: Scope, leg: Leg) -> list[str]:
    [matches] = await index.search(scope, [leg])
    return texts_of(await index.fetch(scope, [match.chunk_id for match in matches]))


@pytest.mark.parametrize("readers", [ANNA, BERT, NOBODY], ids=["anna", "bert", "nobody"])
async def test_every_read_is_that_of_an_index_with_the_readable_chunks_alone(
    index: StoredIndex, scope: Scope, readers: Readers
) -> None:
    rng = random.Random(7)
    # Texts of one length: so the mean length, which all chunks share, is the same as well.
    chunks = [
        make_chunk(" ".join(rng.choices(WORDS, k=4)), document_id=f"doc-{i % 20}", position=i)
        for i in range(60)
    ]
    acls = [rng.choice(ACLS) for _ in range(20)]
    points = [
        replace(point, acl=acls[i % 20])
        for i, point in enumerate(make_points(chunks, by_token=True))
    ]
    alone = replace(scope, collection="alone")
    readable = [point for point in points if point.acl & readers]
    await index.upsert(scope, points)
    await index.upsert(alone, readable)
    await index.maintain(scope)
    await index.maintain(alone)
    ids = [chunk.id for chunk in chunks]
    theirs = seen_by(scope, readers)
    legs = [dense_leg("cat soup"), sparse_leg("cat soup lake"), dense_leg("dog", limit=3)]
    legs.append(replace(dense_leg("fish"), exact=True))
    for mine, only in zip(
        await index.search(theirs, legs), await index.search(alone, legs), strict=True
    ):
        assert [m.chunk_id for m in mine] == [m.chunk_id for m in only]
        assert [m.score for m in mine] == pytest.approx([m.score for m in only], rel=1e-5)
    terms = [await term_of(word) for word in [*WORDS, "unseen"]]
    assert await index.idf(theirs, terms) == pytest.approx(await index.idf(alone, terms), rel=1e-3)
    assert await index.fetch(theirs, ids) == await index.fetch(alone, ids)
    assert (await index.vectors(theirs, ids)).keys() == (await index.vectors(alone, ids)).keys()
    question = HashEmbedder().tokens("cat soup").astype("float32")
    assert (await index.max_sim(theirs, question, ids)).keys() == {p.chunk.id for p in readable}
    for document_id in (None, *(f"doc-{i}" for i in range(20))):
        assert await index.chunk_ids(theirs, document_id) == await index.chunk_ids(
            alone, document_id
        )
    pages = [chunk.id async for page in index.pages(theirs) for chunk in page]
    assert set(pages) == {point.chunk.id for point in readable}


async def test_readers_of_many_words_have_the_ranks_and_idf_of_those_that_count(
    index: StoredIndex, scope: Scope
) -> None:
    texts = ["cat", "cat dog", "cat dog fish", "dog", "fish soup", "soup"]
    await index.upsert(scope, guarded(make_points(corpus(*texts)), *ACLS, ACLS[2]))
    anna = seen_by(scope, ANNA)
    more = seen_by(scope, ANNA | {f"group:{n}" for n in range(EACH_WORD)})
    terms = [await term_of(word) for word in ("cat", "dog", "fish", "soup")]
    assert await index.idf(more, terms) == pytest.approx(await index.idf(anna, terms))
    legs = [sparse_leg("cat soup"), dense_leg("cat soup")]
    assert await index.search(more, legs) == await index.search(anna, legs)


async def test_a_chunk_without_an_acl_is_found_by_no_reader(
    index: StoredIndex, scope: Scope
) -> None:
    await index.upsert(scope, make_points(corpus("cat")))
    assert await found(index, scope, dense_leg("cat")) == ["cat"]
    everyone = frozenset({"public", "default", "", "user:anna"})
    assert await found(index, seen_by(scope, everyone), dense_leg("cat")) == []


async def test_a_field_that_no_readable_chunk_has_is_unknown(
    index: StoredIndex, scope: Scope
) -> None:
    chunks = [
        make_chunk("cat open", position=0, meta={"kind": "open"}),
        make_chunk("cat secret", position=1, meta={"kind": "x", "salary": 9}),
    ]
    await index.upsert(scope, guarded(make_points(chunks), ANNA, BERT - {"public"}))
    anna, bert = seen_by(scope, ANNA), seen_by(scope, BERT - {"public"})
    assert await found(index, anna, dense_leg("cat", at("kind", "eq", "open"))) == ["cat open"]
    assert await found(index, bert, dense_leg("cat", at("salary", "gt", 1))) == ["cat secret"]

    async def is_unknown() -> None:
        for leg in (dense_leg, sparse_leg):
            with pytest.raises(UnknownFieldError) as caught:
                await index.search(anna, [leg("cat", at("salary", "gt", 1))])
            with pytest.raises(UnknownFieldError) as absent:
                await index.search(anna, [leg("cat", at("nothing", "gt", 1))])
            assert str(caught.value).replace("salary", "nothing") == str(absent.value)

    await is_unknown()
    await index.delete(scope, [chunks[1].id])
    await is_unknown()  # although anna may read all that is left
    with pytest.raises(UnknownFieldError):
        await index.search(anna, [dense_leg("cat", at("acl", "eq", "user:anna"))])


async def test_a_changed_acl_holds_at_once_and_in_every_version(
    index: StoredIndex, scope: Scope
) -> None:
    [a, b] = make_points(corpus("cat one", document_id="a") + corpus("cat two", document_id="b"))
    both = guarded([a, b], ANNA, ANNA)
    await index.upsert(scope, both)
    first = await index.begin_version(scope)
    await index.upsert(first, both)
    await index.switch_version(scope, first)
    begun = await index.begin_version(scope)
    await index.upsert(begun, both)
    await index.set_acl(scope, "a", BERT)
    previous = await index.previous_version(scope)
    assert previous is not None
    only_bert = frozenset({"user:bert"})
    for version in (scope, previous, begun):
        assert await found(index, seen_by(version, only_bert), sparse_leg("cat")) == ["cat one"]
        no_sales = seen_by(version, frozenset({"group:sales"}))
        assert await found(index, no_sales, dense_leg("cat")) == ["cat two"]
    await index.set_acl(scope, "no such document", BERT)
    vectors = await index.vectors(scope, [a.chunk.id])
    assert vectors[a.chunk.id] == pytest.approx(a.dense, abs=1e-6)


async def test_readers_of_everything_cease_to_be_that_with_any_write(
    index: StoredIndex, scope: Scope
) -> None:
    anna = seen_by(scope, ANNA)
    legs = (dense_leg("cat"), sparse_leg("cat"))
    texts = ["cat one", "cat two", "cat six"]
    points = [guarded(make_points(corpus(text, document_id=text)), ANNA)[0] for text in texts]
    hidden = replace(points[2], acl=BERT - {"public"})

    async def both() -> list[list[str]]:
        return [sorted(await found(index, anna, leg)) for leg in legs]

    await index.upsert(scope, points[:2])
    assert await both() == [texts[:2]] * 2
    await index.upsert(scope, [hidden])
    assert await both() == [texts[:2]] * 2
    await index.delete(scope, [hidden.chunk.id])
    assert await both() == [texts[:2]] * 2
    await index.set_acl(scope, "cat one", hidden.acl)
    assert await both() == [["cat two"]] * 2
    await index.set_acl(scope, "cat one", ANNA)
    assert await both() == [texts[:2]] * 2
    await index.upsert(scope, [Point(chunk=points[0].chunk, acl=hidden.acl)])
    assert await both() == [["cat two"]] * 2


async def test_a_chunk_that_is_rewritten_without_vectors_has_the_acl_it_is_given(
    index: StoredIndex, scope: Scope
) -> None:
    [point] = guarded(make_points(corpus("cat")), ANNA)
    await index.upsert(scope, [point])
    await index.upsert(scope, [Point(chunk=point.chunk, acl=frozenset({"user:bert"}))])
    assert await found(index, seen_by(scope, ANNA), dense_leg("cat")) == []
    assert await found(index, seen_by(scope, BERT), dense_leg("cat")) == ["cat"]


async def test_a_removed_scope_is_empty_in_every_version_and_others_stay(
    index: StoredIndex, scope: Scope
) -> None:
    others = [replace(scope, tenant="umbrella"), replace(scope, collection="notes")]
    for each in (scope, *others):
        await index.upsert(each, make_points(corpus("cat")))
    version = await index.begin_version(scope)
    await index.upsert(version, make_points(corpus("cat")))
    await index.switch_version(scope, version)
    await index.begin_version(scope)
    for _ in range(2):
        await index.remove(scope)
        assert await index.chunk_ids(scope, None) == set()
        assert await index.previous_version(scope) is None or not await index.chunk_ids(
            await index.previous_version(scope) or scope, None
        )
        assert not await index.holds(scope)
    for each in others:
        assert await found(index, each, dense_leg("cat")) == ["cat"]
    await index.upsert(scope, make_points(corpus("cat again")))
    assert await found(index, scope, sparse_leg("cat")) == ["cat again"]
