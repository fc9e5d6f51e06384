"""`python -m benchmarks.paper`: what a run of the paper's size would take. Computed, not measured.

The paper trains on 60,000 helpful examples and 3,000 triples, two epochs, on 8 GPUs. Nobody has run
that here. Counted are the operations, with gradient checkpointing, of derta's trees (packed with
flex_attention, padded to its blocks), of plain rows packed without any padding, and of plain rows
padded to the longest of 16 examples; the hours follow from a GPU's published rate and a share of it
that is assumed. The lengths are those of the long workloads of `make bench`; all positions of a
harmful response are targets.

Not counted: norms, the optimizer, communication, loading.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.gpu import SHAPES
from benchmarks.scaling import Size
from benchmarks.workloads import Workload, examples_of, rows_of
from derta.files import write_atomically
from derta.packing import pack, share_prefixes

__all__ = ["MODELS", "Layout", "Model", "computed", "main", "operations"]

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "paper.json"
HELPFUL, TRIPLES, EPOCHS, GPUS = 60_000, 3_000, 2, 8
SAMPLE = Workload("20:1", "long", triples=1, helpful=20, steps=40)
AT_ONCE = 16
"""Examples of a micro-batch."""
PACK_TOKENS, FLEX_BLOCK = 16_384, 128
GPU_RATE = 989e12
"""Operations a second in bfloat16 without sparsity: NVIDIA's data sheet of the H100 SXM."""
SHARES = (0.3, 0.4, 0.5)
REFUSAL_ID = 1
LLAMA3_8B, VOCABULARY = SHAPES["8B"]


@dataclass(frozen=True, slots=True)
class Model:
    """A shape with an output matrix of its own, and how it is trained."""

    size: Size
    vocabulary: int
    rank: int | None
    """Of LoRA on all linear layers; None trains all parameters."""

    @property
    def linear_layers(self) -> list[tuple[int, int]]:
        """List (inputs, outputs) of a layer's matrices: q, k, v, o, gate, up, down."""
        hidden, intermediate = self.size.hidden, self.size.intermediate
        narrow = hidden // self.size.heads * self.size.key_value_heads
        attention = [(hidden, hidden)] * 2 + [(hidden, narrow)] * 2
        return [*attention, *[(hidden, intermediate)] * 2, (intermediate, hidden)]

    @property
    def parameters(self) -> int:
        """Count the weights, embedding and output matrix included."""
        weights = sum(a * b for a, b in self.linear_layers)
        return self.size.layers * weights + 2 * self.vocabulary * self.size.hidden

    @property
    def adapter_parameters(self) -> int:
        """Count LoRA's weights."""
        return self.size.layers * (self.rank or 0) * sum(a + b for a, b in self.linear_layers)

    @property
    def bytes(self) -> int:
        """Count what is held all through training: 2 a frozen weight, 16 a trained one.

        Trained: weight and gradient in 16 bits, weight and the optimizer's two means in 32.
        """
        if self.rank is None:
            return 16 * self.parameters
        return 2 * self.parameters + 16 * self.adapter_parameters


MODELS = {
    "8B, all parameters": Model(LLAMA3_8B, VOCABULARY, None),
    "70B, LoRA r 96": Model(Size(8192, 28672, 80, 64, 8), VOCABULARY, 96),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What goes through the model in an epoch."""

    tokens: float
    contexts: float
    """Pairs of a token and one that it attends to."""
    targets: float


def epoch_layouts(examples: Sequence[Any]) -> dict[str, Layout]:
    """Scale a sample's rows to an epoch of the paper's size, laid out in three ways."""
    data = rows_of(examples, REFUSAL_ID)
    scale = (HELPFUL + TRIPLES) / len(data)
    groups = [data.rows(0, index) for index in range(len(data))]
    packed = padded = 0
    lower_padded = 0.0
    for start in range(0, len(groups), AT_ONCE):
        part = groups[start : start + AT_ONCE]
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
    weights = sum(a * b for a, b in model.linear_layers)
    ends = sum(a + b for a, b in model.linear_layers)
    # Forwards, again for the backward pass, gradient of the inputs, and of the weights.
    each = 2 * weights * (4 if model.rank is None else 3)
    if model.rank is not None:
        each += 8 * model.rank * ends
    hidden = model.size.hidden
    per_layer = each * layout.tokens + 16 * hidden * layout.contexts
    head = 2 * (3 if model.rank is None else 2) * model.vocabulary * hidden
    return model.size.layers * per_layer + head * layout.targets


def computed() -> dict[str, Any]:
    """Compute all that the page shows."""
    layouts = epoch_layouts(examples_of(SAMPLE, None, vocabulary=VOCABULARY))
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
    return report


def main() -> int:
    """Compute, print and write `benchmarks/results/paper.json`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.paper")
    parser.add_argument("--output", type=Path, default=LATEST)
    arguments = parser.parse_args()
    report = computed()
    write_atomically(arguments.output, json.dumps(report, indent=1) + "\n")
    Console().print(report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
