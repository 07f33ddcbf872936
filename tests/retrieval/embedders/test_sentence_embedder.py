"""Models of sentence-transformers as the embedder: tiny weights, the real library."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks._models import quiet
from ingest.reindex import Reindexer
from rag.build.running import start
from rag.errors import ConfigError
from rag.settings.tree import load_settings
from rag.telemetry.trace import Trace
from rag.types import DEFAULT_TENANT, Kind, Query, Scope
from retrieval.embedders.checkpoint import Checkpoint
from retrieval.embedders.embedder import BertEmbedder, SentenceEmbedder
from retrieval.embedders.loading import minilm_folder
from retrieval.embedders.messages import Form, Text
from retrieval.embedders.sentence_files import KINDS
from tests.stored import store
from tests.tiny_llama import make_tiny_llama
from tests.tiny_sentence import HIDDEN, TEXTS, bert, byte_level, encoded, roberta, transformers

if TYPE_CHECKING:
    from retrieval.embedders.sentence_encoder import SentenceEncoder

pytestmark = pytest.mark.anyio


def load(model: Path, query: str | None = None, passage: str | None = None) -> SentenceEncoder:
    """Loads the embedder's encoder in this process: importing the library takes seconds."""
    import torch

    from retrieval.embedders.sentence_encoder import SentenceEncoder

    with quiet():
        return SentenceEncoder(
            str(model),
            device=torch.device("cpu"),
            dtype=torch.float32,
            query_prompt=query,
            passage_prompt=passage,
        )


def run(encoder: SentenceEncoder, form: Form, kind: Kind) -> list[Any]:
    with quiet():
        return list(encoder([Text(text, form, kind) for text in TEXTS]))


MODELS: Mapping[str, Callable[[Path], Path]] = {
    "mean": bert,
    "cls": lambda f: bert(f, pooling="cls"),
    "dense": lambda f: bert(f, dense=8),
    "prompts": lambda f: bert(f, prompts={"query": "query: ", "passage": "passage: "}),
    "pieces": lambda f: roberta(f, prompts={"query": "query: ", "document": "passage: "}),
    "bytes": lambda f: byte_level(f, pooling="lasttoken", prompts={"query": "Find:"}),
}


@pytest.mark.parametrize("made", MODELS)
def test_vectors_are_those_of_the_library_and_tokens_are_words_of_the_text(
    made: str, tmp_path: Path
) -> None:
    folder = MODELS[made](tmp_path / "model")
    encoder = load(folder)
    assert encoder.about.model.dim == (8 if made == "dense" else HIDDEN)
    assert encoder.about.model.token_dim == HIDDEN
    # The library looks for "document" alone, which it saves as empty where there is none.
    passages = {"prompt": "passage: "} if made == "prompts" else {}
    for kind in KINDS:
        dense = run(encoder, "dense", kind)
        options = passages if kind == "passage" else {}
        np.testing.assert_allclose(dense, encoded(folder, kind, **options), atol=1e-5)
        tokens = run(encoder, "tokens", kind)
        for text, each in zip(TEXTS[:2], tokens, strict=False):
            words = [text[start:end] for start, end in each.spans]
            assert all(word and word == word.strip() for word in words)
            covered = {i for start, end in each.spans for i in range(start, end)}
            missed = {
                char for i, char in enumerate(text) if i not in covered and not char.isspace()
            }
            # BERT's tiny vocabulary has every character but this one.
            assert missed <= (set() if made in {"pieces", "bytes"} else {"🙂"})
            assert not any(text[i].isspace() for i in covered)
        for one, row, each in zip(run(encoder, "both", kind), dense, tokens, strict=True):
            np.testing.assert_allclose(np.linalg.norm(each.vectors, axis=1), 1.0, atol=1e-5)
            np.testing.assert_allclose(one.dense, row, atol=1e-5)
            np.testing.assert_allclose(one.tokens, each.vectors, atol=1e-3)
        for one, row, each in zip(run(encoder, "question", kind), dense, tokens, strict=True):
            np.testing.assert_allclose(one.dense, row, atol=1e-5)
            np.testing.assert_allclose(one.tokens.vectors, each.vectors, atol=1e-5)
            np.testing.assert_array_equal(one.tokens.spans, each.spans)


def test_queries_and_passages_may_come_together(tmp_path: Path) -> None:
    encoder = load(bert(tmp_path / "model", prompts={"query": "query: "}))
    with quiet():
        mixed = encoder([Text(TEXTS[0], "dense", kind) for kind in ("passage", "query")])
    alone = [run(encoder, "dense", kind)[0] for kind in ("passage", "query")]
    np.testing.assert_allclose(np.array(mixed), np.array(alone), atol=1e-5)


async def test_mean_pooling_gives_the_built_in_encoder_s_vectors(tmp_path: Path) -> None:
    folder = bert(tmp_path / "model")
    built_in = BertEmbedder(folder, device="cpu", dtype="float32")
    embedder = SentenceEmbedder(str(folder), device="cpu", dtype="float32")
    with contextlib.closing(built_in), contextlib.closing(embedder):
        ours = await built_in.embed(TEXTS, kind="query")
        np.testing.assert_allclose(await embedder.embed(TEXTS, kind="query"), ours, atol=1e-5)
        mine = await built_in.embed_tokens(["", *TEXTS], kind="passage")
        theirs = await embedder.embed_tokens(["", *TEXTS], kind="passage")
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one.spans, other.spans)
            np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
        assert built_in.count_tokens(TEXTS) == embedder.count_tokens(TEXTS)
        assert (await embedder.embed([], kind="query")).shape == (0, HIDDEN)


def test_prompts_may_be_set_and_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = bert(tmp_path / "model", prompts={"query": "query: "})
    own = load(folder).about.model.fingerprint
    assert load(folder, query="query: ").about.model.fingerprint == own
    other = load(folder, query="", passage="of: ")
    assert other.about.model.fingerprint != own
    plain, prompted = (run(other, "dense", kind) for kind in ("query", "passage"))
    np.testing.assert_allclose(plain, encoded(folder, "query", prompt=""), atol=1e-5)
    np.testing.assert_allclose(prompted, encoded(folder, "passage", prompt="of: "), atol=1e-5)


def test_other_weights_and_another_pooling_have_other_fingerprints(tmp_path: Path) -> None:
    names = ("mean", "cls", "pieces")
    found = {load(MODELS[name](tmp_path / name)).about.model.fingerprint for name in names}
    assert len(found) == len(names)
    shutil.copytree(tmp_path / "mean", tmp_path / "copy")
    assert load(tmp_path / "copy").about.model.fingerprint in found


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_what_cannot_be_loaded_is_a_config_error(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    if damage == "cut":
        bert(folder)
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:2000])
    elif damage == "empty":
        folder.mkdir()
    with pytest.raises(ConfigError, match=r"cannot be loaded: \w.*embedder\.model"):
        load(folder)


def test_a_model_without_token_vectors_is_a_config_error(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    with quiet():
        library: Any = import_module("sentence_transformers")
        parts: Any = import_module("sentence_transformers.sentence_transformer.modules")
        tokenizer = transformers().AutoTokenizer.from_pretrained(minilm_folder())
        static = parts.StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)
        library.SentenceTransformer(modules=[static], device="cpu").save(str(folder))
    with pytest.raises(ConfigError, match="no vector for each token"):
        load(folder)


def test_a_model_that_reads_chats_is_a_config_error(tmp_path: Path) -> None:
    with quiet():
        folder = make_tiny_llama(tmp_path / "chat")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token": "<|end|>"}))
    with pytest.raises(ConfigError, match="no vector for each token"):
        load(folder)


@pytest.mark.parametrize("made", ["cls", "dense", "prompts", "pieces"])
def test_the_built_in_encoder_refuses_what_it_does_not_compute(made: str, tmp_path: Path) -> None:
    folder = MODELS[made](tmp_path / "model")
    with pytest.raises(ConfigError, match=r'set embedder\.kind = "sentence_transformers"'):
        Checkpoint(folder)


@pytest.mark.parametrize("flag", ["cls_token", "max_tokens", "mean_sqrt_len_tokens"])
def test_the_flags_that_older_versions_saved_are_read(flag: str, tmp_path: Path) -> None:
    folder = bert(tmp_path / "model")
    file = folder / "1_Pooling" / "config.json"
    flags = {"pooling_mode_mean_tokens": True, "word_embedding_dimension": HIDDEN}
    file.write_text(json.dumps(flags))
    Checkpoint(folder)
    file.write_text(json.dumps(flags | {f"pooling_mode_{flag}": True}))
    with pytest.raises(ConfigError, match=r"pools by mean, .*sentence_transformers"):
        Checkpoint(folder)
    (folder / "modules.json").unlink()
    Checkpoint(folder)


async def test_a_service_ranks_as_with_the_built_in_encoder_and_reindexes_for_another(
    folder: Path, tmp_path: Path
) -> None:
    documents = ["Lunch is served at noon.", "Trains need no approval.", "A cat sleeps all day."]
    scope = Scope(tenant=DEFAULT_TENANT, collection="handbook")
    query = Query(text="When do we eat?", scope=scope)
    sentence = {"kind": "sentence_transformers", "dtype": "float32"}
    library = {**sentence, "model": str(minilm_folder())}
    found = []
    for place, embedder in (("a", {"dtype": "float32"}), ("b", library)):
        async with start(load_settings(data_dir=folder / place, embedder=embedder)) as opened:
            service, queue = opened
            await store(service, queue, scope, documents)
            found.append((await service.query.search(query, Trace())).hits)
    assert [hit.chunk.text for hit in found[0]] == [hit.chunk.text for hit in found[1]]
    scores = [[hit.score for hit in hits] for hits in found]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    other = {**sentence, "model": str(bert(tmp_path / "model", pooling="cls"))}
    async with start(load_settings(data_dir=folder / "b", embedder=other)) as (service, _):
        with pytest.raises(ConfigError, match="embedder"):
            await service.ingest.check_collection(scope)
        reindexer = Reindexer(
            pipeline=service.ingest,
            embedder=service.embedder,
            index=service.index,
            catalog=service.catalog,
        )
        await reindexer.reindex(scope, progress=lambda *_: None)
        assert len((await service.query.search(query, Trace())).hits) == len(documents)


def test_stored_token_vectors_have_the_length_of_the_texts_own(
    folder: Path, tmp_path: Path
) -> None:
    from rag.build.embedding import build_embedder, build_passage_embedder
    from rag.settings.retrieval import LateInteractionSettings, SentenceTransformersSettings

    model = str(bert(tmp_path / "model", dense=8))
    embedder = build_embedder(
        SentenceTransformersSettings(kind="sentence_transformers", model=model, device="cpu")
    )
    with contextlib.closing(embedder):
        assert build_passage_embedder(LateInteractionSettings(), embedder) is None
        with pytest.raises(ConfigError, match=r"set reranker\.stored = false"):
            build_passage_embedder(LateInteractionSettings(stored=True), embedder)
