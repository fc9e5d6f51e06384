"""The memory estimate, held to real tensors and to the peak of real steps.

Run as a script it trains a model of some size for one step and prints what was measured; see
`main`. Not covered: GPUs, several processes.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from derta.data.epoch import RowSettings, TrainingExamples
from derta.errors import ModelError
from derta.memory import keep_freed_memory
from derta.packing import shared_length
from derta.rows import EncodedTriple, Method
from derta.train import estimate as module
from derta.train.adapt import add_adapter
from derta.train.adapters import install_fused_adapters
from derta.train.estimate import (
    MemoryEstimate,
    Plan,
    available_bytes,
    check_memory,
    describe_memory,
    estimate_memory,
)
from derta.train.forward import install_supervised_forward
from derta.train.recipe_fields import Recipe
from tests.tiny import FAMILIES, REFUSAL_ID, tiny_model
from tests.train.runs import make_trainer

EXAMPLES, HARMFUL_TOKENS = 2, 240


def recipe_of(lora: dict[str, Any] | None = None, **keys: Any) -> Recipe:
    return Recipe.model_validate(
        {"model": "some-model", "method": "derta", "data": {"triples": "sample"}, **keys}
        | ({"lora": lora} if lora is not None else {})
    )


def plan_of(**changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "processes": 1,
        "on_gpu": False,
        "divided": False,
        "micro_batch": 1,
        "checkpointing": False,
        "mixed_precision": False,
        "optimizer": "adamw_torch",
        "longest_tokens": 64,
    }
    return Plan(**{**settings, **changes})


def mid_size_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        pad_token_id=0,
    )


def long_examples() -> TrainingExamples:
    triples = [
        EncodedTriple(
            prompt_ids=tuple(range(20, 40)),
            safe_ids=(REFUSAL_ID, *range(40, 70), 2),
            harmful_ids=tuple(100 + index + number for index in range(HARMFUL_TOKENS)),
        )
        for number in range(EXAMPLES)
    ]
    return TrainingExamples(
        triples, RowSettings(method=Method.DERTA, refusal_id=REFUSAL_ID, seed=1)
    )


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak_bytes() -> int:
    """Read this program's own peak: getrusage's is at least that of the process that forked it."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024


def main(kind: str, checkpointing: bool) -> None:
    """Train one step and print the tokens of the longest example and by how much memory grew."""
    torch.manual_seed(1)
    examples = long_examples()
    keep_freed_memory()
    before = resident_bytes()
    model: Any = LlamaForCausalLM(mid_size_config())
    if kind == "lora":
        model = add_adapter(model, recipe_of({"r": 16}).lora)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = make_trainer(
            folder,
            model,
            examples,
            batch=EXAMPLES,
            max_tokens=2048,
            max_steps=2,
            optim="adamw_torch",
            activation_checkpointing=checkpointing,
        )
        trainer.train()
    longest = max(shared_length(examples.rows(0, index)) for index in range(len(examples)))
    print(json.dumps({"longest": longest, "bytes": peak_bytes() - before}))  # noqa: T201  # read by the test


# --- counting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, {"r": 3}], ids=str)
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_parameters_are_those_of_the_real_model(family: str, lora: dict[str, Any] | None) -> None:
    compare_parameters(family, recipe_of(lora))


def test_adapters_of_the_upper_layers_and_of_stacked_experts_are_counted() -> None:
    compare_parameters("llama", recipe_of({"r": 2, "upper_layers": 0.5}))
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    compare_parameters("mixtral", recipe_of({"r": 2, "target_parameters": names}))


def compare_parameters(family: str, recipe: Recipe) -> None:
    model: Any = tiny_model(family)
    estimate = estimate_memory(recipe, model.config, plan_of())
    if recipe.lora is not None:
        model = add_adapter(model, recipe.lora)
    assert estimate.parameters == sum(each.numel() for each in model.parameters())
    trained = [each.numel() for each in model.parameters() if each.requires_grad]
    assert estimate.trained_parameters == sum(trained)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [None, {"r": 3}], ids=str)
@pytest.mark.parametrize("family", ["llama", "llama-tied", "mixtral", "qwen3", "starcoder2"])
def test_weights_gradients_and_means_are_those_after_a_real_step(
    family: str, lora: dict[str, Any] | None, dtype: str
) -> None:
    model: Any = tiny_model(family, dtype=getattr(torch, dtype))
    estimate = estimate_memory(recipe_of(lora, dtype=dtype), model.config, plan_of())
    if lora is not None:
        model = add_adapter(model, recipe_of(lora).lora)  # type: ignore[arg-type]
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for each in trained:  # whichever experts the tokens would visit
        each.grad = torch.ones_like(each)
    optimizer.step()
    states = [
        each
        for state in optimizer.state.values()
        for each in state.values()
        if isinstance(each, torch.Tensor)
    ]
    assert estimate.weights == sum(each.nbytes for each in model.parameters())
    assert estimate.gradients == sum(each.grad.nbytes for each in trained)
    assert estimate.optimizer == sum(each.nbytes for each in states)


def llama_3(hidden: int, intermediate: int, layers: int, heads: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=128_256,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
    )


LLAMA_3_8B = llama_3(4096, 14336, 32, 32)
LLAMA_3_70B = llama_3(8192, 28672, 80, 64)
GPU = {"on_gpu": True, "mixed_precision": True, "longest_tokens": 1024}


def test_the_shapes_of_llama_3_have_their_published_sizes_and_take_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator = torch.get_rng_state()
    small = estimate_memory(recipe_of(), LLAMA_3_8B, plan_of(**GPU))
    large = estimate_memory(recipe_of({"r": 96}), LLAMA_3_70B, plan_of(**GPU))
    base = large.parameters - large.trained_parameters
    assert (round(small.parameters / 1e9, 2), round(base / 1e9, 2)) == (8.03, 70.55)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    assert torch.equal(torch.get_rng_state(), generator)  # or a run's adapter would be another


def test_a_weight_takes_16_bytes_where_all_are_trained_and_2_where_it_is_frozen_on_a_gpu() -> None:
    full = estimate_memory(recipe_of(), LLAMA_3_8B, plan_of(**GPU))
    held = full.weights + full.gradients + full.optimizer
    assert held == pytest.approx(16 * full.parameters, rel=1e-6)
    lora = estimate_memory(recipe_of({"r": 16}), LLAMA_3_8B, plan_of(**GPU))
    frozen = lora.parameters - lora.trained_parameters
    assert lora.weights == 2 * frozen + 4 * lora.trained_parameters


def test_in_4_bits_linear_layers_shrink_and_the_vocabulary_matrices_do_not() -> None:
    recipe = recipe_of({"r": 16}, quantization="nf4")
    estimate = estimate_memory(recipe, LLAMA_3_8B, plan_of(**GPU))
    vocabulary = 2 * 128_256 * 4096
    linear = estimate.parameters - estimate.trained_parameters - vocabulary
    expected = 0.5159 * linear + 2 * vocabulary + 4 * estimate.trained_parameters
    assert estimate.weights == pytest.approx(expected, rel=1e-3)


def test_a_mixture_keeps_its_stacked_experts_in_16_bits() -> None:
    config = tiny_model("mixtral").config
    estimate = estimate_memory(
        recipe_of({"r": 2}, quantization="nf4"), config, plan_of(on_gpu=True)
    )
    experts = 2 * 4 * 3 * config.hidden_size * config.intermediate_size
    assert estimate.weights > 2 * experts


@pytest.mark.parametrize(
    ("optimizer", "bytes_of_a_weight"),
    [
        ("sgd", 0.0),
        ("adafactor", 0.01),
        ("lion_8bit", 1.0),
        ("adamw_bnb_8bit", 2.0),
        ("paged_adamw_8bit", 2.0),
        ("lion_32bit", 4.0),
        ("adamw_torch", 8.0),
        ("adamw_torch_fused", 8.0),
        ("paged_adamw_32bit", 8.0),
        ("unknown", 8.0),
    ],
)
def test_each_optimizer_keeps_what_is_its_own(optimizer: str, bytes_of_a_weight: float) -> None:
    recipe = recipe_of({"r": 64})  # an embedding would stay in 32 bits
    estimate = estimate_memory(recipe, LLAMA_3_8B, plan_of(**GPU, optimizer=optimizer))
    found = estimate.optimizer / estimate.trained_parameters
    # A scale for every 256 weights, or 64 + 4096 means for 64 x 4096 weights.
    assert bytes_of_a_weight <= found <= bytes_of_a_weight * 1.02 + 0.07


def test_divided_among_processes_each_holds_its_share() -> None:
    recipe = recipe_of()
    whole = estimate_memory(recipe, LLAMA_3_8B, plan_of(**GPU, processes=8))
    share = estimate_memory(recipe, LLAMA_3_8B, plan_of(**GPU, processes=8, divided=True))
    for name in ("weights", "gradients", "optimizer"):
        assert getattr(share, name) == pytest.approx(getattr(whole, name) / 8, abs=1)
    # A layer and the next one, and what is in no layer, are gathered.
    assert share.other > 2 * (2 * 218e6 + 2 * 128_256 * 4096)


# --- activations -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "checkpointing"), [("full", False), ("lora", False), ("full", True)]
)
def test_the_estimate_is_near_the_peak_of_real_steps(kind: str, checkpointing: bool) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.train.test_estimate"),
            *(kind, "checkpointing" if checkpointing else "none"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    plan = plan_of(
        micro_batch=EXAMPLES, longest_tokens=measured["longest"], checkpointing=checkpointing
    )
    recipe = recipe_of({"r": 16} if kind == "lora" else None)
    estimate = estimate_memory(recipe, mid_size_config(), plan)
    assert 0.7 < estimate.total / measured["bytes"] < 1.6


def kept_bytes(model: Any, tokens: int, *, autocast: bool) -> int:
    """Bytes that autograd keeps of a packed row of two examples, weights and their casts apart."""
    install_supervised_forward(model)
    install_fused_adapters(model)
    model.train()
    ids = torch.randint(10, 90, (1, tokens))
    index = torch.arange(tokens)[None]
    half = tokens // 2
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        model(
            input_ids=ids,
            position_ids=index % half,
            expires_at=(index // half + 1) * half,
            target_positions=torch.arange(tokens),
            target_ids=ids[0],
            target_weights=torch.ones(tokens),
            denominator=1.0,
            refusal_id=REFUSAL_ID,
        )
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    shapes = {each.shape for each in model.parameters()}
    shapes |= {each.mT.shape for each in model.parameters() if each.dim() > 1}
    return sum(
        each.untyped_storage().nbytes()
        for address, each in kept.items()
        if address not in weights and each.shape not in shapes
    )


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    ("family", "lora"),
    [
        (family, lora)
        for family in (
            "llama",
            "mixtral",
            "qwen3",
            "qwen3-moe",
            "phi3",
            "gemma2",
            "gemma3",
            "olmo2",
        )
        for lora in (None, {"r": 4}, {"r": 4, "dropout": 0.1})
        # PEFT has no dropout for the experts.
        if lora is None or "dropout" not in lora or family not in ("mixtral", "qwen3-moe")
    ],
    ids=str,
)
def test_activations_are_near_what_autograd_keeps(
    family: str, lora: dict[str, Any] | None, autocast: bool
) -> None:
    tokens = 256
    sizes = {"hidden_size": 64, "intermediate_size": 160, "sliding_window": 512}
    if family != "gemma3":
        sizes["num_hidden_layers"] = 6
    frozen_16_bit = autocast and lora is not None
    model: Any = tiny_model(
        family, **sizes, dtype=torch.bfloat16 if frozen_16_bit else torch.float32
    )
    config = model.config
    recipe = recipe_of(
        lora,
        attention=config._attn_implementation,
        dtype="bfloat16" if frozen_16_bit else "float32",
    )
    plan = plan_of(micro_batch=2, longest_tokens=tokens // 2, mixed_precision=autocast)
    if lora is not None:
        model = add_adapter(model, recipe.lora)  # type: ignore[arg-type]
    measured = kept_bytes(model, tokens, autocast=autocast)
    estimate = estimate_memory(recipe, config, plan).activations
    layers = config.num_hidden_layers
    # One layer's gradients are part of the estimate, and both ends of the model.
    assert 0.9 < estimate / (measured * (layers + 1) / layers) < 1.5


def test_checkpointing_and_upper_layers_keep_less_and_longer_batches_more() -> None:
    def activations(lora: dict[str, Any], **plan: Any) -> int:
        return estimate_memory(recipe_of(lora), LLAMA_3_8B, plan_of(**GPU, **plan)).activations

    usual = activations({"r": 16})
    assert activations({"r": 16}, checkpointing=True) < usual / 5
    assert activations({"r": 16, "upper_layers": 0.5}) < 0.6 * usual
    assert activations({"r": 16}, micro_batch=2) > 1.9 * usual


# --- what there is, and what would fit ---------------------------------------------------------


def test_a_run_that_fits_or_whose_memory_cannot_be_told_goes_on() -> None:
    config = tiny_model("llama").config
    estimate = estimate_memory(recipe_of(), config, plan_of())
    assert check_memory(recipe_of(), config, plan_of(), estimate.total) == estimate
    assert check_memory(recipe_of(), config, plan_of(), None) == estimate
    with pytest.raises(ModelError, match="check_memory=false"):
        check_memory(recipe_of(), config, plan_of(), estimate.total - 1)


def message_of(recipe: Recipe, config: Any, plan: Plan, available: float) -> str:
    with pytest.raises(ModelError) as caught:
        check_memory(recipe, config, plan, int(available))
    return str(caught.value)


def test_all_parameters_of_8b_on_a_24_gb_gpu_are_refused_with_lora_as_a_way_out() -> None:
    message = message_of(recipe_of(), LLAMA_3_8B, plan_of(**GPU, micro_batch=4), 24e9)
    assert "lora.r=16" in message
    assert "sharding=fsdp2 on " in message
    assert "24.0 GB are free (weights 32.1 GB, gradients 32.1 GB, optimizer 64.2 GB" in message
    assert "check_memory=false" in message


def test_lora_on_70b_on_an_80_gb_gpu_is_refused_with_4_bits_and_fsdp2_as_ways_out() -> None:
    message = message_of(recipe_of({"r": 96}), LLAMA_3_70B, plan_of(**GPU), 80e9)
    assert "quantization=nf4" in message
    assert "sharding=fsdp2 on 16 processes" in message


def test_fsdp2_divides_the_frozen_weights_and_leaves_an_adapter_whole() -> None:
    recipe = recipe_of({"r": 96}, sharding="fsdp2")
    estimate = estimate_memory(recipe, LLAMA_3_70B, plan_of(**GPU, divided=True, processes=8))
    trained = estimate.trained_parameters
    frozen = estimate.parameters - trained
    held = estimate.weights + estimate.gradients + estimate.optimizer
    assert held == pytest.approx(2 * frozen / 8 + 16 * trained, rel=1e-6)
    zero3 = estimate_memory(
        recipe_of({"r": 96}), LLAMA_3_70B, plan_of(**GPU, divided=True, processes=8)
    )
    assert zero3.gradients == pytest.approx(estimate.gradients / 8, abs=1)


def test_every_way_out_that_is_named_fits() -> None:
    for recipe, micro_batch, available in (
        (recipe_of(), 8, 24e9),
        (recipe_of(), 8, 200e9),
        (recipe_of({"r": 16}), 16, 30e9),
        (recipe_of({"r": 16}), 16, 10e9),
    ):
        message = message_of(recipe, LLAMA_3_8B, plan_of(**GPU, micro_batch=micro_batch), available)
        ways = re.search(r"This would fit: (.*?)\. The numbers", message)
        assert ways is not None, message
        for way in ways[1].split("; or "):
            changed, plan = recipe, plan_of(**GPU, micro_batch=micro_batch)
            for words in way.split(" and "):
                changed, plan = changed_by(words, changed, plan)
            assert estimate_memory(changed, LLAMA_3_8B, plan).total <= available, way


def changed_by(words: str, recipe: Recipe, plan: Plan) -> tuple[Recipe, Plan]:
    """Do what a way out says."""
    key, value = words.split("=")
    if key == "trainer.per_device_train_batch_size":
        return recipe, replace(plan, micro_batch=int(value))
    if key == "trainer.activation_checkpointing":
        return recipe, replace(plan, checkpointing=True)
    if key == "sharding":
        return recipe, replace(plan, divided=True, processes=int(value.split()[2]))
    if key == "lora.r":
        return recipe_of({"r": int(value)}), plan
    if key == "quantization":
        return recipe.model_copy(update={"quantization": value}), plan
    assert key == "trainer.gradient_accumulation_steps"
    return recipe, plan


def test_a_smaller_micro_batch_keeps_the_examples_of_a_step() -> None:
    plan = plan_of(**GPU, micro_batch=16)
    recipe = recipe_of({"r": 16}, trainer={"gradient_accumulation_steps": 2})
    message = message_of(recipe, LLAMA_3_8B, plan, 60e9)
    found = re.search(r"batch_size=(\d+) and trainer.gradient_accumulation_steps=(\d+)", message)
    assert found is not None
    assert int(found[1]) * int(found[2]) == 32
    given = message_of(recipe_of({"r": 16}, examples_per_step=32), LLAMA_3_8B, plan, 60e9)
    assert "batch_size=" in given
    assert "accumulation" not in given


def test_where_nothing_helps_a_smaller_model_is_named_and_a_cpu_is_offered_no_gpu() -> None:
    message = message_of(recipe_of(), LLAMA_3_70B, plan_of(micro_batch=2), 1e9)
    assert "take a smaller model" in message
    assert "nf4" not in message
    assert "fsdp2" not in message


def test_the_table_is_narrow_and_its_parts_add_up() -> None:
    estimate = estimate_memory(recipe_of(), LLAMA_3_8B, plan_of(**GPU))
    table = describe_memory(estimate)
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "8,030,261,248" in table
    parts = MemoryEstimate(1, 2, 3, 4, 5, 6, parameters=100, trained_parameters=10)
    assert parts.total == 21


def test_what_is_free_is_shared_by_the_processes_of_a_machine() -> None:
    found = available_bytes(on_gpu=False, processes_here=1)
    assert found is not None
    shared = available_bytes(on_gpu=False, processes_here=4)
    assert shared is not None
    assert 0.15 * found < shared < 0.4 * found


def test_a_containers_limit_counts_and_its_file_pages_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "meminfo"
    information.write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    monkeypatch.setattr(module, "_MEMORY_INFO", information)
    monkeypatch.setattr(module, "_CONTROL_GROUP", tmp_path)
    assert available_bytes(False, 2) == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700000\n")
    assert available_bytes(False, 1) == 8000 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    assert available_bytes(False, 1) == 300_000
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 50000\n")
    assert available_bytes(False, 1) == 350_000


def test_what_cannot_be_told_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY_INFO", tmp_path / "none")
    monkeypatch.setattr(module, "_CONTROL_GROUP", tmp_path)
    assert available_bytes(False, 1) is None
    if not torch.cuda.is_available():
        assert available_bytes(True, 1) is None


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "checkpointing")
