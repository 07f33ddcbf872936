"""A model as the planner sees it: the parameters and caches of its layers."""

from __future__ import annotations

from dataclasses import dataclass

from rag.operations.capacity.layer_blocks import Block


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The shapes of one model.

    Attributes:
        layers: each layer's blocks: attention or a state, and the feed-forward part.
        embeddings: parameters of the table of tokens, and of the output if that has its own.
        output: parameters that are multiplied with each token to get the next one.
        other: parameters of norms outside the layers.
        heads: query heads, which tensor parallelism divides; 0: a model without attention.
        context: tokens that the model was made for.
        state_bytes: bytes of an element of a state: 4 if the configuration asks for float32.
        experts_only: True if the checkpoint's quantization leaves all but the experts as they are.
    """

    name: str
    model_type: str
    hidden: int
    width: int
    vocabulary: int
    layers: tuple[tuple[Block, ...], ...]
    embeddings: int
    output: int
    other: int
    heads: int
    context: int
    element_bytes: int = 2
    state_bytes: int = 2
    quantization: str = "none"
    experts_only: bool = False

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks of all layers."""
        return tuple(block for layer in self.layers for block in layer)

    @property
    def parameters(self) -> int:
        """All parameters; tied embeddings count once."""
        return self.embeddings + self.other + sum(block.parameters for block in self.blocks)

    @property
    def active(self) -> int:
        """The parameters that a token is multiplied by: chosen experts, output; no table."""
        return self.output + self.other + sum(block.active for block in self.blocks)

    @property
    def kv_elements(self) -> int:
        """Elements that a token adds to the cache within all windows."""
        return sum(block.kv for block in self.blocks)

    def kv_bytes(self, tokens: int, *, element: float, gpus: int = 1) -> float:
        """Returns the bytes that the cache of one request with `tokens` tokens takes on one GPU.

        With `gpus`, its heads are divided among them; each GPU has at least one head, and vLLM
        copies those that are fewer than the GPUs. A layer with a window keeps its window alone.
        """
        return sum(
            block.kv
            / min(gpus, block.kv_heads)
            * (tokens if block.window is None else min(tokens, block.window))
            * element
            for block in self.blocks
        )

    def request_bytes(self, *, gpus: int = 1) -> float:
        """Returns the bytes of the states of one request on one GPU, whatever its length."""
        conv = sum(block.conv_state for block in self.blocks) * self.element_bytes
        state = sum(block.state for block in self.blocks) * self.state_bytes
        return (conv + state) / gpus

    def weight_bytes(self, bytes_each: float) -> float:
        """Returns the size of all weights; matrices take `bytes_each`, the rest as in the config.

        Embeddings and output are left as they are, as by AWQ, GPTQ and FP8 checkpoints.
        """
        return self._bytes(bytes_each, {block: block.experts for block in set(self.blocks)})

    def read_bytes(self, bytes_each: float, *, tokens: int) -> float:
        """Returns the weights that one step for a batch of `tokens` reads, on average.

        All but the table of tokens and the experts that none of them chose.
        """
        table = (self.embeddings - self.output) * self.element_bytes
        read = {block: block.experts_read(tokens) for block in set(self.blocks)}
        return self._bytes(bytes_each, read) - table

    def pair_products(self, context: float) -> float:
        """Returns the products of a token that attends to `context` tokens, in all layers."""
        return sum(
            block.pair * (context if block.window is None else min(context, block.window))
            for block in self.blocks
        )

    def step_operations(self, context: float) -> tuple[float, float]:
        """Returns the operations for one token of an answer: of matrices, and of attention.

        A multiplication and its addition are two (Kaplan et al. 2020,
        https://arxiv.org/abs/2001.08361, section 2.1).
        """
        return 2.0 * self.active, 2 * self.pair_products(context)

    def prompt_operations(self, tokens: int) -> tuple[float, float]:
        """Returns the same for a prompt, whose tokens attend to half of it on average.

        Engines compute the output for its last token alone.
        """
        products = tokens * (self.active - self.output) + self.output
        return 2.0 * products, 2 * tokens * self.pair_products(tokens / 2)

    def _bytes(self, bytes_each: float, experts: dict[Block, float]) -> float:
        dense = self.element_bytes if self.experts_only else bytes_each
        total: float = (self.embeddings + self.other) * self.element_bytes
        for block in self.blocks:
            total += block.linear * dense + block.other * self.element_bytes
            each = block.expert * bytes_each + block.expert_other * self.element_bytes
            total += experts[block] * each
        return total
