"""The benchmark is a comparison only if all contestants train the same.

Covered at toy size: same losses step by step, same tokens as computed by hand, equal steps of
every workload. Not covered: any speed.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from benchmarks.contestants import Setting, train
from benchmarks.workloads import LONGEST, SHORTEST, WORKLOADS, Workload, examples_of, labelled
from derta.data.encode import ChatEncoder
from derta.data.epoch import RowSettings, TrainingExamples
from derta.data.models import DEFAULT_MODEL, load_tokenizer
from derta.packing import pack
from derta.rows import EncodedHelpful, EncodedTriple, Method
from tests.tiny import (
    PEFT_WARNING,
    REFUSAL_ID,
    VOCABULARY,
    random_helpful,
    random_triple,
    tiny_model,
    tiny_tokenizer,
)

BATCH = 3
CONTESTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "stock": ("stock", {}),
    "stock, oneDNN, memory": ("stock", {"onednn": True, "memory": True}),
    "trl": ("trl", {}),
    "trl, accumulated": ("trl", {"accumulate": 5}),
    "trl, accumulated, by length": ("trl", {"accumulate": 5, "by_length": True}),
    "plain": ("derta", {"rows": "plain", "adapters": False}),
    "trees": ("derta", {"rows": "trees", "blocks": False}),
    "packed": ("derta", {"rows": "packed", "blocks": False, "pack_tokens": 64, "chosen": False}),
    "everything": ("derta", {"onednn": True, "memory": True}),
}


def _setting() -> Setting:
    generator = random.Random(5)
    system = (11, 12, 13)
    examples: list[EncodedTriple | EncodedHelpful] = []
    for _ in range(3):
        examples += [random_triple(generator, system=system) for _ in range(2)]
        examples.append(random_helpful(generator, system=system))
    data = TrainingExamples(examples, RowSettings(Method.DERTA, REFUSAL_ID, 3))
    model = tiny_model("llama")
    torch.manual_seed(0)
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    return Setting(adapted, tiny_tokenizer(), data, BATCH)


@pytest.mark.filterwarnings(PEFT_WARNING)
@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_contestant_has_the_losses_of_the_authors_loop(name: str) -> None:
    kind, options = CONTESTANTS[name]
    truth = train("authors", _setting(), {})
    found = train(kind, _setting(), options)
    assert len(truth.losses) == len(truth.seconds) == len(truth.tokens) == 2, "all but the warm-up"
    # The Trainers log four digits or so; the second step has the first one's update in it.
    assert found.losses == pytest.approx(truth.losses, rel=2e-4)
    assert len(found.seconds) == len(found.tokens) == 2


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_the_tokens_are_those_that_go_through_the_model() -> None:
    setting = _setting()
    steps = setting.steps()[1:]
    padded = [len(rows) * max(len(labelled(row, 0)["input_ids"]) for row in rows) for rows in steps]
    assert train("authors", _setting(), {}).tokens == padded
    assert train("trl", _setting(), {}).tokens == padded
    groups = [setting.examples.rows(0, index) for index in range(len(setting.examples))][BATCH:]
    packed = []
    for start in (0, BATCH):
        rows = pack(groups[start : start + BATCH], None)
        packed.append(sum(map(len, rows)))
    assert train("derta", _setting(), {}).tokens == packed
    assert sum(packed) < sum(padded)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each.name)
def test_the_steps_of_a_workload_hold_the_same_mix(workload: Workload) -> None:
    encoder = ChatEncoder(load_tokenizer(DEFAULT_MODEL))
    examples = examples_of(workload, encoder)
    assert examples == examples_of(workload, encoder), "the same every time"
    assert len(examples) == workload.steps * workload.batch
    for step in range(workload.steps):
        chosen = examples[step * workload.batch : (step + 1) * workload.batch]
        assert sum(isinstance(each, EncodedTriple) for each in chosen) == workload.triples
    if workload.lengths == "long":
        for each in examples:
            if isinstance(each, EncodedTriple):
                rto = len(each.prompt_ids) + len(each.harmful_ids)
                assert SHORTEST <= rto <= rto + len(each.safe_ids) <= LONGEST
            else:
                assert SHORTEST <= len(each.prompt_ids) + len(each.response_ids) <= LONGEST


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_labels_stand_one_place_after_their_context() -> None:
    data = _setting().examples
    for row in data.rows(0, 0):
        found = labelled(row, 0)
        assert found["input_ids"][: len(row)] == list(row.token_ids)
        pairs = [(i - 1, label) for i, label in enumerate(found["labels"]) if label != -100]
        assert pairs == sorted(zip(row.target_positions, row.target_ids, strict=True))
        assert max(row.target_ids) < VOCABULARY
