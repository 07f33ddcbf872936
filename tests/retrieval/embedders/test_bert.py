"""The built-in encoder against sentence-transformers on the same checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.errors import ConfigError, UpstreamError
from rag.types import Float32Array
from retrieval.embedders.checkpoint import Checkpoint
from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.loading import minilm_folder
from retrieval.embedders.messages import Text

pytestmark = pytest.mark.anyio

LONG = "Generators may delegate a part of their operations to another generator. " * 60
TEXTS = [
    "How long may a line be?",
    LONG,
    "",
    "   \n",
    "Zürich 東京 🙂 naïve ﬁ e\u0301",
    "x" * 3000,
    "def f(x): return x ** 2",
    " ".join(["word"] * 254),
    " ".join(["word"] * 255),
]


@pytest.fixture(scope="module")
def reference() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports are full of them
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)


def encode(reference: Any, texts: list[str]) -> Float32Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = reference.encode(texts, normalize_embeddings=True, convert_to_numpy=True)
    return np.asarray(vectors, np.float32)


@pytest.fixture(scope="module")
def half() -> Iterator[BertEmbedder]:
    made = BertEmbedder(minilm_folder(), dtype="bfloat16")
    yield made
    made.close()


async def test_vectors_in_float32_are_those_of_sentence_transformers(
    embedder: BertEmbedder, reference: Any
) -> None:
    ours = await embedder.embed(TEXTS, kind="passage")
    assert ours.shape == (len(TEXTS), embedder.dim)
    np.testing.assert_allclose(ours, encode(reference, TEXTS), atol=1e-5)


async def test_vectors_in_bfloat16_are_within_half_a_percent(
    half: BertEmbedder, embedder: BertEmbedder
) -> None:
    rough = await half.embed(TEXTS, kind="passage")
    exact = await embedder.embed(TEXTS, kind="passage")
    assert rough.dtype == np.dtype(np.float32)
    np.testing.assert_allclose((rough * exact).sum(axis=1), 1.0, atol=5e-3)
    np.testing.assert_allclose(rough, exact, atol=5e-3)


async def test_a_batch_gives_what_its_texts_give_alone(embedder: BertEmbedder) -> None:
    together = await embedder.embed(TEXTS, kind="query")
    alone = [(await embedder.embed([text], kind="query"))[0] for text in TEXTS]
    np.testing.assert_allclose(together, np.array(alone), atol=1e-5)


@pytest.mark.parametrize("lengths", [[1], [7, 7], [3, 1, 12, 5]])
def test_attention_in_a_padded_rectangle_is_attention_text_by_text(lengths: list[int]) -> None:
    import torch

    from retrieval.embedders.bert_model import one_by_one, side_by_side

    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3 * 32)
    together = side_by_side(lengths, heads=4, device=qkv.device)(qkv)
    torch.testing.assert_close(together, one_by_one(lengths, heads=4)(qkv))


def test_all_of_a_forward_pass_happens_on_the_device() -> None:
    import torch

    from retrieval.embedders.bert_model import Bert, mean_pool

    # Torch's "meta" device computes shapes alone, and like any other takes no operand of the CPU's.
    bert = Bert(Checkpoint(minilm_folder()), device=torch.device("meta"), dtype=torch.bfloat16)
    tokens, lengths = bert.forward([[101, 102], [101, 2054, 2003, 102]])
    pooled = mean_pool(tokens, lengths)
    assert tokens.device == lengths.device == pooled.device == torch.device("meta")
    assert (tokens.shape, pooled.shape) == ((6, 384), (2, 384))


@pytest.mark.parametrize(("native", "dtype"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_computes_in_halves(
    monkeypatch: pytest.MonkeyPatch, native: bool, dtype: str
) -> None:
    import torch

    from retrieval.embedders.bert_model import torch_dtype

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)
    assert torch_dtype("auto", torch.device("cuda")) == getattr(torch, dtype)
    assert torch_dtype("float32", torch.device("cuda")) == torch.float32


def test_a_gpu_without_memory_is_trouble_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from retrieval.embedders.bert_encoder import BertEncoder
    from retrieval.embedders.bert_model import Bert

    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Bert, "forward", refuse)
    encoder = BertEncoder(
        Checkpoint(minilm_folder()), device=torch.device("cpu"), dtype=torch.float32, lanes=1
    )
    with pytest.raises(UpstreamError, match="too little memory left"):
        encoder([Text("a line", "dense", "query")])


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_a_config_error(device: str) -> None:
    with pytest.raises(ConfigError, match=rf"embedder\.device = '{device}' cannot be used: \w"):
        BertEmbedder(minilm_folder(), device=device).load()


async def test_every_vector_has_length_one(embedder: BertEmbedder) -> None:
    vectors = await embedder.embed(TEXTS, kind="passage")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


async def test_queries_and_passages_are_embedded_alike(embedder: BertEmbedder) -> None:
    query = await embedder.embed(["a line"], kind="query")
    np.testing.assert_allclose(query, await embedder.embed(["a line"], kind="passage"), atol=1e-6)


async def test_no_texts_give_no_rows(embedder: BertEmbedder) -> None:
    assert (await embedder.embed([], kind="query")).shape == (0, embedder.dim)
    assert await embedder.embed_tokens([], kind="query") == []


async def test_text_past_the_window_is_cut(embedder: BertEmbedder) -> None:
    longer = await embedder.embed([LONG, LONG + "Something else altogether."], kind="passage")
    np.testing.assert_allclose(longer[0], longer[1], atol=1e-5)


async def test_token_vectors_have_length_one_and_stand_for_spans_of_the_text(
    embedder: BertEmbedder,
) -> None:
    text = "Zürich’s  trams\nrun: unbelievably often"
    [tokens] = await embedder.embed_tokens([text], kind="passage")
    np.testing.assert_allclose(np.linalg.norm(tokens.vectors, axis=1), 1.0, atol=1e-5)
    words = [text[start:end] for start, end in tokens.spans]
    assert "".join(words) == "".join(text.split())
    assert words[:3] == ["Zürich", "’", "s"]
    assert len(tokens.vectors) == len(tokens.spans) == embedder.count_tokens([text])[0]


async def test_a_passage_has_its_vector_and_its_tokens_from_one_pass(
    embedder: BertEmbedder,
) -> None:
    passages = await embedder.embed_passages(TEXTS)
    dense = await embedder.embed(TEXTS, kind="passage")
    tokens = await embedder.embed_tokens(TEXTS, kind="passage")
    for passage, mean, each in zip(passages, dense, tokens, strict=True):
        np.testing.assert_allclose(passage.dense, mean, atol=1e-5)
        np.testing.assert_allclose(passage.tokens, each.vectors, atol=1e-3)
        assert passage.tokens.dtype == np.float16
    assert await embedder.embed_passages([]) == []


async def test_a_question_has_its_vector_and_its_tokens_from_one_pass(
    embedder: BertEmbedder,
) -> None:
    questions = await embedder.embed_questions(TEXTS)
    dense = await embedder.embed(TEXTS, kind="query")
    tokens = await embedder.embed_tokens(TEXTS, kind="query")
    for question, mean, each in zip(questions, dense, tokens, strict=True):
        np.testing.assert_allclose(question.dense, mean, atol=1e-5)
        np.testing.assert_allclose(question.tokens.vectors, each.vectors, atol=1e-5)
        np.testing.assert_array_equal(question.tokens.spans, each.spans)
    assert await embedder.embed_questions([]) == []


async def test_texts_without_tokens_have_no_token_vectors(embedder: BertEmbedder) -> None:
    empty, word, blank = await embedder.embed_tokens(["", "word", " \n"], kind="query")
    assert empty.vectors.shape == blank.vectors.shape == (0, embedder.dim)
    assert empty.spans.shape == (0, 2)
    assert word.vectors.shape == (1, embedder.dim)


async def test_what_the_vocabulary_does_not_have_has_no_token_vector(
    embedder: BertEmbedder,
) -> None:
    text = "騎 a horse, 騎驢"
    tokens, none = await embedder.embed_tokens([text, "騎驢"], kind="query")
    assert [text[start:end] for start, end in tokens.spans] == ["a", "horse", ","]
    assert tokens.vectors.shape == (3, embedder.dim)
    assert none.vectors.shape == (0, embedder.dim)


async def test_token_vectors_stop_at_the_window(embedder: BertEmbedder) -> None:
    [tokens] = await embedder.embed_tokens([LONG], kind="passage")
    assert len(tokens.vectors) == 256 - 2
    assert LONG[: tokens.spans[-1][1]].startswith("Generators may delegate")


async def test_what_sentence_transformers_saves_today_is_read(
    embedder: BertEmbedder, reference: Any, tmp_path: Path
) -> None:
    reference.save(str(tmp_path))
    saved = BertEmbedder(tmp_path, dtype="float32")
    try:
        ours = await saved.embed(TEXTS, kind="passage")
    finally:
        saved.close()
    np.testing.assert_allclose(ours, await embedder.embed(TEXTS, kind="passage"), atol=1e-5)


def test_tokens_are_counted_past_the_window_without_special_ones(embedder: BertEmbedder) -> None:
    counts = embedder.count_tokens(["", "word", "word " * 1000, "unbelievably"])
    assert counts[:3] == [0, 1, 1000]
    assert counts[3] > 1


def test_a_fingerprint_does_not_depend_on_the_precision(
    half: BertEmbedder, embedder: BertEmbedder
) -> None:
    assert half.fingerprint == embedder.fingerprint
    assert embedder.fingerprint.endswith(":256")


def test_a_folder_that_is_no_checkpoint_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no encoder checkpoint: config\.json is missing"):
        BertEmbedder(tmp_path)
    with pytest.raises(ConfigError, match=r"config\.json is missing"):
        BertEmbedder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "missing", ["model.safetensors", "tokenizer.json", "sentence_bert_config.json"]
)
def test_a_checkpoint_with_a_file_missing_is_a_config_error(tmp_path: Path, missing: str) -> None:
    for file in minilm_folder().iterdir():
        if file.name != missing:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(ConfigError, match=f"{missing} is missing"):
        BertEmbedder(tmp_path)


@pytest.mark.parametrize("damaged", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_damaged_checkpoint_is_a_config_error(tmp_path: Path, damaged: str) -> None:
    for file in minilm_folder().iterdir():
        if file.name != damaged:
            (tmp_path / file.name).symlink_to(file)
    (tmp_path / damaged).write_bytes(b"<html>not found</html>")
    with pytest.raises(ConfigError, match=f"{damaged} cannot be read"):
        BertEmbedder(tmp_path).load()


def test_a_model_that_is_no_bert_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ConfigError, match="holds a 'gpt2' model"):
        BertEmbedder(tmp_path)


async def test_a_closed_embedder_starts_no_process() -> None:
    embedder = BertEmbedder(minilm_folder())
    embedder.close()
    with pytest.raises(UpstreamError, match="closed"):
        await embedder.embed(["a line"], kind="query")
