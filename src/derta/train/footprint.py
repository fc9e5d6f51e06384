"""What a model consists of, and what autograd keeps of it: the numbers behind the memory estimate.

Weights are counted on a model without memory (PyTorch's meta device). Activations and logits are
computed from the configuration's shape, tensor by tensor, as PyTorch's autograd keeps them. Every
micro-batch is taken to be as long as the longest example allows.

Covered: dense models and mixtures of experts, LoRA (also on 4-bit weights and on stacked experts),
mixed precision, checkpointing, each of the attentions. Not covered: what doesn't depend on the
tokens (`derta.train.estimate`), and Liger's kernels, which keep less.
"""

from __future__ import annotations

import copy
import functools
import math
import re
from dataclasses import dataclass, field
from typing import Any

from derta.attention import FLEX, SLIDING
from derta.errors import ModelError
from derta.loss import DEFAULT_CHUNK
from derta.train.adapt import add_adapter
from derta.train.recipe_fields import DPO, LoraRecipe, Recipe
from derta.train.settings import weights_dtype

__all__ = [
    "Layout",
    "ModelShape",
    "NumberSizes",
    "Plan",
    "Weight",
    "activation_bytes",
    "logit_bytes",
    "model_layout",
]

_KEPT_KEYS = 512
"""Keys of a query up to which `derta.train.blocks` keeps its probabilities."""


@dataclass(frozen=True)
class Plan:
    """How a run is laid out."""

    processes: int
    on_gpu: bool
    divided: bool
    """Weights, gradients and the optimizer's state are divided among the processes; with FSDP2
    and LoRA the base model's weights only."""
    micro_batch: int
    """Examples that a process computes at once."""
    checkpointing: bool
    mixed_precision: bool
    """16 bit products on float32 weights (trainer.bf16)."""
    optimizer: str
    """transformers' name of it (trainer.optim)."""
    longest_tokens: int
    """Tokens of the longest example's rows together, laid out as in training."""


# --- what a model consists of ------------------------------------------------------------------


@dataclass(frozen=True)
class Weight:
    """A parameter, without its numbers."""

    shape: tuple[int, ...]
    item_bytes: int
    bytes: float
    trained: bool
    is_embedding: bool
    layer: int | None

    @property
    def count(self) -> int:
        """Its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """What is counted on the meta device."""

    weights: tuple[Weight, ...]
    norm_width: int
    """Elements of a token that the norms of a layer take in."""
    adapter_inputs: int
    """The same of the linear layers with an adapter."""
    adapter_ranks: int
    merged: int
    """Weights of a layer to which PEFT adds its adapter before each use (target_parameters)."""

    @property
    def parameters(self) -> int:
        """Elements of all weights; one that is tied counts once."""
        return sum(each.count for each in self.weights)

    @property
    def trained(self) -> int:
        """Elements of the weights that are trained."""
        return sum(each.count for each in self.weights if each.trained)

    def largest_layer(self, *, trained_only: bool = False) -> int:
        """Count the elements of the decoder layer that has most."""
        counts: dict[int, int] = {}
        for each in self.weights:
            if each.layer is not None and (each.trained or not trained_only):
                counts[each.layer] = counts.get(each.layer, 0) + each.count
        return max(counts.values(), default=0)

    def outside_layers(self, *, trained_only: bool = False) -> int:
        """Count the elements of embedding, output matrix and last norm."""
        chosen = (each for each in self.weights if each.trained or not trained_only)
        return sum(each.count for each in chosen if each.layer is None)


@dataclass(frozen=True)
class _Source:
    """A layout's key: configurations can't be hashed."""

    text: str
    lora: str | None
    dtype: str
    quantized: bool
    config: Any = field(compare=False)


def model_layout(recipe: Recipe, config: Any, plan: Plan) -> Layout:
    """Count the model that a recipe trains.

    Raises:
        ModelError: transformers has no causal language model for the configuration.
        RecipeError: the model can't be given the recipe's adapter.
    """
    lora = None if recipe.lora is None else recipe.lora.model_dump_json()
    quantized = recipe.quantization is not None
    dtype = "bfloat16" if quantized else weights_dtype(recipe, plan.on_gpu)
    return _counted(_Source(config.to_json_string(use_diff=False), lora, dtype, quantized, config))


@functools.lru_cache(maxsize=16)
def _counted(source: _Source) -> Layout:
    """Lay the model out without memory; half a second for 70 billion weights, two with LoRA."""
    import torch
    from transformers import AutoModelForCausalLM

    lora = None if source.lora is None else LoraRecipe.model_validate_json(source.lora)
    with torch.device("meta"):
        try:
            model = AutoModelForCausalLM.from_config(
                copy.deepcopy(source.config),
                dtype=getattr(torch, source.dtype),
                attn_implementation="eager",  # the one that needs nothing installed
            )
        except ValueError as error:
            first_line = str(error).strip().splitlines()[0]
            raise ModelError(
                f"the memory can't be estimated: {first_line} Set check_memory=false to go on "
                "without"
            ) from error
        embeddings = {id(model.get_input_embeddings().weight)}
        # bitsandbytes takes linear layers only: a MoE's experts, stacked in one tensor, stay.
        output = model.get_output_embeddings()
        in_4_bits = {
            id(module.weight)
            for module in model.modules()
            if source.quantized and type(module) is torch.nn.Linear and module is not output
        }
        if lora is not None:
            model = add_adapter(model, lora)
    wrappers = [each for each in model.modules() if type(each).__name__ == "ParamWrapper"]
    merged = sum(each.get_param().numel() for each in wrappers)
    wrapped = {id(each) for wrapper in wrappers for each in wrapper.lora_A.parameters()}
    weights = []
    norms, inputs, ranks = 0, 0, 0
    text = source.config.get_text_config()
    shape = ModelShape.of(text)
    for name, parameter in model.named_parameters():
        place = re.search(r"\.layers\.(\d+)\.", name)
        # Half a byte, a scale of one byte for 64 weights, and one of 4 bytes for 256 of those.
        size = 0.5 + 1 / 64 + 4 / (64 * 256) if id(parameter) in in_4_bits else 0.0
        weights.append(
            Weight(
                shape=tuple(parameter.shape),
                item_bytes=parameter.element_size(),
                bytes=parameter.numel() * (size or parameter.element_size()),
                trained=parameter.requires_grad,
                is_embedding=id(parameter) in embeddings,
                layer=int(place[1]) if place else None,
            )
        )
        if place and int(place[1]) == shape.layers - 1:
            if "norm" in name and parameter.dim() == 1:
                heads = "q_norm" in name, "k_norm" in name
                norms += shape.queries if heads[0] else shape.keys if heads[1] else shape.hidden
            if ".lora_A." in name and id(parameter) not in wrapped:
                ranks += parameter.shape[0]
                inputs += parameter.shape[1]
    adapted_layers = math.ceil((lora.upper_layers if lora else 1) * shape.layers)
    return Layout(tuple(weights), norms, inputs, ranks, merged // adapted_layers)


@dataclass(frozen=True)
class ModelShape:
    """What activations are made of."""

    hidden: int
    queries: int
    keys: int
    heads: int
    layers: int
    vocabulary: int
    mlp: int
    """Elements of a token between the MLP's matrices, over all experts that it visits."""
    experts: int
    """Experts that a token visits; 0 in a dense model."""
    windows: bool

    @classmethod
    def of(cls, config: Any) -> ModelShape:
        """Read it from a text configuration."""
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        experts = getattr(config, "num_experts_per_tok", None) or 0
        wide = getattr(config, "moe_intermediate_size", None) or config.intermediate_size
        window = getattr(config, "sliding_window", None) is not None
        return cls(
            hidden=config.hidden_size,
            queries=heads * size,
            keys=(getattr(config, "num_key_value_heads", None) or heads) * size,
            heads=heads,
            layers=config.num_hidden_layers,
            vocabulary=config.vocab_size,
            # Some layers of a mixture may be dense, and wider.
            mlp=max(experts * wide, config.intermediate_size),
            experts=experts,
            windows=window or SLIDING in (getattr(config, "layer_types", None) or ()),
        )


# --- what depends on the tokens ----------------------------------------------------------------


@dataclass(frozen=True)
class NumberSizes:
    """Bytes of a number where it is computed with."""

    compute: int
    """In matrix products."""
    stream: int
    """Between the layers: what the embedding gives."""
    adapter: int
    autocast: bool
    """Products are computed in another data type than their operands have."""

    @classmethod
    def of(cls, recipe: Recipe, plan: Plan, layout: Layout) -> NumberSizes:
        """Derive it from the recipe and the weights' data types."""
        held = next(each.item_bytes for each in layout.weights if each.is_embedding)
        compute = 2 if plan.mixed_precision else held
        # FSDP2 and ZeRO-3 gather the weights in 16 bits already.
        stream = compute if plan.divided else held
        # PEFT keeps adapters of 16 bit weights in float32.
        adapter = 0 if recipe.lora is None else max(4, held)
        return cls(compute, stream, adapter, plan.mixed_precision)


def _tokens(recipe: Recipe, plan: Plan) -> tuple[int, int]:
    """Return tokens of a micro-batch, and the width of its rows as a dense mask sees them."""
    tokens = plan.micro_batch * plan.longest_tokens
    if not recipe.rows.pack:
        return tokens, plan.longest_tokens
    return tokens, max(plan.longest_tokens, min(recipe.rows.pack_tokens, tokens))


def activation_bytes(
    recipe: Recipe, config: Any, plan: Plan, layout: Layout, shape: ModelShape, sizes: NumberSizes
) -> float:
    """Count the bytes that live from the forward pass to the backward pass, and within it."""
    tokens, width = _tokens(recipe, plan)
    stream, hidden, full = sizes.stream, shape.hidden, recipe.lora is None
    # Norms compute in float32 and keep their input so; where their weight is trained, it is
    # multiplied with a second copy.
    each: float = layout.norm_width * (4 + (stream if full else 0))
    each += _attention_bytes(recipe, config, plan, shape, sizes, width)
    each += _product_bytes(recipe, plan, layout, shape, sizes)
    # A stacked tensor plus its adapter is a tensor of its own, which the products keep.
    layer = tokens * each + layout.merged * stream
    # Backwards, one layer's gradients stand beside its activations.
    gradients = tokens * (each + 4 * hidden)
    if layout.merged or (shape.experts and full):
        # Each expert's weights are picked from the stacked tensor: the gradient of a pick is as
        # large as the tensor, and is added to the sum of those before.
        gradients += 2 * (layout.merged or layout.largest_layer()) * stream
    if plan.checkpointing:
        # The layers' inputs, and the one layer that is computed again.
        held = shape.layers * tokens * stream * hidden + layer
    else:
        # Below the lowest adapter nothing is computed backwards, so nothing is kept.
        share = 1.0 if recipe.lora is None else recipe.lora.upper_layers
        held = math.ceil(share * shape.layers) * layer
    # Before and behind the layers: the embedded tokens, the last norm's input and output, what is
    # picked from that at the targets, and the gradients of these four.
    ends = tokens * hidden * (4 * stream + 4 * 4)
    return held + gradients + ends


def _product_bytes(
    recipe: Recipe, plan: Plan, layout: Layout, shape: ModelShape, sizes: NumberSizes
) -> float:
    """Bytes of a token in a layer: what matrix products and the MLP between them keep."""
    size, lora, inputs = sizes.compute, recipe.lora, layout.adapter_inputs
    # Gate, up and the activated gate.
    each: float = 3 * size * shape.mlp
    if shape.experts:
        # Each expert is given a copy of its tokens, and its output is kept for the router's weight.
        each += 2 * size * shape.experts * shape.hidden
    if lora is not None:
        each += size * layout.adapter_ranks
        if layout.merged:
            each += size * shape.mlp  # what goes into the experts' last matrix, trained as merged
        if lora.dropout:
            # What was dropped (a GPU keeps a byte, a CPU a number), and what is left.
            dropped = 1 if plan.on_gpu else sizes.adapter
            return each + inputs * (dropped + (size if sizes.autocast else sizes.adapter))
        # A frozen product keeps no input. PEFT casts an adapter's to the adapter's data type;
        # autocast casts it back, so that each adapter has a copy of its own.
        if sizes.autocast:
            return each + inputs * size
        if sizes.adapter != sizes.stream:
            return each + inputs * sizes.adapter
    # What goes into q, k, v and into gate, up: one copy, but autocast casts for each of them; and
    # the activated gate times up, which goes into the last matrix.
    copies = 5 if sizes.stream != size else 2
    return each + copies * size * shape.hidden + size * shape.mlp


def _attention_bytes(
    recipe: Recipe, config: Any, plan: Plan, shape: ModelShape, sizes: NumberSizes, width: int
) -> float:
    """Bytes of a token in a layer: what attention and the product behind it keep."""
    c = sizes.compute
    softcap = getattr(config, "attn_logit_softcapping", None)
    in_blocks = (
        not (plan.on_gpu or plan.checkpointing or shape.windows)
        and (recipe.attention, c, sizes.stream, recipe.rows.pack) == ("sdpa", 4, 4, True)
        and not sizes.autocast
    )
    if in_blocks:
        # A query sees half of its example in the mean, and of its block; see `_KEPT_KEYS`.
        keys = min(_KEPT_KEYS, plan.longest_tokens / 2 + 64)
        return c * (2 * shape.queries + 2 * shape.keys) + 4 * shape.heads * keys
    if recipe.attention == FLEX:
        return c * (2 * shape.queries + 2 * shape.keys) + 4 * shape.heads
    # Keys and values are repeated for the heads that share them.
    each = c * 4 * shape.queries
    if recipe.attention == "eager" or softcap is not None:
        # Probabilities in float32, and as they are multiplied with the values.
        return each + shape.heads * width * (4 + c + (c if softcap is not None else 0))
    # The kernel keeps the mask as numbers that it adds, a row of them for each query.
    return each + 4 * shape.heads + c * width


def logit_bytes(recipe: Recipe, plan: Plan, shape: ModelShape, sizes: NumberSizes) -> float:
    """Count the bytes of logits, of their gradients and of the output matrix's."""
    tokens, _ = _tokens(recipe, plan)
    c = sizes.compute
    if recipe.method == DPO:
        # TRL projects every position: logits, in float32 too, and two gradients of that size.
        return tokens * shape.vocabulary * (c + 3 * 4.0)
    # `derta.loss`: a chunk's logits as the product gives them, in float32, and their gradient.
    size = min(DEFAULT_CHUNK, tokens) * shape.vocabulary * (c + 4 + 4.0)
    matrix = shape.vocabulary * shape.hidden
    if recipe.lora is None:
        # The matrix's gradient is summed in float32, beside the one that it is added to.
        size += matrix * (4.0 + (0 if sizes.stream == 4 and c == 4 else c))
    if sizes.autocast and sizes.stream != c:
        size += matrix * c  # the matrix itself, cast
    return size
