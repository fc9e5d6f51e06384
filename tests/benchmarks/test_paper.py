"""What a run of the paper's size would take is computed from shapes that are the real ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from benchmarks.child import adapted
from benchmarks.floor import step_operations
from benchmarks.paper import (
    GPUS,
    LATEST,
    MACHINES,
    MODELS,
    RECIPES,
    SHAPES_OF_RECIPES,
    Layout,
    Model,
    bytes_a_gpu,
    computed,
    cut,
    fill_heads,
    head_of,
    model_of,
    operations,
)
from benchmarks.scaling import Size, random_model
from derta.rows import EncodedHelpful, EncodedTriple, build_helpful_row
from derta.train.recipe import load_recipe, packaged_recipes
from tests.tiny import PEFT_WARNING, tiny_model

SIZE = Size(hidden=64, intermediate=160, layers=3, heads=4, key_value_heads=2)
VOCABULARY = 97
ROW = build_helpful_row(EncodedHelpful(tuple(range(10, 30)), tuple(range(30, 60))))
LAYOUT = Layout(len(ROW), len(ROW) * (len(ROW) + 1) / 2, len(ROW.target_ids))


def test_the_shapes_have_the_published_numbers_of_parameters() -> None:
    assert MODELS["8B, all parameters"].parameters == pytest.approx(8.03e9, rel=1e-3)
    assert MODELS["70B, LoRA r 96"].parameters == pytest.approx(70.55e9, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama3-8b", 8.03),
        ("mistral-7b", 7.24),
        ("llama3-70b", 70.55),
        ("mixtral-8x7b", 46.70),
        ("qwen3-4b", 4.02),
    ],
)
def test_the_recipes_models_have_the_published_numbers_of_parameters(
    name: str, billions: float
) -> None:
    assert SHAPES_OF_RECIPES[name].parameters == pytest.approx(billions * 1e9, rel=1e-3)


def test_a_token_goes_through_13_of_mixtrals_47_billion_weights() -> None:
    shape = SHAPES_OF_RECIPES["mixtral-8x7b"]
    active = sum(a * b for a, b in shape.linear_layers) * shape.size.layers
    assert active + shape.outer_parameters == pytest.approx(12.9e9, rel=5e-3)


@pytest.mark.filterwarnings(PEFT_WARNING)
def test_a_mixtures_weights_and_adapters_are_those_that_peft_trains() -> None:
    from peft import LoraConfig, get_peft_model

    lora = load_recipe("mixtral-8x7b").lora
    assert lora is not None
    model: Any = tiny_model("mixtral")
    config = model.config
    size = Size(
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
    )
    shape = Model(size, config.vocab_size, 2, experts=config.num_local_experts, active_experts=2)
    assert shape.parameters == sum(p.numel() for p in model.parameters() if p.ndim > 1)
    adapted_model = get_peft_model(
        model,
        LoraConfig(
            r=2,
            target_modules=lora.target_modules,
            target_parameters=lora.target_parameters,
            lora_dropout=lora.dropout,
            task_type="CAUSAL_LM",
        ),
    )
    trained = sum(p.numel() for p in adapted_model.parameters() if p.requires_grad)
    assert shape.adapter_parameters == trained


def test_a_frozen_weight_in_four_bits_takes_half_a_byte_and_a_little() -> None:
    plain, small = (model_of(n, load_recipe(n)) for n in ("llama3-70b", "llama3-70b-qlora"))
    inner = plain.parameters - plain.outer_parameters
    assert plain.bytes - small.bytes == pytest.approx(1.48 * inner)
    assert small.rank == 96


def test_examples_are_cut_to_a_recipes_length() -> None:
    triple = EncodedTriple(tuple(range(20)), tuple(range(10)), tuple(range(50)))
    short = cut(triple, 32)
    lengths = [len(ids) for ids in (short.prompt_ids, short.safe_ids, short.harmful_ids)]
    assert lengths == [16, 8, 8]
    assert cut(triple, 80) == triple
    assert cut(EncodedHelpful((1, 2), (3, 4, 5)), 4) == EncodedHelpful((1, 2), (3, 4))


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


def test_the_recipes_begin_with_the_figures_that_are_computed() -> None:
    report = computed()
    assert set(report["recipes"]) == set(packaged_recipes()) - {"quickstart"}
    assert json.loads(LATEST.read_text("utf-8"))["recipes"].keys() == report["recipes"].keys()
    for name, text in fill_heads(report).items():
        assert text == (RECIPES / f"{name}.yaml").read_text("utf-8"), "run benchmarks.paper"
        assert "Computed, not run: " in text or "Measured: " in text
        # The control: another figure gives another text.
        other = {"recipes": {name: {**report["recipes"][name], "gigabytes_a_gpu": 999}}}
        assert (fill_heads(other)[name] == text) == (name not in MACHINES)


def test_a_hundred_steps_take_a_fifth_of_two_epochs_and_one_gpu_eight_times_as_long() -> None:
    recipes = json.loads(LATEST.read_text("utf-8"))["recipes"]
    whole, steps = (recipes[f"llama3-70b{end}"]["hours"]["0.4"] for end in ("", "-instruct"))
    assert steps / whole == pytest.approx(100 * 128 / 63_000 / 2)
    alone = recipes["llama3-70b-qlora"]["hours"]["0.4"]
    assert alone / whole == pytest.approx(8, rel=0.01)
    assert "38 GB a GPU" in head_of(recipes["llama3-70b"])


def test_fsdp2_divides_the_frozen_weights_and_leaves_each_process_a_whole_adapter() -> None:
    lora, full = Model(SIZE, VOCABULARY, 4), Model(SIZE, VOCABULARY, None)
    assert bytes_a_gpu(full, 8) == full.bytes / 8
    assert bytes_a_gpu(lora, 8) == 2 * lora.parameters / 8 + 16 * lora.adapter_parameters
