"""What a run of the paper's size would take is computed from shapes that are the real ones."""

from __future__ import annotations

import pytest
import torch

from benchmarks.child import adapted
from benchmarks.floor import step_operations
from benchmarks.paper import GPUS, MODELS, Layout, Model, computed, operations
from benchmarks.scaling import Size, random_model
from derta.rows import EncodedHelpful, build_helpful_row
from tests.tiny import PEFT_WARNING

SIZE = Size(hidden=64, intermediate=160, layers=3, heads=4, key_value_heads=2)
VOCABULARY = 97
ROW = build_helpful_row(EncodedHelpful(tuple(range(10, 30)), tuple(range(30, 60))))
LAYOUT = Layout(len(ROW), len(ROW) * (len(ROW) + 1) / 2, len(ROW.target_ids))


def test_the_shapes_have_the_published_numbers_of_parameters() -> None:
    assert MODELS["8B, all parameters"].parameters == pytest.approx(8.03e9, rel=1e-3)
    assert MODELS["70B, LoRA r 96"].parameters == pytest.approx(70.55e9, rel=1e-3)


def test_the_operations_are_those_of_the_floor_and_one_more_forward_pass() -> None:
    shape = Model(SIZE, VOCABULARY, None)
    model = random_model(SIZE, VOCABULARY, tied=False)
    weights = sum(a * b for a, b in shape.linear_layers)
    again = SIZE.layers * (2 * weights * LAYOUT.tokens + 4 * SIZE.hidden * LAYOUT.contexts)
    with torch.no_grad():
        floor = step_operations(model, [ROW])
    assert operations(shape, LAYOUT) == pytest.approx(floor + again)


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_an_adapters_operations_are_the_floors_and_one_more_forward_pass() -> None:
    model = adapted(random_model(SIZE, VOCABULARY, tied=False))
    rank = model.peft_config["default"].r
    shape = Model(SIZE, VOCABULARY, rank)
    weights = sum(a * b for a, b in shape.linear_layers)
    ends = sum(a + b for a, b in shape.linear_layers)
    attention = 4 * SIZE.hidden * LAYOUT.contexts
    again = SIZE.layers * (2 * (weights + rank * ends) * LAYOUT.tokens + attention)
    # The floor leaves out what nothing needs: gradients by the inputs of the first q, k and v.
    first = 2 * (64 * 64 + 2 * 64 * 32) * LAYOUT.tokens + 2 * rank * 3 * 64 * LAYOUT.tokens
    expected = step_operations(model, [ROW]) + again + first
    assert operations(shape, LAYOUT) == pytest.approx(expected)


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_an_adapters_memory_is_that_of_its_frozen_and_its_trained_weights() -> None:
    model = adapted(random_model(SIZE, VOCABULARY, tied=False))
    shape = Model(SIZE, VOCABULARY, model.peft_config["default"].r)
    matrices = [each for each in model.parameters() if each.ndim == 2]  # not the norms
    expected = sum((16 if each.requires_grad else 2) * each.numel() for each in matrices)
    assert shape.bytes == expected


def test_trees_take_fewer_operations_and_half_the_rate_takes_twice_the_hours() -> None:
    report = computed()
    for found in (report["tokens_an_epoch"], *(m["operations"] for m in report["models"].values())):
        assert found["derta"] < found["plain, packed"] < found["plain, padded"]
    hours = report["models"]["8B, all parameters"]["hours"]
    assert hours["0.3"]["derta"] / hours["0.5"]["derta"] == pytest.approx(5 / 3)
    assert report["models"]["8B, all parameters"]["gigabytes_a_gpu"] == pytest.approx(
        8.03e9 * 16 / GPUS / 1e9, rel=1e-3
    )
