"""What DertaTrainer promises: a step is the weighted mean over its targets, however it is split.

Covered: the loss and its gradient against a mean made by hand, micro-batches, packed and plain,
the start-up self-check, what can't be packed, logs, resume. Full-parameter and LoRA training are
in `test_training`, processes in `test_processes`.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainingArguments

import derta.train.forward
import derta.train.trainer
from derta.data.epoch import EpochSampler, TrainingExamples
from derta.errors import ModelError
from derta.rows import TargetKind
from derta.train.collate import RowCollator
from derta.train.forward import install_supervised_forward
from derta.train.trainer import packing_difference
from tests.tiny import REFUSAL_ID, random_groups, tiny_model, training_examples
from tests.train.runs import WEIGHTS, make_trainer, weights_of


def _trained(
    folder: Path, family: str = "llama", *, dtype: torch.dtype = torch.float64, **arguments: Any
) -> tuple[dict[str, Tensor], Any]:
    model = tiny_model(family, dtype=dtype)
    trainer = make_trainer(folder, model, training_examples(4, 3, kept_share=0.5), **arguments)
    trainer.train()
    return weights_of(model), trainer


def _largest_difference(found: dict[str, Tensor], truth: dict[str, Tensor]) -> float:
    """Return the largest |difference| of a parameter, relative to its norm."""
    assert found.keys() == truth.keys()
    return max(float((found[n] - truth[n]).norm() / truth[n].norm()) for n in truth)


def _steps(trainer: Any) -> list[dict[str, float]]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def _by_hand(
    model: nn.Module, data: TrainingExamples, indices: list[int]
) -> tuple[Tensor, dict[str, float]]:
    """Compute the weighted mean of a step, and its logs, with stock logits row by row."""
    total, weight = torch.zeros((), dtype=torch.float64), 0.0
    sums = {kind: [0, 0.0, 0.0] for kind in TargetKind}
    for index in indices:
        for row in data.rows(0, index):
            logits = model(torch.tensor([row.token_ids])).logits[0].double()
            found = logits[list(row.target_positions)].log_softmax(-1)
            for log_p, target, kind in zip(found, row.target_ids, row.target_kinds, strict=True):
                total = total - WEIGHTS[kind] * log_p[target]
                weight += WEIGHTS[kind]
                sums[kind][0] += 1
                sums[kind][1] -= log_p[target].item()
                sums[kind][2] += log_p[REFUSAL_ID].exp().item()
    logs = {"loss": total.item() / weight}
    for kind, (count, loss, refusal) in sums.items():
        logs[f"loss_{kind.name.lower()}"] = loss / count
        logs[f"refusal_probability_{kind.name.lower()}"] = refusal / count
    return total / weight, logs


def _first_step(data: TrainingExamples, size: int) -> list[int]:
    keys = list(EpochSampler(len(data), size, seed=5))[:size]
    return [index for _, index in keys if index >= 0]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (3, 3)])
def test_a_step_is_the_weighted_mean_over_all_its_targets_made_by_hand(
    tmp_path: Path, batch: int, accumulation: int, packed: bool
) -> None:
    data = training_examples(4, 3, kept_share=0.5)
    model = tiny_model("llama", dtype=torch.float64)
    before = weights_of(model)
    loss, logs = _by_hand(model, data, _first_step(data, batch * accumulation))
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    trainer = make_trainer(
        tmp_path, model, data, batch=batch, accumulation=accumulation, packed=packed, max_steps=1
    )
    trainer.train()
    for name, weight in weights_of(model).items():
        torch.testing.assert_close(
            (before[name] - weight) / 0.02, gradients[name], rtol=1e-4, atol=1e-6
        )
    (entry,) = _steps(trainer)
    for name, value in logs.items():
        assert entry[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("packed", [True, False])
def test_the_weights_do_not_depend_on_the_split_into_micro_batches(
    tmp_path: Path, packed: bool
) -> None:
    # 7 examples in steps of 8, 4 or 2: no multiple of any, so micro-batches may be empty.
    for size, splits in ((8, [(8, 1), (4, 2), (2, 4), (1, 8)]), (4, [(4, 1), (2, 2), (1, 4)])):
        truth, reference = _trained(tmp_path, batch=size, packed=not packed)
        for batch, accumulation in splits:
            found, trainer = _trained(
                tmp_path, batch=batch, accumulation=accumulation, packed=packed
            )
            assert _largest_difference(found, truth) <= 1e-7
            assert len(_steps(trainer)) == 2 * -(-7 // size)
            for entry, expected in zip(_steps(trainer), _steps(reference), strict=True):
                assert entry.keys() == expected.keys()
                assert entry == pytest.approx(expected, rel=1e-5)


def test_float32_weights_do_not_depend_on_the_split_beyond_rounding(tmp_path: Path) -> None:
    truth, _ = _trained(tmp_path, dtype=torch.float32, batch=8)
    for batch, accumulation in ((4, 2), (2, 4)):
        found, _ = _trained(
            tmp_path, dtype=torch.float32, batch=batch, accumulation=accumulation, packed=False
        )
        assert _largest_difference(found, truth) <= 1e-5


@pytest.mark.parametrize("family", ["mixtral", "qwen3", "gemma2", "gemma3", "phi3-window"])
def test_packed_and_plain_training_give_the_same_weights(tmp_path: Path, family: str) -> None:
    # Gemma 2 in float32: transformers' own eager mask makes padding nan in float64.
    dtype = torch.float32 if family == "gemma2" else torch.float64
    packed, trainer = _trained(tmp_path, family, batch=4, dtype=dtype)
    assert trainer.data_collator.packed, "the self-check let it through"
    plain, _ = _trained(tmp_path, family, batch=4, dtype=dtype, packed=False)
    assert _largest_difference(packed, plain) <= (1e-5 if family == "gemma2" else 1e-7)


def test_the_length_of_packed_rows_changes_nothing(tmp_path: Path) -> None:
    short, trainer = _trained(tmp_path, "mistral-window", max_tokens=20)
    assert trainer.data_collator.max_tokens == 20
    long, _ = _trained(tmp_path, "mistral-window", max_tokens=500)
    assert _largest_difference(short, long) <= 1e-7


DENSE = (4 * 32 + 3 * 48) / 9
"""Tokens of a row at which a tiny model's attention costs as much as its linear layers."""


@pytest.mark.parametrize(
    ("family", "changes", "arguments", "max_tokens", "balance"),
    [
        ("llama", {}, {}, None, None),
        ("llama", {}, {"activation_checkpointing": True}, 60, DENSE),
        ("llama", {}, {"bf16": True}, 60, DENSE),
        ("llama", {"dtype": torch.bfloat16}, {}, 60, DENSE),
        ("llama", {"attention_dropout": 0.1}, {}, 60, DENSE),
        ("llama", {"attention": "eager"}, {}, 60, DENSE),
        ("llama", {"attention": "flex_attention"}, {}, 60, math.inf),
        ("mistral-window", {}, {}, 60, DENSE),
    ],
)
def test_the_length_of_packed_rows_is_chosen_by_what_attention_costs(
    tmp_path: Path,
    family: str,
    changes: dict[str, Any],
    arguments: dict[str, Any],
    max_tokens: int | None,
    balance: float | None,
) -> None:
    model = tiny_model(family, **changes)
    trainer = make_trainer(tmp_path, model, training_examples(), **arguments)
    assert trainer.data_collator.max_tokens == max_tokens
    assert trainer.data_collator.balance == pytest.approx(balance)


# --- Liger's kernels ---------------------------------------------------------------------------


def test_ligers_kernels_are_taken_without_its_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, bool]] = []
    monkeypatch.setattr(derta.train.trainer, "is_liger_kernel_available", lambda: True)
    monkeypatch.setattr("transformers.trainer.apply_liger_kernel", lambda _, it: given.append(it))
    _trained(
        tmp_path,
        use_liger_kernel=True,
        liger_kernel_config={"rope": False, "fused_linear_cross_entropy": True},
    )
    assert given == [{"rope": False, "cross_entropy": False, "fused_linear_cross_entropy": False}]


def test_ligers_kernels_that_are_not_installed_are_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derta.train.trainer, "is_liger_kernel_available", lambda: False)
    with pytest.raises(ModelError, match="pip install liger-kernel"):
        make_trainer(tmp_path, tiny_model("llama"), training_examples(), use_liger_kernel=True)


# --- what can't be expressed trains plain and says so -----------------------------------------


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("derta")]


@pytest.mark.parametrize(
    ("family", "attention", "words"),
    [
        ("gemma2", "sdpa", "soft cap"),
        ("llama", "flash_attention_2", "'flash_attention_2' can't be given a tree mask"),
        ("cohere2", "sdpa", "how cohere2 mixes sliding and full layers"),
    ],
)
def test_a_model_that_can_not_express_trees_is_trained_on_plain_rows_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, family: str, attention: str, words: str
) -> None:
    model = tiny_model(family)
    model.config._attn_implementation = attention
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(tmp_path, model, training_examples())
    (message,) = _warnings(caplog)
    assert message.startswith("Training on plain rows: ")
    assert words in message
    assert not trainer.data_collator.packed


def test_a_model_that_is_trained_plain_gets_the_weights_of_plain_rows(tmp_path: Path) -> None:
    asked_packed, trainer = _trained(tmp_path, "cohere2", batch=4)
    assert not trainer.data_collator.packed
    plain, _ = _trained(tmp_path, "cohere2", batch=4, packed=False)
    assert _largest_difference(asked_packed, plain) == 0.0


@pytest.mark.parametrize("blocks", [False, True])
def test_a_silently_wrong_mask_is_caught_at_start_and_the_rows_are_trained_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, blocks: bool
) -> None:
    plain, _ = _trained(tmp_path, packed=False)

    def causal(_config: Any, expires_at: Tensor, *_: Any) -> Tensor:
        length = expires_at.shape[1]
        return torch.ones(len(expires_at), 1, length, length, dtype=torch.bool).tril()

    right = derta.train.forward.attention_blocks

    def causal_blocks(expires_at: Tensor) -> Any:
        return right(torch.full_like(expires_at, expires_at.shape[1]))

    monkeypatch.setattr(derta.train.forward, "tree_mask", causal)
    monkeypatch.setattr(derta.train.forward, "attention_blocks", causal_blocks)
    if not blocks:
        monkeypatch.setattr(derta.train.forward, "reason_blocks_are_unused", lambda _: "a test")
    with caplog.at_level(logging.WARNING):
        found, trainer = _trained(tmp_path)
    (message,) = _warnings(caplog)
    assert message.startswith("Training on plain rows: a packed batch differs from a plain one")
    assert not trainer.data_collator.packed
    assert _largest_difference(found, plain) == 0.0


def test_a_packed_loss_that_is_not_a_number_is_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    install_supervised_forward(model)
    right = derta.train.forward.tree_mask

    def not_a_number(config: Any, expires_at: Tensor, *rest: Any) -> Tensor:
        mask = right(config, expires_at, *rest)
        return torch.where(mask, 0.0, -torch.inf).masked_fill(~mask, torch.nan)

    monkeypatch.setattr(derta.train.forward, "tree_mask", not_a_number)
    monkeypatch.setattr(derta.train.forward, "reason_blocks_are_unused", lambda _: "a test")
    groups = random_groups()
    difference, tolerance = packing_difference(model, RowCollator(pad_id=0), groups, REFUSAL_ID)
    assert not difference <= tolerance
    with caplog.at_level(logging.WARNING):
        trainer = make_trainer(tmp_path, model, training_examples(), max_steps=1)
        trainer.train()
    assert "nan nats" in "".join(_warnings(caplog))
    assert not trainer.data_collator.packed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["llama", "mistral-window", "gemma3", "mixtral", "gemma2"])
def test_the_self_check_passes_right_masks_and_leaves_no_trace(
    family: str, dtype: torch.dtype
) -> None:
    model = tiny_model(family, dtype=dtype)
    install_supervised_forward(model)
    model.train()
    state = torch.get_rng_state()
    difference, tolerance = packing_difference(
        model, RowCollator(pad_id=0, max_tokens=60), random_groups(), REFUSAL_ID
    )
    assert difference <= tolerance
    assert tolerance < 1e-3 or dtype == torch.bfloat16
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_several_gpus_in_one_process_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda _: 2))
    with pytest.raises(ModelError, match=r"torchrun.*CUDA_VISIBLE_DEVICES"):
        make_trainer(tmp_path, tiny_model("llama"), training_examples())


# --- resume --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2, 4, 5, 7])
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(tmp_path: Path, step: int) -> None:
    # 7 examples, steps of 2: 4 steps an epoch, so 4 is the end of the first one.
    settings = {
        **{"batch": 1, "accumulation": 2, "optim": "adamw_torch", "lr_scheduler_type": "cosine"},
        **{"learning_rate": 1e-3, "dtype": torch.float32},
    }
    whole, reference = _trained(tmp_path / "whole", **settings)
    _trained(
        tmp_path / "first", save_strategy="steps", save_steps=step, save_total_limit=9, **settings
    )
    model = tiny_model("llama", seed=99)  # its weights come from the checkpoint
    data = training_examples(4, 3, kept_share=0.5)
    settings.pop("dtype")
    trainer = make_trainer(tmp_path / "again", model, data, **settings)
    trainer.train(resume_from_checkpoint=str(tmp_path / "first" / f"checkpoint-{step}"))
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, whole[name]), name
    later = [entry for entry in _steps(trainer) if entry["step"] > step]
    assert later == [entry for entry in _steps(reference) if entry["step"] > step]
    assert len(later) == 8 - step


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first, _ = _trained(tmp_path, dtype=torch.float32)
    second, _ = _trained(tmp_path, dtype=torch.float32)
    other, _ = _trained(tmp_path, dtype=torch.float32, seed=6)
    assert _largest_difference(first, second) == 0.0
    assert _largest_difference(first, other) > 1e-4
