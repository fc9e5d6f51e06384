"""What every contestant trains on: the same examples in the same optimizer steps.

Covered: mixes (safety rows only, 1:1 and 20:1 helpful to safety), short examples (the sample set)
and long ones (made up, 512 to 1024 tokens). Each step holds the same mix, so that any two steps of
a workload cost about the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from derta.data.encode import ChatEncoder
from derta.data.epoch import RowSettings, TrainingExamples
from derta.data.examples import Example
from derta.data.sample import sample_helpful, sample_triples
from derta.rows import EncodedHelpful, EncodedTriple, Method, TrainingRow

__all__ = ["WORKLOADS", "Example", "Workload", "examples_of", "labelled", "rows_of"]

SEED = 1
SHORTEST, LONGEST = 512, 1024
"""Tokens of the longest row of a long example."""
PROMPT_MEDIAN, PROMPT_SPREAD = 90, 0.9
RESPONSE_MEDIAN, RESPONSE_SPREAD = 330, 0.6
"""Median tokens and log-normal spread of a long example's prompt and of each of its responses:
preference data are skewed like that, most prompts short and some very long."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Steps of an equal number of triples and helpful examples."""

    mix: str
    lengths: str
    triples: int
    """Triples in a step."""
    helpful: int
    """Helpful examples in a step."""
    steps: int

    @property
    def name(self) -> str:
        """Return e.g. "safety, short"."""
        return f"{self.mix}, {self.lengths}"

    @property
    def batch(self) -> int:
        """Return the examples in a step."""
        return self.triples + self.helpful


WORKLOADS = (
    Workload("safety", "short", triples=8, helpful=0, steps=2),
    Workload("1:1", "short", triples=4, helpful=4, steps=2),
    Workload("20:1", "short", triples=1, helpful=20, steps=2),
    Workload("safety", "long", triples=4, helpful=0, steps=1),
    Workload("1:1", "long", triples=2, helpful=2, steps=1),
    Workload("20:1", "long", triples=1, helpful=20, steps=1),
)


def examples_of(
    workload: Workload, encoder: ChatEncoder | None, vocabulary: int | None = None
) -> list[Example]:
    """Make the examples in the order of the steps, each step's triples first.

    Args:
        workload: mix, lengths, steps.
        encoder: writes the short examples as token ids.
        vocabulary: of the long examples, which are made up; None takes the encoder's.
    """
    generator = random.Random(f"{SEED}/{workload.name}")
    triples_wanted = workload.triples * workload.steps
    helpful_wanted = workload.helpful * workload.steps
    triples: Sequence[EncodedTriple]
    helpful: Sequence[EncodedHelpful]
    if workload.lengths == "short":
        if encoder is None:
            raise ValueError(f"{workload.name}: the sample set needs an encoder")
        triples = [
            encoder.triple(sample.triple)
            for sample in generator.sample(sample_triples("train"), triples_wanted)
        ]
        helpful = [
            encoder.helpful(sample.example, finished=sample.finished)
            for sample in generator.sample(sample_helpful("train"), helpful_wanted)
        ]
    else:
        if vocabulary is None:
            if encoder is None:
                raise ValueError(f"{workload.name}: an encoder is needed, or a vocabulary")
            vocabulary = len(encoder.tokenizer)
        triples = [_long_triple(generator, vocabulary) for _ in range(triples_wanted)]
        helpful = [_long_helpful(generator, vocabulary) for _ in range(helpful_wanted)]
    ordered: list[Example] = []
    for step in range(workload.steps):
        ordered += triples[step * workload.triples : (step + 1) * workload.triples]
        ordered += helpful[step * workload.helpful : (step + 1) * workload.helpful]
    return ordered


def rows_of(examples: Sequence[Example], refusal_id: int) -> TrainingExamples:
    """Turn examples into derta's data set: one k for a triple, every position of h supervised."""
    return TrainingExamples(examples, RowSettings(Method.DERTA, refusal_id, SEED))


def labelled(row: TrainingRow, filler_id: int) -> dict[str, Any]:
    """Write a row the way that other trainers read it: labels that they shift by one.

    A target at the row's last position has no next token to stand under, so the row gets one more.

    Args:
        row: a plain row.
        filler_id: the token that is added there; no target comes after it.
    """
    ids = list(row.token_ids)
    if row.target_positions and max(row.target_positions) == len(ids) - 1:
        ids.append(filler_id)
    labels = [-100] * len(ids)
    for position, target in zip(row.target_positions, row.target_ids, strict=True):
        labels[position + 1] = target
    return {"input_ids": ids, "labels": labels}


def _length(generator: random.Random, median: int, spread: float) -> int:
    return max(8, round(median * math.exp(generator.gauss(0.0, spread))))


def _ids(generator: random.Random, count: int, vocabulary: int) -> tuple[int, ...]:
    return tuple(generator.randrange(100, vocabulary) for _ in range(count))


def _long_triple(generator: random.Random, vocabulary: int) -> EncodedTriple:
    while True:
        prompt = _length(generator, PROMPT_MEDIAN, PROMPT_SPREAD)
        harmful = _length(generator, RESPONSE_MEDIAN, RESPONSE_SPREAD)
        safe = _length(generator, RESPONSE_MEDIAN // 3, RESPONSE_SPREAD)
        if prompt + harmful >= SHORTEST and prompt + harmful + safe <= LONGEST:
            lengths = prompt, safe, harmful
            return EncodedTriple(*(_ids(generator, each, vocabulary) for each in lengths))


def _long_helpful(generator: random.Random, vocabulary: int) -> EncodedHelpful:
    while True:
        prompt = _length(generator, PROMPT_MEDIAN, PROMPT_SPREAD)
        response = _length(generator, RESPONSE_MEDIAN, RESPONSE_SPREAD)
        if SHORTEST <= prompt + response <= LONGEST:
            lengths = prompt, response
            return EncodedHelpful(*(_ids(generator, each, vocabulary) for each in lengths))
