"""The floor's operations, counted independently by PyTorch's own counter."""

from __future__ import annotations

import random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.floor import matrix_rate, step_operations
from derta.packing import shared_length
from derta.rows import TargetKind, plain_row
from tests.tiny import PEFT_WARNING, random_ids, tiny_model

TOKENS = 40


@pytest.mark.filterwarnings(PEFT_WARNING)
@pytest.mark.parametrize("adapted", [True, False])
def test_the_floor_of_one_plain_row_is_what_pytorch_counts(adapted: bool) -> None:
    model = tiny_model("llama", attention="eager")
    if adapted:
        model = get_peft_model(
            model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    ids = random_ids(random.Random(0), TOKENS)
    row = plain_row(ids, [(i, ids[i], TargetKind.HELPFUL) for i in range(TOKENS)])
    with FlopCounterMode(display=False) as counter:
        logits = model(torch.tensor([ids])).logits
        torch.nn.functional.cross_entropy(logits[0], torch.tensor(ids)).backward()
    # PyTorch's count has the whole square of the attention, the floor only what causality leaves.
    config = model.config.get_text_config()
    square = TOKENS**2 - TOKENS * (TOKENS + 1) // 2
    unseen = 12 * config.hidden_size * square * config.num_hidden_layers
    assert step_operations(model, [row]) == pytest.approx(counter.get_total_flops() - unseen)


def test_common_beginnings_count_once() -> None:
    model = tiny_model("llama")
    ids = random_ids(random.Random(0), TOKENS)
    rows = [plain_row((*ids, last), [(TOKENS, 5, TargetKind.HELPFUL)]) for last in (20, 21)]
    both, one = step_operations(model, rows), step_operations(model, rows[:1])
    assert shared_length(rows) == TOKENS + 2
    assert one < both < 1.2 * one


def test_the_matrix_rate_is_a_rate() -> None:
    assert 1e6 < matrix_rate(tiny_model("llama"), 64, 8, repeats=1) < 1e15
