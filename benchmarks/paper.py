"""`python -m benchmarks.paper`: what a run of the paper's size would take. Computed, not measured.

The paper trains on 60,000 helpful examples and 3,000 triples, two epochs, on 8 GPUs. Nobody has run
that here. Counted are the operations, with gradient checkpointing, of derta's trees (packed with
flex_attention, padded to its blocks), of plain rows packed without any padding, and of plain rows
padded to the longest of 16 examples; the hours follow from a GPU's published rate and a share of it
that is assumed. The lengths are those of the long workloads of `make bench`; all positions of a
harmful response are targets.

The same is computed for the packaged recipes, with each one's own lengths, kept positions, steps
and GPUs, and written into the comment that it begins with. Rows over a recipe's length are cut.

Not counted: norms, the optimizer, communication, loading, unpacking 4-bit weights, the forming of
the experts' adapters, buffers.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.gpu import SHAPES
from benchmarks.scaling import Size
from benchmarks.workloads import Workload, examples_of, rows_of
from derta.data.epoch import TrainingExamples
from derta.files import write_atomically
from derta.packing import pack, share_prefixes
from derta.rows import EncodedHelpful, EncodedTriple
from derta.train.recipe import Recipe, load_recipe

__all__ = [
    "MACHINES",
    "MODELS",
    "SHAPES_OF_RECIPES",
    "Layout",
    "Machine",
    "Model",
    "computed",
    "cut",
    "fill_heads",
    "main",
    "model_of",
    "operations",
]

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "paper.json"
MEASURED = ROOT / "benchmarks" / "results" / "scaling.json"
RECIPES = ROOT / "src" / "derta" / "recipes"
HELPFUL, TRIPLES, EPOCHS, GPUS = 60_000, 3_000, 2, 8
SAMPLE = Workload("20:1", "long", triples=1, helpful=20, steps=40)
AT_ONCE = 16
"""Examples of a micro-batch."""
PACK_TOKENS, FLEX_BLOCK = 16_384, 128
GPU_RATE = 989e12
"""Operations a second in bfloat16 without sparsity: NVIDIA's data sheet of the H100 SXM."""
SMALL_GPU_RATE = 165.2e12
"""The same of the RTX 4090, summed in 32 bits: NVIDIA's paper on the Ada architecture."""
BYTES_IN_4_BITS = 0.52
"""Of a weight in nf4: half a byte, and its share of the doubly quantized scales."""
SHARES = (0.3, 0.4, 0.5)
REFUSAL_ID = 1
LLAMA3_8B, VOCABULARY = SHAPES["8B"]


@dataclass(frozen=True, slots=True)
class Model:
    """A shape, and how it is trained."""

    size: Size
    vocabulary: int
    rank: int | None
    """Of LoRA on all linear layers and experts; None trains all parameters."""
    head: int | None = None
    """Width of an attention head; None: hidden width over heads."""
    tied: bool = False
    """One matrix for input and output."""
    experts: int = 1
    active_experts: int = 1
    """How many of them a token goes through."""
    frozen_bytes: float = 2.0
    """Of a frozen weight of a layer; those of embedding and output matrix have 2."""

    @property
    def attention_layers(self) -> list[tuple[int, int]]:
        """List (inputs, outputs) of a layer's matrices: q, o, k, v."""
        head = self.head or self.size.hidden // self.size.heads
        wide, narrow = head * self.size.heads, head * self.size.key_value_heads
        hidden = self.size.hidden
        return [(hidden, wide), (wide, hidden), (hidden, narrow), (hidden, narrow)]

    @property
    def expert_layers(self) -> list[tuple[int, int]]:
        """List (inputs, outputs) of gate, up, down; of one expert, if there are several."""
        hidden, intermediate = self.size.hidden, self.size.intermediate
        return [(hidden, intermediate)] * 2 + [(intermediate, hidden)]

    @property
    def linear_layers(self) -> list[tuple[int, int]]:
        """List (inputs, outputs) of the matrices that a token goes through in a layer."""
        return self.attention_layers + self.expert_layers * self.active_experts

    @property
    def outer_parameters(self) -> int:
        """Count the weights of embedding and output matrix."""
        return (1 if self.tied else 2) * self.vocabulary * self.size.hidden

    @property
    def parameters(self) -> int:
        """Count the weights, embedding, output matrix and routers included."""
        weights = sum(a * b for a, b in self.attention_layers + self.expert_layers * self.experts)
        router = self.size.hidden * self.experts if self.experts > 1 else 0
        return self.size.layers * (weights + router) + self.outer_parameters

    @property
    def adapter_parameters(self) -> int:
        """Count LoRA's weights; PEFT gives each expert its own, gate and up one together."""
        ends = sum(a + b for a, b in self.attention_layers)
        hidden, intermediate = self.size.hidden, self.size.intermediate
        if self.experts > 1:
            ends += self.experts * (hidden + 2 * intermediate + intermediate + hidden)
        else:
            ends += sum(a + b for a, b in self.expert_layers)
        return self.size.layers * (self.rank or 0) * ends

    @property
    def bytes(self) -> float:
        """Count what is held all through training: 2 a frozen weight, 16 a trained one.

        Trained: weight, gradient and the optimizer's two means in 32 bits, or weight and gradient
        in 16 and weight and means in 32.
        """
        if self.rank is None:
            return 16 * self.parameters
        inner = self.parameters - self.outer_parameters
        frozen = self.frozen_bytes * inner + 2 * self.outer_parameters
        return frozen + 16 * self.adapter_parameters


@dataclass(frozen=True, slots=True)
class Machine:
    """What the hours of a recipe are for."""

    gpus: int
    name: str
    rate: float
    """Operations a second of one GPU."""


LLAMA3_70B = Size(8192, 28672, 80, 64, 8)
MODELS = {
    "8B, all parameters": Model(LLAMA3_8B, VOCABULARY, None),
    "70B, LoRA r 96": Model(LLAMA3_70B, VOCABULARY, 96),
}
SHAPES_OF_RECIPES = {
    "llama3-8b": Model(LLAMA3_8B, VOCABULARY, None),
    "mistral-7b": Model(Size(4096, 14336, 32, 32, 8), 32_000, None),
    "llama3-70b": Model(LLAMA3_70B, VOCABULARY, None),
    "llama3-70b-instruct": Model(LLAMA3_70B, VOCABULARY, None),
    "mixtral-8x7b": Model(Size(4096, 14336, 32, 32, 8), 32_000, None, experts=8, active_experts=2),
    "llama3-70b-qlora": Model(LLAMA3_70B, VOCABULARY, None),
    "qwen3-4b": Model(Size(2560, 9728, 36, 32, 8), 151_936, None, head=128, tied=True),
}
"""The models as published; `model_of` says how the recipe trains them."""
MACHINES = {
    **dict.fromkeys(SHAPES_OF_RECIPES, Machine(8, "H100", GPU_RATE)),
    "llama3-70b-qlora": Machine(1, "H100", GPU_RATE),
    "qwen3-4b": Machine(1, "RTX 4090", SMALL_GPU_RATE),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What goes through the model in an epoch."""

    tokens: float
    contexts: float
    """Pairs of a token and one that it attends to."""
    targets: float


def epoch_layouts(
    examples: Sequence[Any], kept_share: float = 1.0, at_once: int = AT_ONCE
) -> dict[str, Layout]:
    """Scale a sample's rows to an epoch of the paper's size, laid out in three ways.

    Args:
        examples: of the paper's mix.
        kept_share: of the positions of a harmful response.
        at_once: examples of a micro-batch.
    """
    settings = replace(rows_of(examples, REFUSAL_ID).settings, kept_share=kept_share)
    data = TrainingExamples(examples, settings)
    scale = (HELPFUL + TRIPLES) / len(data)
    groups = [data.rows(0, index) for index in range(len(data))]
    packed = padded = 0
    lower_padded = 0.0
    for start in range(0, len(groups), at_once):
        part = groups[start : start + at_once]
        trees = pack(part, PACK_TOKENS, lambda rows, width: rows * width)
        packed += len(trees) * -(-max(map(len, trees)) // FLEX_BLOCK) * FLEX_BLOCK
        rows = [row for group in part for row in group]
        longest = max(map(len, rows))
        padded += len(rows) * longest
        lower_padded += len(rows) * longest * (longest + 1) / 2
    trees = [share_prefixes(group) for group in groups]
    lengths = [len(row) for group in groups for row in group]
    # A causal kernel computes the lower half; all positions are projected.
    lower = sum(length * (length + 1) / 2 for length in lengths)
    return {
        "derta": Layout(
            packed * scale,
            sum(depth + 1 for tree in trees for depth in tree.position_ids) * scale,
            sum(len(tree.target_ids) for tree in trees) * scale,
        ),
        "plain, packed": Layout(sum(lengths) * scale, lower * scale, sum(lengths) * scale),
        "plain, padded": Layout(
            padded * scale, lower * padded / sum(lengths) * scale, padded * scale
        ),
    }


def operations(model: Model, layout: Layout) -> float:
    """Count the floating-point operations of an epoch, activations computed twice."""
    attention = sum(a * b for a, b in model.attention_layers)
    experts = model.active_experts * sum(a * b for a, b in model.expert_layers)
    # Forwards, again for the backward pass, gradient of the inputs, and of the weights. LoRA needs
    # no gradient of the weights, but PEFT adds an expert's adapter to its weight: there it does.
    each = 2 * (attention + experts) * (4 if model.rank is None else 3)
    if model.rank is not None:
        adapted = model.attention_layers + (model.expert_layers if model.experts == 1 else [])
        each += 8 * model.rank * sum(a + b for a, b in adapted)
        each += 2 * experts if model.experts > 1 else 0
    head = model.head or model.size.hidden // model.size.heads
    per_layer = each * layout.tokens + 16 * head * model.size.heads * layout.contexts
    outer = 2 * (3 if model.rank is None else 2) * model.vocabulary * model.size.hidden
    return model.size.layers * per_layer + outer * layout.targets


def cut(example: Any, max_length: int) -> Any:
    """Cut an example to a recipe's length: the harmful response first, long prompts to a half."""
    prompt = example.prompt_ids[: max_length // 2]
    left = max_length - len(prompt)
    if isinstance(example, EncodedTriple):
        safe = example.safe_ids[: left // 2]
        return EncodedTriple(prompt, safe, example.harmful_ids[: left - len(safe)])
    return EncodedHelpful(prompt, example.response_ids[:left])


def model_of(name: str, recipe: Recipe) -> Model:
    """Return a recipe's model as the recipe trains it."""
    return replace(
        SHAPES_OF_RECIPES[name],
        rank=None if recipe.lora is None else recipe.lora.r,
        frozen_bytes=BYTES_IN_4_BITS if recipe.quantization else 2.0,
    )


def epochs_of(recipe: Recipe) -> float:
    """Return how many epochs of the paper's data a recipe trains."""
    steps = recipe.trainer.get("max_steps")
    if steps is None:
        return float(recipe.trainer["num_train_epochs"])
    return float(steps * (recipe.examples_per_step or 0) / (HELPFUL + TRIPLES))


def recipe_report(name: str, examples: Sequence[Any]) -> dict[str, Any]:
    """Compute memory and hours of a recipe."""
    recipe, machine = load_recipe(name), MACHINES[name]
    model, length = model_of(name, recipe), recipe.rows.max_length
    at_once = recipe.trainer["per_device_train_batch_size"]
    rows = [cut(example, length) for example in examples]
    layout = epoch_layouts(rows, recipe.rows.kept_share, at_once)["derta"]
    seconds = epochs_of(recipe) * operations(model, layout) / (machine.gpus * machine.rate)
    # Checkpointing keeps the input of every layer, in 16 bits.
    inputs = 2 * at_once * length * model.size.layers * model.size.hidden
    return {
        "model": recipe.model,
        "trained": trained(recipe),
        "gpus": machine.gpus,
        "gpu": machine.name,
        "gigabytes_a_gpu": bytes_a_gpu(model, machine.gpus if recipe.sharding else 1) / 1e9,
        "gigabytes_of_inputs": inputs / 1e9,
        "hours": {str(share): seconds / 3600 / share for share in SHARES},
    }


def bytes_a_gpu(model: Model, divided_among: int) -> float:
    """Count the bytes of a process under FSDP2: an adapter is whole in each of them."""
    whole = 16 * model.adapter_parameters
    return (model.bytes - whole) / divided_among + whole


def trained(recipe: Recipe) -> str:
    """Say what of a model a recipe trains."""
    if recipe.lora is None:
        return "all parameters"
    return f"{'QLoRA' if recipe.quantization else 'LoRA'} r {recipe.lora.r}"


def measured_report(name: str) -> dict[str, Any]:
    """Read how fast the default model trains on a CPU."""
    recipe = load_recipe(name)
    runs = json.loads(MEASURED.read_text("utf-8"))["runs"]
    (found,) = (run for run in runs if run["name"].startswith("135M"))
    return {
        "model": recipe.model,
        "trained": trained(recipe),
        "gpus": 0,
        "tokens_per_second": found["tokens_per_second"],
    }


def head_of(found: dict[str, Any]) -> str:
    """Write the figures for the comment that a recipe begins with."""
    if not found["gpus"]:
        return (
            f"Measured: {found['tokens_per_second']:.0f} tokens a second in training, on the "
            "sample set's safety rows and the machine of docs/benchmarks.md."
        )
    slow, fast = (found["hours"][str(share)] for share in (SHARES[0], SHARES[-1]))
    return (
        f"Computed, not run: {found['gigabytes_a_gpu']:.0f} GB a GPU for weights, gradients and "
        f"optimizer, and up to {found['gigabytes_of_inputs']:.1f} GB for the layers' inputs that "
        f"checkpointing keeps. {fast:.1f} to {slow:.1f} hours on {found['gpus']} x {found['gpu']} "
        f"at {SHARES[-1]:.0%} to {SHARES[0]:.0%} of the published rate, for {HELPFUL:,} helpful "
        f"examples and {TRIPLES:,} triples."
    )


def fill_heads(report: dict[str, Any]) -> dict[str, str]:
    """Return the recipes' texts with the figures of a report: name -> text.

    Raises:
        SystemExit: a recipe has no place for them.
    """
    texts = {}
    for name, found in report["recipes"].items():
        lines = textwrap.wrap(head_of(found), 100, initial_indent="# ", subsequent_indent="# ")
        text, count = re.subn(
            r"(# -- .* writes the figures below --\n).*?(# -- end of the figures --\n)",
            lambda match, lines=lines: match[1] + "".join(f"{line}\n" for line in lines) + match[2],
            (RECIPES / f"{name}.yaml").read_text("utf-8"),
            flags=re.DOTALL,
        )
        if count != 1:
            raise SystemExit(f"{name}.yaml: {count} places for figures")
        texts[name] = text
    return texts


def computed() -> dict[str, Any]:
    """Compute all that the page shows."""
    examples = examples_of(SAMPLE, None, vocabulary=VOCABULARY)
    layouts = epoch_layouts(examples)
    report: dict[str, Any] = {
        "tokens_an_epoch": {name: layout.tokens for name, layout in layouts.items()},
        "models": {},
    }
    for name, model in MODELS.items():
        found = {layout: EPOCHS * operations(model, each) for layout, each in layouts.items()}
        hours = {layout: each / (GPUS * GPU_RATE) / 3600 for layout, each in found.items()}
        report["models"][name] = {
            "operations": found,
            "hours": {
                str(share): {layout: each / share for layout, each in hours.items()}
                for share in SHARES
            },
            "gigabytes_a_gpu": model.bytes / GPUS / 1e9,
        }
    report["recipes"] = {
        **{name: recipe_report(name, examples) for name in MACHINES},
        "smollm2-135m": measured_report("smollm2-135m"),
    }
    return report


def main() -> int:
    """Compute, print and write `benchmarks/results/paper.json` and the recipes' first lines."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.paper")
    parser.add_argument("--output", type=Path, default=LATEST)
    arguments = parser.parse_args()
    report = computed()
    write_atomically(arguments.output, json.dumps(report, indent=1) + "\n")
    for name, text in fill_heads(report).items():
        write_atomically(RECIPES / f"{name}.yaml", text)
    Console().print(report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
