"""The faster LoRA layers give PEFT's numbers, and step aside for whatever they don't cover."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from derta.train.adapters import _AdaptedLinear, install_fused_adapters
from tests.tiny import PEFT_WARNING, random_groups, tiny_model

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


def _pair(family: str = "llama", **lora: Any) -> tuple[Any, Any]:
    """Make the same adapted model twice, the second with the faster layers."""
    model = tiny_model(family, dtype=torch.float64)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **lora}
    torch.manual_seed(3)
    stock: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, parameter in stock.named_parameters():
        if "lora_B" in name:  # zero at first, which would hide A's gradient
            torch.nn.init.normal_(parameter, std=0.3)
    fused = copy.deepcopy(stock)
    assert install_fused_adapters(fused) > 0
    return stock.train(), fused.train()


def _outcome(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    rows = [row for group in random_groups() for row in group]
    ids = torch.tensor([max(rows, key=len).token_ids])
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), grads


def _called(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    apply = _AdaptedLinear.apply

    def counted(*args: Any) -> Any:
        calls.append(1)
        return apply(*args)

    monkeypatch.setattr(_AdaptedLinear, "apply", counted)
    return calls


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
@pytest.mark.parametrize("bias_scaling", [{}, {"use_rslora": True}])
def test_loss_and_gradients_are_pefts(
    family: str, bias_scaling: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, fused = _pair(family, **bias_scaling)
    loss, gradients = _outcome(stock)
    calls = _called(monkeypatch)
    found_loss, found = _outcome(fused)
    assert calls, "the faster layers ran"
    assert found_loss == pytest.approx(float(loss), rel=1e-12)
    assert found.keys() == gradients.keys()
    for name, truth in gradients.items():
        assert (found[name] - truth).norm() <= 1e-7 * truth.norm(), name


def test_float32_stays_float32() -> None:
    _, fused = _pair()
    fused.float()
    loss, gradients = _outcome(fused)
    assert loss.dtype == torch.float32
    assert {each.dtype for each in gradients.values()} == {torch.float32}


def _disable(model: Any) -> None:
    model.base_model.disable_adapter_layers()


def _merge(model: Any) -> None:
    model.merge_adapter()


def _train_the_base(model: Any) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def _second_adapter(model: Any) -> None:
    model.add_adapter("other", LoraConfig(r=2, target_modules="all-linear"))
    model.base_model.set_adapter(["default", "other"])


@pytest.mark.parametrize("change", [_disable, _merge, _train_the_base, _second_adapter])
def test_what_is_not_covered_goes_pefts_way(
    change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, fused = _pair()
    for model in (stock, fused):
        torch.manual_seed(5)
        change(model)
    calls = _called(monkeypatch)
    ids = torch.tensor([[11, 12, 13, 14]])
    assert torch.equal(fused(ids).logits, stock(ids).logits)
    assert not calls


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"use_dora": True}])
def test_dropout_and_dora_go_pefts_way(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, fused = _pair(**settings)
    calls = _called(monkeypatch)
    ids = torch.tensor([[11, 12, 13, 14]])
    found = []
    for model in (stock, fused):
        torch.manual_seed(7)
        found.append(model(ids).logits)
    assert torch.equal(*found)
    assert not calls


def test_autocast_goes_pefts_way(monkeypatch: pytest.MonkeyPatch) -> None:
    _, fused = _pair()
    fused.float()
    calls = _called(monkeypatch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused(torch.tensor([[11, 12, 13, 14]]))
    assert not calls


def test_installing_twice_changes_nothing_more() -> None:
    _, fused = _pair()
    assert install_fused_adapters(fused) == 0


def test_the_checkpoint_keeps_its_names() -> None:
    stock, fused = _pair()
    assert stock.state_dict().keys() == fused.state_dict().keys()
