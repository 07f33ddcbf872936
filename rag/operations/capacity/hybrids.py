"""Models of which some layers keep a state in place of keys and values, from their configs."""

from __future__ import annotations

from rag.errors import InputError
from rag.operations.capacity.config_fields import MOST_LAYERS, Fields
from rag.operations.capacity.decoders import (
    Decoder,
    Layers,
    feed_forward,
    grouped_heads,
    head_size,
)
from rag.operations.capacity.layer_blocks import (
    Block,
    attention,
    gated_delta_net,
    mamba1,
    mamba2,
    mixture,
    mlp,
)

_QWEN = Decoder(head_norms="each", gate=True, mixed=True, shared_gate=True)
_QWEN_DENSE = Decoder(head_norms="each", gate=True)
_PLAIN = Decoder()
HYBRIDS = (
    *("bamba", "falcon_h1", "jamba", "nemotron_h"),
    *("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"),
)


def hybrid_layers(fields: Fields, model_type: str) -> Layers:
    """Returns the layers of a model of `HYBRIDS`."""
    match model_type:
        case "jamba":
            return _jamba(fields)
        case "nemotron_h":
            return _nemotron(fields)
        case "falcon_h1":
            return _falcon(fields)
        case "bamba":
            return _bamba(fields)
        case _:
            family = _QWEN_DENSE if model_type == "qwen3_5_text" else _QWEN
            return _qwen(fields, family, model_type)


def _jamba(fields: Fields) -> Layers:
    hidden = fields.size("hidden_size")
    state = mamba1(
        hidden=hidden,
        inner=fields.size("mamba_expand", default=2) * hidden,
        state=fields.size("mamba_d_state", default=16),
        kernel=fields.size("mamba_d_conv", default=4),
        rank=fields.size("mamba_dt_rank", default=-(-hidden // 16)),
        norms=True,
        bias=fields.flag("mamba_conv_bias", default=True),
    )
    heads = grouped_heads(fields, _PLAIN, "jamba")
    width = fields.size("intermediate_size")
    experts = mixture(
        hidden,
        width,
        experts=fields.size("num_experts"),
        chosen=fields.size("num_experts_per_tok"),
    )
    dense, norms = mlp(hidden, width), Block(other=2 * hidden)
    return tuple(
        (
            heads if _is_each(fields, "attn_layer", n, (8, 4)) else state,
            experts
            if experts.experts > 1 and _is_each(fields, "expert_layer", n, (2, 1))
            else dense,
            norms,
        )
        for n in range(fields.size("num_hidden_layers", at_most=MOST_LAYERS))
    )


def _is_each(fields: Fields, name: str, number: int, default: tuple[int, int]) -> bool:
    period = fields.size(f"{name}_period", default=default[0])
    return number % period == fields.count(f"{name}_offset", default=default[1])


def _nemotron(fields: Fields) -> Layers:
    """Returns layers of one block each: `M` a state, `*` attention, `-` dense, `E` experts."""
    hidden = fields.size("hidden_size")
    pattern = fields.get("hybrid_override_pattern")
    kinds = list(pattern) if isinstance(pattern, str) else fields.names("layers_block_type")
    if not kinds:
        raise InputError(f"{fields.source} has no field 'hybrid_override_pattern'.")
    words = {"mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*",
             "mlp": "-", "moe": "E"}  # fmt: skip
    norm = Block(other=hidden)
    known: dict[str, Block] = {}
    for kind in (words.get(kind, kind) for kind in kinds):
        if kind not in known:
            known[kind] = _nemotron_block(fields, kind, hidden)
    return tuple((known[words.get(kind, kind)], norm) for kind in kinds)


def _nemotron_block(fields: Fields, kind: str, hidden: int) -> Block:
    match kind:
        case "M":
            return _state_space(fields, hidden)
        case "*":
            heads = fields.size("num_attention_heads")
            return attention(
                hidden=hidden,
                heads=heads,
                kv_heads=fields.size("num_key_value_heads"),
                head_dim=head_size(fields, hidden, heads),
            )
        case "-":
            width = fields.size("intermediate_size")
            return mlp(hidden, width, gated=False, bias=fields.flag("mlp_bias"))
        case "E":
            return mixture(
                hidden,
                fields.size("moe_intermediate_size"),
                experts=fields.size("n_routed_experts"),
                chosen=fields.size("num_experts_per_tok"),
                shared=fields.count("moe_shared_expert_intermediate_size"),
                gated=False,
                expert_input=fields.size("moe_latent_size")
                if fields.get("moe_latent_size")
                else None,
            )
        case _:
            raise InputError(f"{fields.source}: layers of the kind {kind!r} are not known.")


def _state_space(fields: Fields, hidden: int) -> Block:
    """Returns a Mamba-2 block; the fields' names differ from family to family."""
    heads = fields.size("mamba_num_heads", "mamba_n_heads")
    inner = fields.size("mamba_d_ssm", default=fields.size("mamba_expand", default=2) * hidden)
    dim = fields.get("mamba_head_dim", "mamba_d_head")
    return mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=inner // heads
        if dim in (None, "auto")
        else fields.size("mamba_head_dim", "mamba_d_head"),
        groups=fields.size("n_groups", "mamba_n_groups", default=1),
        state=fields.size("ssm_state_size", "mamba_d_state"),
        kernel=fields.size("conv_kernel", "mamba_d_conv", default=4),
        conv_bias=fields.flag(
            "use_conv_bias" if fields.get("use_conv_bias") is not None else "mamba_conv_bias",
            default=True,
        ),
        norm=fields.flag("mamba_rms_norm", default=fields.get("mamba_d_ssm") is None),
        bias=fields.flag("mamba_proj_bias"),
    )


def _falcon(fields: Fields) -> Layers:
    """Returns layers in which attention and a state space read the same input side by side."""
    hidden = fields.size("hidden_size")
    layer = (
        grouped_heads(fields, _PLAIN, "falcon_h1"),
        _state_space(fields, hidden),
        mlp(hidden, fields.size("intermediate_size"), bias=fields.flag("mlp_bias")),
        Block(other=2 * hidden),
    )
    return (layer,) * fields.size("num_hidden_layers", at_most=MOST_LAYERS)


def _bamba(fields: Fields) -> Layers:
    hidden = fields.size("hidden_size")
    places = fields.get("attn_layer_indices") or []
    heads, state = grouped_heads(fields, _PLAIN, "bamba"), _state_space(fields, hidden)
    rest = (mlp(hidden, fields.size("intermediate_size")), Block(other=2 * hidden))
    return tuple(
        (heads if number in places else state, *rest)
        for number in range(fields.size("num_hidden_layers", at_most=MOST_LAYERS))
    )


def _qwen(fields: Fields, family: Decoder, model_type: str) -> Layers:
    hidden = fields.size("hidden_size")
    layers = fields.size("num_hidden_layers", at_most=MOST_LAYERS)
    every = fields.size("full_attention_interval", default=4)
    kinds = fields.names("layer_types") or [
        "linear_attention" if (n + 1) % every else "full_attention" for n in range(layers)
    ]
    state = gated_delta_net(
        hidden=hidden,
        key_heads=fields.size("linear_num_key_heads"),
        value_heads=fields.size("linear_num_value_heads"),
        key_dim=fields.size("linear_key_head_dim"),
        value_dim=fields.size("linear_value_head_dim"),
        kernel=fields.size("linear_conv_kernel_dim"),
    )
    heads, norms = grouped_heads(fields, family, model_type), Block(other=2 * hidden)
    return tuple(
        (
            heads if kind == "full_attention" else state,
            feed_forward(fields, family, number),
            norms,
        )
        for number, kind in enumerate(kinds)
    )
