"""The supervised forward leaves the model stock, and refuses what it would get wrong.

Covered: generate, names and files of a checkpoint, copies, installing twice, adapters on the
output matrix, models without one. Not covered: the numbers (`tests/invariants`).
"""

from __future__ import annotations

import copy
import math
import random
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaModel,
)

from derta.errors import ModelError
from derta.rows import build_helpful_row
from derta.train.forward import install_supervised_forward, output_head
from tests.invariants.comparison import batch_of
from tests.tiny import PEFT_WARNING, REFUSAL_ID, random_helpful, tiny_model

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
PROMPT = torch.tensor([[1, 20, 30, 40]])


def _batch() -> dict[str, torch.Tensor]:
    return batch_of([build_helpful_row(random_helpful(random.Random(0)))], tree=False)


@pytest.mark.parametrize("family", ["llama", "gemma2", "mixtral"])
def test_generate_works_as_before(family: str) -> None:
    model = tiny_model(family)
    settings = {"max_new_tokens": 8, "do_sample": False}
    mask = torch.ones_like(PROMPT)
    before = model.generate(PROMPT, attention_mask=mask, **settings)
    install_supervised_forward(model)
    after = model.generate(PROMPT, attention_mask=mask, **settings)
    assert torch.equal(before, after)
    assert model._supports_logits_to_keep(), "else generate projects the whole prompt"


def test_without_targets_it_is_the_stock_forward() -> None:
    model = tiny_model("llama")
    before = model(PROMPT, labels=PROMPT)
    install_supervised_forward(model)
    after = model(input_ids=PROMPT, labels=PROMPT)
    assert type(before) is type(after)
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.loss, after.loss)


@pytest.mark.parametrize("tree", [True, False])
def test_only_supervised_positions_meet_the_output_matrix(
    tree: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    install_supervised_forward(model)
    row = build_helpful_row(random_helpful(random.Random(0)))
    batch = batch_of([row, row], tree=tree)
    targets, tokens = len(batch["target_ids"]), batch["input_ids"].numel()
    assert targets < tokens - 2
    projected: list[int] = []
    linear = torch.nn.functional.linear

    def counted(hidden: torch.Tensor, weight: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        if weight.shape[0] == model.config.vocab_size:
            projected.append(hidden.numel() // hidden.shape[-1])
        return linear(hidden, weight, *more)

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    loss = model(**batch, denominator=1.0, refusal_id=REFUSAL_ID).loss
    assert projected == [targets]
    loss.backward()
    assert projected == [targets] * 2, "logits are computed again, not kept"
    model(input_ids=batch["input_ids"])
    assert projected[2:] == [tokens], "the control: a stock forward projects everything"


@pytest.mark.parametrize("tree", [True, False])
def test_a_margin_raises_the_loss_and_leaves_the_logged_probability(tree: bool) -> None:
    model = tiny_model("llama")
    install_supervised_forward(model)
    batch = batch_of([build_helpful_row(random_helpful(random.Random(0)))], tree=tree)
    plain = model(**batch, denominator=1.0, refusal_id=REFUSAL_ID)
    margins = torch.full_like(batch["target_weights"], 3.0)
    with_margin = model(**batch, denominator=1.0, refusal_id=REFUSAL_ID, refusal_margins=margins)
    probability = plain.refusal_log_probabilities.exp()
    expected = plain.target_losses + torch.log1p(probability * (math.exp(3.0) - 1.0))
    torch.testing.assert_close(with_margin.target_losses, expected)
    torch.testing.assert_close(
        with_margin.refusal_log_probabilities, plain.refusal_log_probabilities
    )


def test_no_module_and_no_name_is_added_and_a_saved_model_is_stock(tmp_path: Path) -> None:
    stock = tiny_model("llama-tied")
    model = tiny_model("llama-tied")
    install_supervised_forward(model)
    assert list(model.state_dict()) == list(stock.state_dict())
    assert [type(m) for m in model.modules()] == [type(m) for m in stock.modules()]
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(PROMPT).logits, stock(PROMPT).logits)


def test_a_deep_copy_runs_on_its_own_weights() -> None:
    model = tiny_model("llama")
    install_supervised_forward(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_output_embeddings().weight.zero_()
    assert not twin(PROMPT).logits.any()
    assert model(PROMPT).logits.any()
    batch = _batch()
    loss = twin(**batch, denominator=len(batch["target_ids"]), refusal_id=REFUSAL_ID).loss
    assert loss.item() == pytest.approx(torch.tensor(97.0).log().item())


def test_installing_twice_changes_nothing() -> None:
    model = tiny_model("llama")
    install_supervised_forward(model)
    forward = model.forward
    install_supervised_forward(model)
    assert model.forward == forward


def test_it_is_installed_below_a_peft_wrapper_and_the_adapter_is_in_the_loss() -> None:
    base = tiny_model("llama")
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "up_proj"]))
    model.eval()
    install_supervised_forward(model)
    batch = _batch()
    settings = {"denominator": 1.0, "refusal_id": REFUSAL_ID}
    with torch.no_grad():
        untouched = model(**batch, **settings).loss
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
        changed = model(**batch, **settings).loss
        with model.disable_adapter():
            disabled = model(**batch, **settings).loss
    assert not torch.isclose(untouched, changed, rtol=1e-3)
    assert torch.equal(untouched, disabled)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"target_modules": ["q_proj", "lm_head"]}),
        ("llama-tied", {"target_modules": ["q_proj"], "trainable_token_indices": [REFUSAL_ID]}),
    ],
)
def test_an_adapter_on_the_output_matrix_is_refused_and_not_left_out(
    family: str, settings: dict
) -> None:
    model = get_peft_model(tiny_model(family), LoraConfig(r=4, **settings))
    with pytest.raises(ModelError, match=r"output matrix.*lm_head"):
        install_supervised_forward(model)


def test_an_output_matrix_trained_whole_beside_an_adapter_is_in_the_loss() -> None:
    model = get_peft_model(
        tiny_model("llama"), LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"])
    )
    install_supervised_forward(model)
    model(**_batch(), denominator=1.0, refusal_id=REFUSAL_ID).loss.backward()
    (gradient,) = (
        parameter.grad
        for name, parameter in model.named_parameters()
        if "lm_head.modules_to_save" in name
    )
    assert gradient is not None
    assert gradient.any()


def test_a_saved_adapter_is_loaded_by_plain_peft(tmp_path: Path) -> None:
    model = get_peft_model(
        tiny_model("llama"), LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    ).eval()
    install_supervised_forward(model)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny_model("llama"), tmp_path)
    assert torch.equal(again(PROMPT).logits, model(input_ids=PROMPT).logits)


def test_an_unknown_output_head_is_refused_with_the_families_that_are_known() -> None:
    config = GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1, bos_token_id=0)
    with pytest.raises(ModelError, match=r"'gpt2' is not known.*gemma2.*llama"):
        install_supervised_forward(GPT2LMHeadModel(config))


def test_a_model_without_an_output_matrix_is_refused() -> None:
    config = LlamaConfig(
        vocab_size=50, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1,
    )  # fmt: skip
    with pytest.raises(ModelError, match="LlamaModel is not a causal language model"):
        install_supervised_forward(LlamaModel(config))


def test_a_tree_without_position_ids_is_refused_and_not_read_as_one_causal_row() -> None:
    model = tiny_model("llama")
    install_supervised_forward(model)
    batch = batch_of([build_helpful_row(random_helpful(random.Random(0)))], tree=True)
    del batch["position_ids"]
    with pytest.raises(ValueError, match="position_ids"):
        model(**batch, denominator=1.0, refusal_id=REFUSAL_ID)


def test_scales_and_soft_caps_come_from_the_configuration() -> None:
    assert output_head(tiny_model("cohere")).scale == 0.25
    assert output_head(tiny_model("granite")).scale == 0.25
    assert output_head(tiny_model("gemma2")).softcap == 3.0
    plain = output_head(tiny_model("llama"))
    assert (plain.scale, plain.softcap, plain.bias) == (1.0, None, None)
