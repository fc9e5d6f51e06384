"""Every family trains with every method, all parameters and LoRA, and comes back the same.

Tiny random models of Llama 3 (grouped heads; tied and untied output), Mistral with a sliding
window, Mixtral with its router loss, Qwen3, Gemma 2 (soft caps: eager), Gemma 3 (local layers) and
Phi-3 are trained as `derta train` does, saved, and loaded by plain transformers or PEFT: the logits
are those of the trained model. Not covered: real weights, GPUs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from derta.errors import RecipeError
from derta.train import run
from derta.train.adapt import without_foreign_warnings
from derta.train.run import train_recipe
from tests.tiny import PEFT_WARNING
from tests.train.folders import save_model, saved_weights, tiny_recipe, write_data

pytestmark = [pytest.mark.filterwarnings(PEFT_WARNING), pytest.mark.slow]

FAMILIES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "llama3": ("llama", {}, ()),
    "llama3-tied": ("llama-tied", {}, ()),
    "mistral": ("mistral-window", {"sliding_window": 64}, ()),
    "mixtral": (
        "mixtral",
        {"output_router_logits": True, "router_aux_loss_coef": 0.5},
        ("lora.target_modules=[q_proj, k_proj, v_proj, o_proj, w1, w2, w3]",),
    ),
    "qwen3": ("qwen3", {}, ()),
    "gemma2": ("gemma2", {"sliding_window": 64}, ("attention=eager",)),
    "gemma3": ("gemma3", {"sliding_window": 64}, ()),
    "phi3": ("phi3", {}, ()),
}
METHODS = ["vanilla", "harmful-prefix", "rto", "derta"]
PROMPT = torch.tensor([[1, 30, 40, 50, 60]])


def adapted(name: str) -> list[str]:
    """Overrides for the kind of training."""
    return ["lora=null", "trainer.learning_rate=1e-3"] if name == "full" else []


def trained_logits(
    monkeypatch: pytest.MonkeyPatch, recipe: Any, output: Path
) -> tuple[torch.Tensor, list[dict[str, float]]]:
    """Train; return the logits of the model in memory, and the log."""
    kept: list[Any] = []
    made = run._make_trainer

    def keeping(*args: Any, **kwargs: Any) -> Any:
        kept.append(made(*args, **kwargs))
        return kept[0]

    monkeypatch.setattr(run, "_make_trainer", keeping)
    summary = train_recipe(recipe, output)
    model = kept[0].model.eval()
    with torch.no_grad():
        return model(input_ids=PROMPT).logits, summary.log


def logits_of(output: Path, base: Path, attention: str) -> torch.Tensor:
    """Load what was saved, without derta, and compute its logits."""
    settings: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": attention}
    if (output / "model" / "adapter_config.json").exists():
        plain = AutoModelForCausalLM.from_pretrained(base, **settings)
        with without_foreign_warnings():  # PEFT's, of a mixture's experts
            model: Any = PeftModel.from_pretrained(plain, output / "model")
    else:
        model = AutoModelForCausalLM.from_pretrained(output / "model", **settings)
    with torch.no_grad():
        return model.eval()(input_ids=PROMPT).logits


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_with_a_method_and_plain_transformers_loads_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, method: str, kind: str
) -> None:
    name, settings, overrides = FAMILIES[family]
    base = save_model(tmp_path / "base", name, **settings)
    if kind == "full":
        overrides = tuple(each for each in overrides if not each.startswith("lora."))
    recipe = tiny_recipe(base, write_data(tmp_path), f"method={method}", *overrides, *adapted(kind))
    logits, log = trained_logits(monkeypatch, recipe, tmp_path / "run")
    assert len(log) == 4
    again = logits_of(tmp_path / "run", base, recipe.attention)
    torch.testing.assert_close(again, logits, rtol=1e-5, atol=1e-5)
    plain = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation=recipe.attention
    )
    with torch.no_grad():
        untouched = plain.eval()(input_ids=PROMPT).logits
    assert float((again - untouched).abs().max()) > 1e-2, "nothing was trained"
    if kind == "full":  # the vocabulary is never resized, names are stock
        shapes = {n: w.shape for n, w in saved_weights(base).items()}
        assert {n: w.shape for n, w in saved_weights(tmp_path / "run/model").items()} == shapes


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_with_dpo_from_its_vanilla_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, kind: str
) -> None:
    name, settings, overrides = FAMILIES[family]
    base = save_model(tmp_path / "base", name, **settings)
    if kind == "full":
        overrides = tuple(each for each in overrides if not each.startswith("lora."))
    data = write_data(tmp_path)
    vanilla = tiny_recipe(base, data, "method=vanilla", *overrides, *adapted(kind))
    train_recipe(vanilla, tmp_path / "vanilla")
    dpo = tiny_recipe(
        base,
        data,
        "method=dpo",
        f"dpo.starting_run={tmp_path / 'vanilla'}",
        "dpo.trainer={learning_rate: 0.01, max_steps: 3}",
        *overrides,
        *adapted(kind),
    )
    logits, log = trained_logits(monkeypatch, dpo, tmp_path / "run")
    assert len(log) == 3
    again = logits_of(tmp_path / "run", base, dpo.attention)
    torch.testing.assert_close(again, logits, rtol=1e-5, atol=1e-5)
    before = logits_of(tmp_path / "vanilla", base, dpo.attention)
    assert float((again - before).abs().max()) > 1e-3, "DPO changed nothing"


def test_lora_reaches_the_experts_of_a_mixture_by_their_old_names_and_by_parameter(
    tmp_path: Path,
) -> None:
    base, data = save_model(tmp_path / "base", "mixtral"), write_data(tmp_path)
    attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
    experts = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    choices = {
        "modules": f"lora.target_modules={[*attention, 'w1', 'w2', 'w3']}",
        "parameters": f"lora={{r: 4, target_modules: {attention}, target_parameters: {experts}}}",
    }
    shapes = {}
    for name, choice in choices.items():
        train_recipe(tiny_recipe(base, data, choice), tmp_path / name)
        weights = saved_weights(tmp_path / name / "model")
        shapes[name] = {n: tuple(w.shape) for n, w in weights.items() if ".experts." in n}
        assert not any(".gate." in n for n in weights), "the router is not trained"
    ranks = {name: sorted(min(shape) for shape in found.values()) for name, found in shapes.items()}
    # 4 experts of rank 4; under the old names w1 and w3 have a rank of 4 each.
    assert ranks["parameters"][:2] == [16, 16]
    assert max(ranks["modules"]) == 32


def test_a_parameter_that_the_model_has_not_is_an_error(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base")
    recipe = tiny_recipe(base, write_data(tmp_path), "lora.target_parameters=[mlp.experts.x]")
    with pytest.raises(RecipeError, match="target_parameters"):
        train_recipe(recipe, tmp_path / "run")
