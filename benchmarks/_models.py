"""Checkpoints of any size with random weights, and chunks: nonsense that takes as long."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks._common import EXAMPLES
from rag.types import Chunk
from retrieval.embedders.loading import minilm_folder
from tests.tiny_llama import make_tokenizer


@dataclass(frozen=True, slots=True)
class BertShape:
    """Of an encoder, which goes up and down by four in each layer."""

    hidden: int
    layers: int
    heads: int


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Of a language model; `inner` is the width between up and down."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int


TINY = BertShape(hidden=32, layers=2, heads=2)
MINILM = BertShape(hidden=384, layers=6, heads=12)
BASE = BertShape(hidden=768, layers=12, heads=12)

TINY_LLAMA = LlamaShape(hidden=64, inner=128, layers=2, heads=2, key_heads=2)
LLAMA_1B = LlamaShape(hidden=2048, inner=8192, layers=16, heads=32, key_heads=8)
LLAMA_8B = LlamaShape(hidden=4096, inner=14336, layers=32, heads=32, key_heads=8)
VOCABULARY = 4096
CONTEXT = 4096


def make_cross_encoder(folder: Path, shape: BertShape) -> Path:
    """Writes a BERT that scores pairs, with MiniLM's tokenizer; the folder."""
    return _make(folder, shape, "BertForSequenceClassification", num_labels=1)


def make_embedder(folder: Path, shape: BertShape) -> Path:
    """Writes a BERT with mean pooling as sentence-transformers saves it; the folder."""
    bert = _make(folder / "bert", shape, "BertModel")
    with quiet():
        library: Any = import_module("sentence_transformers")
        library.SentenceTransformer(str(bert), device="cpu").save(str(folder))
    return folder


def make_llama(folder: Path, shape: LlamaShape) -> Path:
    """Writes all of a Llama but its weights, for engines that make these up; the folder."""
    texts = [file.read_text("utf-8") for file in sorted(EXAMPLES.glob("*.rst"))]
    tokenizer = make_tokenizer(folder, VOCABULARY, texts)
    library: Any = import_module("transformers")
    library.LlamaConfig(
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    ).save_pretrained(folder)
    return folder


def weights_read(model: str) -> int:
    """Bytes of weights that each step of a language model reads, at two bytes a number.

    Of the input's embeddings it reads a row for each token, unless they are the output's, too.
    """
    torch = import_module("torch")
    library: Any = import_module("transformers")
    with torch.device("meta"):
        made = library.AutoModelForCausalLM.from_config(library.AutoConfig.from_pretrained(model))
    numbers = sum(weight.numel() for weight in made.parameters())
    if not made.config.tie_word_embeddings:
        numbers -= made.get_input_embeddings().weight.numel()
    return int(2 * numbers)


def _make(folder: Path, shape: BertShape, kind: str, **labels: int) -> Path:
    with quiet():
        torch = import_module("torch")
        library: Any = import_module("transformers")  # whose types do not know what it has
        library.AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(folder)
        torch.manual_seed(0)
        config = library.BertConfig(
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.hidden,
            **labels,
        )
        getattr(library, kind)(config).save_pretrained(folder)
    return folder


def make_chunks(texts: Sequence[str]) -> list[Chunk]:
    """Texts that belong to no document, for a reranker to read."""
    return [
        Chunk(
            id=str(number),
            document_id="",
            version="",
            position=number,
            text=text,
            start=0,
            end=len(text),
            title="",
            uri="",
        )
        for number, text in enumerate(texts)
    ]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and progress bars of the libraries that make and load models."""
    import_module("transformers").utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
