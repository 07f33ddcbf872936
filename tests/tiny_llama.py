"""A tiny language model with random weights, made in a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONTEXT = 512
_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def make_tiny_llama(
    folder: Path,
    *,
    hidden: int = 64,
    layers: int = 2,
    context: int = CONTEXT,
    vocabulary: int = 320,
    texts: Sequence[str] = ("The question, and the passages that answer it.",),
) -> Path:
    """Writes a Llama with a chat template and a tokenizer made of `texts`; returns its folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(folder, vocabulary, texts)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=context,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def make_adapter(folder: Path, *, seed: int = 1) -> Path:
    """Writes a LoRA of random weights for the default sizes' attention; returns its folder."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    targets = ["q_proj", "v_proj"]
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 64, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    weights = {
        f"base_model.model.model.layers.{layer}.self_attn.{name}.lora_{part}.weight": torch.randn(
            (8, 64) if part == "A" else (64, 8)
        )
        for layer in range(2)
        for name in targets
        for part in "AB"
    }
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def make_tokenizer(folder: Path, vocabulary: int, texts: Sequence[str]) -> Any:
    """Writes a tokenizer with a chat template; as transformers loads it."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=_tokenizer(vocabulary, texts), eos_token="<|end|>"
    )
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def _tokenizer(vocabulary: int, texts: Sequence[str]) -> object:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
