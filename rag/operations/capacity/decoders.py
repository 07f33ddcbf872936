"""Decoders whose layers are attention and a feed-forward part, from the fields of their configs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.errors import InputError
from rag.operations.capacity.config_fields import Fields
from rag.operations.capacity.layer_blocks import Block, attention, latent_attention, mixture, mlp
from rag.operations.capacity.layer_windows import windows

Layers = tuple[tuple[Block, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """The ways in which one family's layers differ from Llama's.

    Attributes:
        norms: of the hidden size, in each layer.
        qkv_bias, out_bias: True, or the field that says so; of queries, keys and values, and of
            their output.
        head_norms: of each head of queries and keys, or of all of them together.
        gate: attention's output has a gate, as wide as the queries.
        sinks: a parameter for each head.
        expert_bias: experts and their router have biases.
        mixed: layers with experts exist.
        shared_gate: what all tokens go through beside the experts has a gate of its own.
    """

    norms: int = 2
    qkv_bias: bool | str = False
    out_bias: bool | str = False
    head_norms: Literal["no", "each", "all"] = "no"
    gate: bool = False
    sinks: bool = False
    expert_bias: bool = False
    mixed: bool = False
    shared_gate: bool = False


DECODERS = {
    "cohere": Decoder(norms=1, qkv_bias="attention_bias", out_bias="attention_bias"),
    "cohere2": Decoder(norms=1, qkv_bias="attention_bias", out_bias="attention_bias"),
    "gemma": Decoder(qkv_bias="attention_bias", out_bias="attention_bias"),
    "gemma2": Decoder(norms=4, qkv_bias="attention_bias", out_bias="attention_bias"),
    "gemma3_text": Decoder(norms=4, head_norms="each"),
    "glm4_moe": Decoder(qkv_bias="attention_bias", mixed=True),
    "gpt_oss": Decoder(qkv_bias=True, out_bias=True, sinks=True, expert_bias=True, mixed=True),
    "granite": Decoder(qkv_bias="attention_bias", out_bias="attention_bias"),
    "llama": Decoder(qkv_bias="attention_bias", out_bias="attention_bias"),
    "mistral": Decoder(),
    "mixtral": Decoder(mixed=True),
    "olmo2": Decoder(head_norms="all", qkv_bias="attention_bias", out_bias="attention_bias"),
    "olmo3": Decoder(head_norms="all", qkv_bias="attention_bias", out_bias="attention_bias"),
    "phi3": Decoder(),
    "qwen2": Decoder(qkv_bias=True),
    "qwen2_moe": Decoder(qkv_bias=True, mixed=True, shared_gate=True),
    "qwen3": Decoder(qkv_bias="attention_bias", out_bias="attention_bias", head_norms="each"),
    "qwen3_moe": Decoder(
        qkv_bias="attention_bias", out_bias="attention_bias", head_norms="each", mixed=True
    ),
    "smollm3": Decoder(qkv_bias="attention_bias", out_bias="attention_bias"),
}
LATENT = ("deepseek_v2", "deepseek_v3", "kimi_k2")
"""Families with multi-head latent attention."""


def decoder_layers(fields: Fields, model_type: str) -> Layers:
    """Returns the layers of a decoder of `DECODERS` or `LATENT`."""
    family = DECODERS.get(model_type, Decoder(mixed=True))
    hidden = fields.size("hidden_size")
    small = Block(other=family.norms * hidden)
    return tuple(
        (
            latent_heads(fields)
            if model_type in LATENT
            else grouped_heads(fields, family, model_type, window),
            feed_forward(fields, family, number),
            small,
        )
        for number, window in enumerate(windows(fields, model_type))
    )


def grouped_heads(
    fields: Fields, family: Decoder, model_type: str, window: int | None = None
) -> Block:
    """Returns attention with grouped heads."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    kv_heads = fields.size("num_key_value_heads", default=heads)
    head_dim = head_size(fields, hidden, heads)
    if heads % kv_heads:
        raise InputError(
            f"{fields.source}: {heads} attention heads cannot share {kv_heads} key-value heads."
        )
    each, both = 2 * head_dim, (heads + kv_heads) * head_dim
    norms = family.head_norms
    if model_type == "glm4_moe" and fields.flag("use_qk_norm"):
        norms = "each"
    return attention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=window,
        gate=family.gate,
        qkv_bias=_says(fields, family.qkv_bias),
        out_bias=_says(fields, family.out_bias),
        other={"no": 0, "each": each, "all": both}[norms] + heads * family.sinks,
    )


def head_size(fields: Fields, hidden: int, heads: int) -> int:
    """Returns the numbers in a head: the field `head_dim`, or hidden ÷ heads.

    Raises:
        InputError: There is no such field, and the heads do not divide the hidden size.
    """
    if fields.get("head_dim", "attention_head_dim") is not None:
        return fields.size("head_dim", "attention_head_dim")
    if hidden % heads:
        raise InputError(
            f"{fields.source}: hidden_size {hidden:,} is no multiple of {heads:,} heads."
        )
    return hidden // heads


def latent_heads(fields: Fields) -> Block:
    """Returns multi-head latent attention."""
    return latent_attention(
        hidden=fields.size("hidden_size"),
        heads=fields.size("num_attention_heads"),
        query_rank=fields.size("q_lora_rank") if fields.get("q_lora_rank") else None,
        kv_rank=fields.size("kv_lora_rank"),
        rope_dim=fields.size("qk_rope_head_dim"),
        plain_dim=fields.size("qk_nope_head_dim"),
        value_dim=fields.size("v_head_dim"),
    )


def feed_forward(fields: Fields, family: Decoder, number: int) -> Block:
    """Returns the feed-forward part of one layer: dense, or a mixture of experts."""
    hidden = fields.size("hidden_size")
    if not (family.mixed and _is_mixed(fields, number)):
        bias = fields.flag("mlp_bias")
        return mlp(hidden, fields.size("intermediate_size"), gated=True, bias=bias)
    width = fields.size("moe_intermediate_size", "intermediate_size")
    experts = fields.size("num_experts", "num_local_experts", "n_routed_experts")
    chosen = fields.size("num_experts_per_tok", "experts_per_token")
    if chosen > experts:
        raise InputError(f"{fields.source}: a token cannot choose {chosen} of {experts} experts.")
    shared = fields.count("shared_expert_intermediate_size")
    return mixture(
        hidden,
        width,
        experts=experts,
        chosen=chosen,
        shared=shared or width * fields.count("n_shared_experts"),
        shared_gate=family.shared_gate,
        bias=family.expert_bias,
    )


def _is_mixed(fields: Fields, number: int) -> bool:
    """Returns True if the layer with this number has experts."""
    dense = fields.get("mlp_only_layers") or []
    if number < fields.count("first_k_dense_replace") or number in dense:
        return False
    step = fields.size("decoder_sparse_step", "moe_layer_freq", default=1)
    return (number + 1) % step == 0


def _says(fields: Fields, bias: bool | str) -> bool:
    return fields.flag(bias) if isinstance(bias, str) else bias
