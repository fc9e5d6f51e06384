"""Training does train: full parameter and LoRA, and what is saved is stock.

Covered: a tiny task that both learn, mixed precision, gradient checkpointing, names and files,
workers. Not covered: the quality of a real model (the quickstart measures it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from tests.tiny import PEFT_WARNING, tiny_model, training_examples
from tests.train.runs import lora, make_trainer, weights_of

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
PROMPT = torch.tensor([[1, 20, 30, 40]])
TASK = {"num_train_epochs": 12, "optim": "adamw_torch", "learning_rate": 1e-2, "batch": 8}


def _train(folder: Path, model: nn.Module, **arguments: Any) -> list[dict[str, float]]:
    trainer = make_trainer(folder, model, training_examples(5, 3), **{**TASK, **arguments})
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("adapted", [False, True], ids=["full", "lora"])
def test_the_loss_of_every_kind_falls_and_refusal_is_learnt_where_it_should(
    tmp_path: Path, adapted: bool
) -> None:
    model: nn.Module = tiny_model("llama")
    if adapted:
        model = lora(model)
    steps = _train(tmp_path, model, num_train_epochs=40 if adapted else 12)
    first, last = steps[0], steps[-1]
    for kind in ("helpful", "safe_response", "refusal_transition"):
        assert last[f"loss_{kind}"] < 0.8 * first[f"loss_{kind}"], kind
    assert last["refusal_probability_refusal_transition"] > 0.5
    assert last["refusal_probability_helpful"] < 0.2


def test_a_trained_model_is_saved_with_stock_names_and_loaded_by_transformers(
    tmp_path: Path,
) -> None:
    model = tiny_model("llama-tied")
    _train(tmp_path, model, num_train_epochs=2)
    model.save_pretrained(tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert list(again.state_dict()) == list(tiny_model("llama-tied").state_dict())
    model.eval()
    assert torch.equal(again(PROMPT).logits, model(PROMPT).logits)


def test_a_checkpoint_of_the_trainer_is_loaded_by_transformers(tmp_path: Path) -> None:
    model = tiny_model("gemma3")
    _train(tmp_path, model, num_train_epochs=2, save_strategy="epoch")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    model.eval()
    assert torch.equal(again(PROMPT).logits, model(PROMPT).logits)


def test_a_trained_adapter_is_loaded_by_plain_peft_and_the_base_is_untouched(
    tmp_path: Path,
) -> None:
    base = tiny_model("llama")
    model = lora(base)
    _train(tmp_path, model, num_train_epochs=2)
    model.save_pretrained(tmp_path / "model")
    model.eval()
    again = PeftModel.from_pretrained(tiny_model("llama"), tmp_path / "model")
    assert torch.equal(again(PROMPT).logits, model(input_ids=PROMPT).logits)
    with model.disable_adapter():
        assert torch.equal(model(input_ids=PROMPT).logits, tiny_model("llama")(PROMPT).logits)


def test_generate_works_after_training(tmp_path: Path) -> None:
    model = tiny_model("llama")
    _train(tmp_path, model, num_train_epochs=1)
    model.eval()
    stock = tiny_model("llama")
    stock.load_state_dict(model.state_dict())
    settings = {
        "attention_mask": torch.ones_like(PROMPT),
        "max_new_tokens": 6,
        "do_sample": False,
    }
    assert torch.equal(model.generate(PROMPT, **settings), stock.generate(PROMPT, **settings))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3"])
def test_bf16_autocast_trains_near_float32(tmp_path: Path, family: str, packed: bool) -> None:
    exact = _train(tmp_path, tiny_model(family), num_train_epochs=2, packed=packed)
    model = tiny_model(family)
    rounded = _train(tmp_path, model, num_train_epochs=2, packed=packed, bf16=True)
    for entry, truth in zip(rounded, exact, strict=True):
        assert entry["loss"] == pytest.approx(truth["loss"], rel=0.05)
    settings = {"attention_mask": torch.ones_like(PROMPT), "max_new_tokens": 2}
    assert model.generate(PROMPT, do_sample=False, **settings).shape[0] == 1


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*deprecated:FutureWarning")
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "lora"])
def test_gradient_checkpointing_trains_the_same_weights(tmp_path: Path, adapted: bool) -> None:
    found = []
    for checkpointed in (False, True):
        model: nn.Module = tiny_model("llama")
        if adapted:
            model = lora(model)
        _train(
            tmp_path,
            model,
            num_train_epochs=2,
            optim="sgd",
            gradient_checkpointing=checkpointed,
        )
        found.append(weights_of(model))
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_data_loader_workers_change_nothing(tmp_path: Path) -> None:
    settings = {"num_train_epochs": 2, "batch": 2, "optim": "sgd"}
    alone = _train(tmp_path, tiny_model("llama"), **settings)
    workers = _train(tmp_path, tiny_model("llama"), dataloader_num_workers=2, **settings)
    for entry, other in zip(alone, workers, strict=True):
        assert entry["loss"] == other["loss"]
