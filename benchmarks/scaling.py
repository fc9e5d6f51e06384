"""`python -m benchmarks.scaling`: how the cost of a step grows.

Measured, derta alone, LoRA r 16, float32, two timed steps after a warm-up each:

- with the tokens of a packed row under a dense mask, and in blocks, on the sample set's safety
  rows;
- with the length of the examples;
- with the size of the model: Llama-shaped models with random weights, which cost what trained ones
  cost.

The runs are ordered so that the ones to be compared follow each other.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import contestants, floor
from benchmarks.child import adapted
from benchmarks.workloads import WORKLOADS, Example, examples_of, rows_of
from derta.data.encode import ChatEncoder, find_refusal_id
from derta.data.models import DEFAULT_MODEL, load_model, load_tokenizer
from derta.files import write_atomically
from derta.matmul import onednn_matmul
from derta.rows import EncodedTriple

__all__ = ["SIZES", "Size", "main", "random_model", "triples_of"]

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "results" / "scaling.json"
PACK_TOKENS = (256, 512, 1024, 2048, None)
LENGTHS = (64, 128, 256, 512, 1024)
STEP_TOKENS = 2048
"""Tokens of a step, about, where the length of its examples varies."""
BATCH = 8


@dataclass(frozen=True, slots=True)
class Size:
    """The shape of a Llama."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int


SIZES = {
    "30M": Size(288, 768, 16, 6, 3),
    "135M (SmolLM2's shape)": Size(576, 1536, 30, 9, 3),
    "360M (SmolLM2's shape)": Size(960, 2560, 32, 15, 5),
}


def random_model(size: Size, vocabulary: int, *, tied: bool = True) -> Any:
    """Make a Llama of this shape with random weights; `tied`: one input and output matrix."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=size.hidden,
            intermediate_size=size.intermediate,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.key_value_heads,
            max_position_embeddings=8192,
            tie_word_embeddings=tied,
        )
    )


def triples_of(length: int, vocabulary: int, count: int) -> list[Example]:
    """Make triples whose longest row, q + h + r, has `length` tokens: a fifth q, a fifth r."""
    generator = random.Random(length)
    part = length // 5

    def ids(number: int) -> tuple[int, ...]:
        return tuple(generator.randrange(100, vocabulary) for _ in range(number))

    return [EncodedTriple(ids(part), ids(part), ids(length - 2 * part)) for _ in range(count)]


class _Bench:
    def __init__(self, model: str, console: Console) -> None:
        self.model = model
        self.console = console
        self.tokenizer = load_tokenizer(model)
        self.encoder = ChatEncoder(self.tokenizer)
        self.found: list[dict[str, Any]] = []

    def run(
        self,
        group: str,
        name: str,
        examples: list[Example],
        batch: int,
        base: Any,
        pack: int | None = None,
    ) -> None:
        """Train three steps, of which the first warms up.

        Args:
            group: of runs to be compared.
            name: of the run.
            examples: of all steps.
            batch: examples of a step.
            base: the model.
            pack: tokens of a packed row with a dense mask; None computes attention in blocks.
        """
        model = adapted(base)
        data = rows_of(examples, find_refusal_id(self.encoder))
        setting = contestants.Setting(model, self.tokenizer, data, batch)
        options: dict[str, Any] = {"onednn": True, "memory": True}
        if pack is not None:
            options |= {"blocks": False, "pack_tokens": pack, "chosen": False}
        measured = contestants.train("derta", setting, options)
        operations = [floor.step_operations(model, rows) for rows in setting.steps()[1:]]
        targets = sum(len(row.target_ids) for row in setting.steps()[1])
        with onednn_matmul():
            rate = floor.matrix_rate(model, measured.tokens[0], targets)
        seconds = statistics.mean(measured.seconds)
        entry = {
            "group": group,
            "name": name,
            "seconds_a_step": seconds,
            "tokens_a_step": statistics.mean(measured.tokens),
            "tokens_per_second": sum(measured.tokens) / sum(measured.seconds),
            "share_of_floor": statistics.mean(operations) / rate / seconds,
            "rate": rate,
            "parameters": sum(each.numel() for each in base.parameters()),
        }
        self.found.append(entry)
        self.console.print(
            f"{group:<12} {name:<24} {seconds:6.2f} s, "
            f"{entry['tokens_per_second']:5.0f} tokens/s, {entry['share_of_floor']:.0%} of floor",
            highlight=False,
        )


def main() -> int:
    """Measure, print and write `benchmarks/results/scaling.json`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.scaling")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--output", type=Path, default=LATEST)
    arguments = parser.parse_args()
    bench = _Bench(arguments.model, Console(stderr=True))
    vocabulary = len(bench.tokenizer)
    started = time.perf_counter()
    safety = next(each for each in WORKLOADS if each.name == "safety, short")
    short = examples_of(safety, bench.encoder)[: 3 * BATCH]
    for pack in PACK_TOKENS:
        name = "in blocks" if pack is None else str(pack)
        bench.run("packed row", name, short, BATCH, load_model(arguments.model), pack)
    for length in LENGTHS:
        batch = max(1, STEP_TOKENS // length)
        examples = triples_of(length, vocabulary, 3 * batch)
        bench.run("example", str(length), examples, batch, load_model(arguments.model))
    for name, size in SIZES.items():
        bench.run("model", name, short, BATCH, random_model(size, vocabulary))
    report = {
        "runs": bench.found,
        "sizes": {name: asdict(size) for name, size in SIZES.items()},
        "seconds": time.perf_counter() - started,
    }
    write_atomically(arguments.output, json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
