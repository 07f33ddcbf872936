"""Models of sentence-transformers with tiny weights: BERT, and two with other tokenizers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._models import quiet
from rag.types import Float32Array, Kind
from retrieval.embedders.loading import minilm_folder

TEXTS = [
    "How long may a line be?",
    "Zürich’s  cafés, 東京 🙂\n\n  and naïve ﬁshermen.",
    "word " * 60,
    "Owls hunt at night; otters hold hands while they sleep.",
]
HIDDEN = 32
SHAPE = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def save(folder: Path, *, pooling: str = "mean", dense: int = 0, **options: Any) -> Path:
    """Adds sentence-transformers' pooling and dense layers to a saved model; returns its folder."""
    with quiet():
        library: Any = import_module("sentence_transformers")
        parts: Any = import_module("sentence_transformers.sentence_transformer.modules")
        layers: Any = import_module("sentence_transformers.base.modules")
        modules = [layers.Transformer(str(folder)), parts.Pooling(HIDDEN, pooling)]
        if dense:
            modules.append(layers.Dense(HIDDEN, dense))
        library.SentenceTransformer(modules=modules, device="cpu", **options).save(str(folder))
    return folder


def bert(folder: Path, **options: Any) -> Path:
    with quiet():
        hf = transformers()
        hf.AutoTokenizer.from_pretrained(minilm_folder(), model_max_length=64).save_pretrained(
            folder
        )
        hf.BertModel(hf.BertConfig(**SHAPE)).save_pretrained(folder)
    return save(folder, **options)


def roberta(folder: Path, **options: Any) -> Path:
    """Writes a model with SentencePiece tokens, which mark white space: XLM-R, multilingual E5."""
    with quiet():
        tokenizers: Any = import_module("tokenizers")
        made = tokenizers.SentencePieceUnigramTokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        made.train_from_iterator(
            TEXTS, vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
        )
        made.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        return roberta_of(folder, made._tokenizer, **options)


def byte_level(folder: Path, **options: Any) -> Path:
    """Writes a model with byte-level tokens that include white space, as ModernBERT and Qwen."""
    with quiet():
        tokenizers: Any = import_module("tokenizers")
        made = tokenizers.ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        made.train_from_iterator(TEXTS, vocab_size=300, special_tokens=special, show_progress=False)
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 2)]
        )
        return roberta_of(folder, made._tokenizer, **options)


def roberta_of(folder: Path, tokenizer: object, **options: Any) -> Path:
    hf = transformers()
    fast = hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=60,
    )
    fast.save_pretrained(folder)
    config = hf.XLMRobertaConfig(vocab_size=len(fast), pad_token_id=1, **SHAPE)
    hf.XLMRobertaModel(config).save_pretrained(folder)
    return save(folder, **options)


def transformers() -> Any:
    import_module("torch").manual_seed(0)
    return import_module("transformers")  # its type stubs lack these names


def encoded(folder: Path, kind: Kind, **options: Any) -> Float32Array:
    """Returns the texts' embeddings by the library itself."""
    with quiet():
        library: Any = import_module("sentence_transformers")
        model = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        encode = model.encode_query if kind == "query" else model.encode_document
        return np.asarray(encode(TEXTS, normalize_embeddings=True, **options), np.float32)


def export(folder: Path) -> Path:
    """Adds the graph of a saved model, as torch exports it; returns the folder."""
    torch = import_module("torch")
    with quiet():
        model = transformers().AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

        class Traced(torch.nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, ids: Any, seen: Any) -> Any:
                return self.model(input_ids=ids, attention_mask=seen).last_hidden_state

        ids = torch.tensor([[0, 5, 6, 7, 2]])
        names = ["input_ids", "attention_mask"]
        torch.onnx.export(
            Traced(),
            (ids, torch.ones_like(ids)),
            folder / "model.onnx",
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_axes={name: {1: "tokens"} for name in (*names, "last_hidden_state")},
            opset_version=18,
            dynamo=False,
        )
    return folder
