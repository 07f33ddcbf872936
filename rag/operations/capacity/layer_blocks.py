"""The parts of a decoder layer: parameters, and what is kept of each token and of each request.

The shapes are those of the models' code in transformers 5; `tests/rag/operations/` compares them
with it, parameter by parameter.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a layer. Numbers are counts of elements, not bytes.

    Attributes:
        linear: parameters of matrices, which quantization makes smaller.
        other: parameters of norms, biases, routers and convolutions, which it leaves as they are.
        experts: routed experts.
        chosen: those that one token goes through.
        expert: parameters of one expert's matrices.
        expert_other: parameters of one expert's biases.
        kv: elements kept for each token.
        kv_heads: the parts that tensor parallelism divides them into; 1: each GPU has all.
        window: tokens back to which they are kept; None: all.
        conv_state, state: elements kept for each request, whatever its length.
        pair: multiplications for each pair of a token and one that it attends to.
    """

    linear: int = 0
    other: int = 0
    experts: int = 0
    chosen: int = 0
    expert: int = 0
    expert_other: int = 0
    kv: int = 0
    kv_heads: int = 1
    window: int | None = None
    conv_state: int = 0
    state: int = 0
    pair: int = 0

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.linear + self.other + self.experts * (self.expert + self.expert_other)

    @property
    def active(self) -> int:
        """The parameters that one token is multiplied by."""
        return self.linear + self.other + self.chosen * (self.expert + self.expert_other)

    def experts_read(self, tokens: int) -> float:
        """Returns the number of distinct experts that a batch of tokens reads, on average.

        experts · (1 - (1 - chosen ÷ experts)^tokens): each token chooses independently and evenly.
        """
        if not self.experts:
            return 0.0
        return self.experts * (1 - (1 - self.chosen / self.experts) ** tokens)


def attention(
    *,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    window: int | None = None,
    gate: bool = False,
    qkv_bias: bool = False,
    out_bias: bool = False,
    other: int = 0,
) -> Block:
    """Attention with grouped heads; kv_heads = heads is multi-head, 1 is multi-query.

    Keeps 2 · kv_heads · head_dim elements of each token: keys and values.
    """
    queries, pairs = heads * head_dim, 2 * kv_heads * head_dim
    matrices = queries * (2 if gate else 1) + pairs + queries
    return Block(
        linear=hidden * matrices,
        other=other + (queries + pairs) * qkv_bias + hidden * out_bias,
        kv=pairs,
        kv_heads=kv_heads,
        window=window,
        pair=2 * queries,
    )


def latent_attention(
    *,
    hidden: int,
    heads: int,
    query_rank: int | None,
    kv_rank: int,
    rope_dim: int,
    plain_dim: int,
    value_dim: int,
) -> Block:
    """Multi-head latent attention: DeepSeek-V2, https://arxiv.org/abs/2405.04434, section 2.1.

    Keeps kv_rank + rope_dim elements of each token, for all heads together and on each GPU.
    """
    head_dim = plain_dim + rope_dim
    if query_rank is None:
        queries, norms = hidden * heads * head_dim, kv_rank
    else:
        queries, norms = query_rank * (hidden + heads * head_dim), query_rank + kv_rank
    keys = hidden * (kv_rank + rope_dim) + kv_rank * heads * (plain_dim + value_dim)
    return Block(
        linear=queries + keys + heads * value_dim * hidden,
        other=norms,
        kv=kv_rank + rope_dim,
        pair=heads * (head_dim + value_dim),
    )


def mlp(hidden: int, width: int, *, gated: bool = True, bias: bool = False) -> Block:
    """The feed-forward part: three matrices with a gate, two without."""
    matrices = 3 if gated else 2
    biases = (width * (matrices - 1) + hidden) * bias
    return Block(linear=matrices * hidden * width, other=biases)


def mixture(
    hidden: int,
    width: int,
    *,
    experts: int,
    chosen: int,
    shared: int = 0,
    shared_gate: bool = False,
    gated: bool = True,
    bias: bool = False,
    expert_input: int | None = None,
    other: int = 0,
) -> Block:
    """A mixture of experts with its router; `shared` is the width of what every token goes through.

    `expert_input` is what experts read and write where that is not the hidden size; `other`,
    parameters besides.
    """
    matrices = 3 if gated else 2
    size = expert_input or hidden
    projections = 2 * hidden * expert_input if expert_input else 0
    return Block(
        linear=matrices * hidden * shared + projections,
        other=hidden * experts + hidden * shared_gate + experts * bias + other,
        experts=experts,
        chosen=chosen,
        expert=matrices * size * width,
        expert_other=(width * (matrices - 1) + size) * bias,
    )


def mamba1(
    *, hidden: int, inner: int, state: int, kernel: int, rank: int, norms: bool, bias: bool
) -> Block:
    """A selective state space: Gu & Dao 2023, https://arxiv.org/abs/2312.00752.

    `norms` are Jamba's, of the step size and of both projections of the state.
    """
    projections = hidden * 2 * inner + inner * (rank + 2 * state) + rank * inner + inner * hidden
    small = inner * kernel + inner * bias + inner + inner * state + inner
    return Block(
        linear=projections,
        other=small + (rank + 2 * state) * norms,
        conv_state=inner * (kernel - 1),
        state=inner * state,
    )


def mamba2(
    *,
    hidden: int,
    heads: int,
    head_dim: int,
    groups: int,
    state: int,
    kernel: int,
    conv_bias: bool,
    norm: bool = True,
    bias: bool = False,
) -> Block:
    """Mamba-2: Dao & Gu 2024, https://arxiv.org/abs/2405.21060."""
    inner = heads * head_dim
    conv = inner + 2 * groups * state
    width = inner + conv + heads
    return Block(
        linear=hidden * width + inner * hidden,
        other=conv * (kernel + conv_bias) + 3 * heads + inner * norm + (width + hidden) * bias,
        conv_state=conv * (kernel - 1),
        state=heads * head_dim * state,
    )


def gated_delta_net(
    *, hidden: int, key_heads: int, value_heads: int, key_dim: int, value_dim: int, kernel: int
) -> Block:
    """A gated delta net: Yang et al. 2024, https://arxiv.org/abs/2412.06464."""
    keys, values = key_heads * key_dim, value_heads * value_dim
    conv = 2 * keys + values
    return Block(
        linear=hidden * (conv + values + 2 * value_heads) + values * hidden,
        other=conv * kernel + 2 * value_heads + value_dim,
        conv_state=conv * (kernel - 1),
        state=value_heads * value_dim * key_dim,
    )
