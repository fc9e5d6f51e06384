"""What a run of the paper's size would take is computed from shapes that are the real ones."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.floor import step_operations
from benchmarks.paper import GPUS, MODELS, Layout, Model, computed, operations
from derta.rows import EncodedHelpful, build_helpful_row
from tests.tiny import PEFT_WARNING


def test_the_shapes_have_the_published_numbers_of_parameters() -> None:
    assert MODELS["8B, all parameters"].parameters == pytest.approx(8.03e9, rel=1e-3)
    assert MODELS["70B, LoRA r 96"].parameters == pytest.approx(70.55e9, rel=1e-3)


def test_the_operations_are_those_of_the_floor_and_one_more_forward_pass() -> None:
    shape = Model(64, 160, 3, 4, 2, 97, None)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=97,
            hidden_size=64,
            intermediate_size=160,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=False,
        )
    )
    row = build_helpful_row(EncodedHelpful(tuple(range(10, 30)), tuple(range(30, 60))))
    tokens, targets = len(row), len(row.target_ids)
    layout = Layout(tokens, tokens * (tokens + 1) / 2, targets)
    weights = sum(a * b for a, b in shape.linear_layers)
    again = shape.layers * (2 * weights * layout.tokens + 4 * 64 * layout.contexts)
    with torch.no_grad():
        floor = step_operations(model, [row])
    assert operations(shape, layout) == pytest.approx(floor + again)


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_an_adapters_operations_are_the_floors_and_one_more_forward_pass() -> None:
    rank = 5
    shape = Model(64, 160, 3, 4, 2, 97, rank)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    model = get_peft_model(
        LlamaForCausalLM(config),
        LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    row = build_helpful_row(EncodedHelpful(tuple(range(10, 30)), tuple(range(30, 60))))
    tokens, targets = len(row), len(row.target_ids)
    layout = Layout(tokens, tokens * (tokens + 1) / 2, targets)
    weights = sum(a * b for a, b in shape.linear_layers)
    ends = sum(a + b for a, b in shape.linear_layers)
    again = 3 * (2 * (weights + rank * ends) * tokens + 4 * 64 * layout.contexts)
    # The floor leaves out what nothing needs: gradients by the inputs of the first q, k and v.
    first = 2 * (64 * 64 + 2 * 64 * 32) * tokens + 2 * rank * 3 * 64 * tokens
    expected = step_operations(model, [row]) + again + first
    assert operations(shape, layout) == pytest.approx(expected)


def test_trees_take_fewer_operations_and_half_the_rate_takes_twice_the_hours() -> None:
    report = computed()
    for found in (report["tokens_an_epoch"], *(m["operations"] for m in report["models"].values())):
        assert found["derta"] < found["plain, packed"] < found["plain, padded"]
    hours = report["models"]["8B, all parameters"]["hours"]
    assert hours["0.3"]["derta"] / hours["0.5"]["derta"] == pytest.approx(5 / 3)
    assert report["models"]["8B, all parameters"]["gigabytes_a_gpu"] == pytest.approx(
        8.03e9 * 16 / GPUS / 1e9, rel=1e-3
    )
