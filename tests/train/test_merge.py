"""A merged model computes what base and adapter compute together, and is a stock model.

Covered: tiny models in float32 and bfloat16, dense, tied and MoE, whole or not at all. Not
covered: a quantised base, which takes a GPU; its recipe is tested on unquantised weights.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from derta.errors import ModelError, RecipeError
from derta.train.merge import merge_run
from derta.train.origin_note import read_origin_note
from derta.train.recipe import Recipe, dump_recipe, load_recipe
from tests.tiny import PEFT_WARNING, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
PROMPT = torch.tensor([[1, 20, 30, 40, 50]])
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


@contextlib.contextmanager
def without_peft_warnings() -> Iterator[None]:
    """Hide what PEFT says of embeddings and experts; merging has to be quiet by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make_run(
    folder: Path,
    family: str = "llama",
    *,
    lora: dict[str, Any] | None,
    dtype: torch.dtype = torch.float32,
    **changed: Any,
) -> Path:
    """Make what a finished run leaves: with `lora` an adapter of random weights, else a model."""
    base, run = folder / "base", folder / "run"
    model: Any = tiny_model(family, dtype=dtype)
    model.save_pretrained(base)
    if lora is not None:
        torch.manual_seed(1)
        settings = LoraConfig(
            r=4, lora_alpha=8, init_lora_weights=False, task_type="CAUSAL_LM", **lora
        )
        with without_peft_warnings():
            model = get_peft_model(model, settings)
    with without_peft_warnings():
        model.save_pretrained(run / "model")
    tiny_tokenizer().save_pretrained(run / "model")
    values = {
        "model": str(base),
        "method": "derta",
        "data": {"triples": "sample"},
        "lora": None if lora is None else {"r": 4, "alpha": 8, **lora},
    }
    recipe = Recipe.model_validate({**values, **changed})
    (run / "recipe.yaml").write_text(dump_recipe(recipe))
    (run / "manifest.json").write_text(json.dumps({"fingerprint": "0", "derta": "0"}))
    (run / "training.json").write_text(json.dumps({"method": "derta", "log": []}))
    return run


def trained_logits(run: Path) -> torch.Tensor:
    """Compute with the adapter beside its base, as plain PEFT loads them."""
    base = AutoModelForCausalLM.from_pretrained(run.parent / "base", dtype="auto")
    with without_peft_warnings():
        model = PeftModel.from_pretrained(base, run / "model").eval()
    return model(input_ids=PROMPT).logits


def merged_model(output: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(output, dtype="auto").eval()


@pytest.mark.parametrize(
    ("family", "lora"),
    [
        ("llama", {"target_modules": "all-linear"}),
        ("llama", {"target_modules": ["q_proj", "lm_head", "embed_tokens"]}),
        ("llama-tied", {"target_modules": "all-linear"}),
        ("llama-tied", {"target_modules": ["q_proj", "lm_head"]}),
        ("llama-tied", {"target_modules": ["q_proj", "embed_tokens"]}),
        ("gemma2", {"target_modules": "all-linear"}),
        ("mixtral", {"target_modules": "all-linear"}),
        ("mixtral", {"target_modules": "all-linear", "target_parameters": EXPERTS}),
        ("mixtral", {"target_modules": ["q_proj"], "target_parameters": EXPERTS[1:]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(map(str, value.values())),
)
def test_the_merged_model_gives_the_logits_of_base_and_adapter(
    tmp_path: Path, family: str, lora: dict[str, Any]
) -> None:
    run = make_run(tmp_path, family, lora=lora)
    wanted = trained_logits(run)
    untouched = tiny_model(family)
    assert (wanted - untouched(PROMPT).logits).abs().max() > 0.5  # the adapter does something
    model = merged_model(merge_run(run, tmp_path / "merged"))
    torch.testing.assert_close(model(PROMPT).logits, wanted, rtol=1e-5, atol=2e-5)
    stock = {name: weight.shape for name, weight in untouched.state_dict().items()}
    assert {name: weight.shape for name, weight in model.state_dict().items()} == stock


def test_weights_keep_the_data_type_of_the_base_and_are_rounded_once(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora={"target_modules": "all-linear"}, dtype=torch.bfloat16)
    merge_run(run, tmp_path / "merged")
    exact = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32), run / "model"
    ).merge_and_unload()
    found = load_file(tmp_path / "merged" / "model.safetensors")
    assert len(found) == len(exact.state_dict())
    for name, weight in exact.state_dict().items():
        assert found[name].dtype == torch.bfloat16
        # The nearest bfloat16, but where float32's own rounding decides between two.
        torch.testing.assert_close(found[name].float(), weight, rtol=2**-8, atol=1e-6)


def test_a_quantised_run_is_merged_into_weights_in_bfloat16(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora={"target_modules": "all-linear"}, quantization="nf4")
    output = merge_run(run, tmp_path / "merged")
    assert merged_model(output).dtype == torch.bfloat16
    assert "quantization_config" not in json.loads((output / "config.json").read_text())
    assert "4 bits" in (output / "README.md").read_text()


def test_tokenizer_and_card_lie_beside_the_weights_and_nothing_of_the_adapter(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path, lora={"target_modules": "all-linear"})
    output = merge_run(run, tmp_path / "deep" / "merged")
    names = {path.name for path in output.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= names
    note = read_origin_note(output)
    assert note is not None
    assert note.method == str(load_recipe(run / "recipe.yaml").method).replace("-", "_")
    assert not any("adapter" in name for name in names)
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    assert tokenizer("Sorry I cannot").input_ids == tiny_tokenizer()("Sorry I cannot").input_ids
    assert "library_name: transformers" in (output / "README.md").read_text()
    assert list(output.parent.iterdir()) == [output]


def test_a_run_that_trained_all_parameters_is_copied(tmp_path: Path) -> None:
    run = make_run(tmp_path, "llama-tied", lora=None)
    (run / "model" / "README.md").write_text("of the run")
    output = merge_run(run, tmp_path / "merged")
    for path in (run / "model").iterdir():
        if path.name != "README.md":
            assert (output / path.name).read_bytes() == path.read_bytes()
    assert "library_name: transformers" in (output / "README.md").read_text()
    assert torch.equal(merged_model(output)(PROMPT).logits, tiny_model("llama-tied")(PROMPT).logits)


def test_the_run_is_left_as_it_was(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora={"target_modules": "all-linear"})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    merge_run(run, tmp_path / "merged")
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("lora", [None, {"target_modules": "all-linear"}])
def test_progress_is_told_from_nothing_to_all(tmp_path: Path, lora: dict[str, Any] | None) -> None:
    run = make_run(tmp_path, lora=lora)
    told: list[tuple[int, int]] = []
    merge_run(run, tmp_path / "merged", progress=lambda *both: told.append(both))
    total = told[0][1]
    assert told == [(done, total) for done in range(total + 1)]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora=None)
    (tmp_path / "merged").mkdir()
    assert (merge_run(run, tmp_path / "merged") / "config.json").exists()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("recipe.yaml", "no run folder.*--output"),
        ("manifest.json", "no run folder.*--output"),
        ("training.json", "isn't finished.*goes on from the last checkpoint"),
    ],
)
def test_a_folder_that_is_no_finished_run_is_an_error_with_the_remedy(
    tmp_path: Path, missing: str, words: str
) -> None:
    run = make_run(tmp_path, lora=None)
    (run / missing).unlink()
    with pytest.raises(ModelError, match=words):
        merge_run(run, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_run_without_its_model_is_unfinished(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora=None)
    (run / "model").rename(run / "model.partial")
    with pytest.raises(ModelError, match="isn't finished"):
        merge_run(run, tmp_path / "merged")


def test_a_folder_that_is_not_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no run folder"):
        merge_run(tmp_path / "nothing", tmp_path / "merged")


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_broken_manifest_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path, lora=None)
    (run / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match=r"manifest\.json"):
        merge_run(run, tmp_path / "merged")


def test_a_recipe_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora=None)
    (run / "recipe.yaml").write_text("method: magic\n")
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        merge_run(run, tmp_path / "merged")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_already_is_never_replaced(tmp_path: Path, kind: str) -> None:
    run, output = make_run(tmp_path, lora=None), tmp_path / "merged"
    kept = output / "thesis.txt" if kind == "folder" else output
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(ModelError, match="something already"):
        merge_run(run, output)
    assert kept.read_text() == "mine"


def test_the_merged_model_cannot_lie_in_the_model_that_is_merged(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora=None)
    with pytest.raises(ModelError, match="Name another folder"):
        merge_run(run, run / "model" / "merged")


def test_a_place_that_cannot_be_written_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora=None)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"can't be written.*Name a folder"):
        merge_run(run, tmp_path / "file" / "merged")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, lora=None)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("derta.train.merge.write_card", full)
    with pytest.raises(ModelError, match=r"No space left.*with room"):
        merge_run(run, tmp_path / "out" / "merged")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("layers", [1, 3])
def test_an_adapter_of_another_depth_is_not_merged_in_part(tmp_path: Path, layers: int) -> None:
    run = make_run(tmp_path, lora={"target_modules": ["q_proj"]})
    tiny_model("llama", num_hidden_layers=layers).save_pretrained(tmp_path / "base")
    with pytest.raises(ModelError, match=r"no counterpart.*recipe\.yaml"):
        merge_run(run, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_adapter_of_another_width_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora={"target_modules": ["q_proj"]})
    tiny_model("llama", hidden_size=64).save_pretrained(tmp_path / "base")
    with pytest.raises(ModelError, match="can't be merged"):
        merge_run(run, tmp_path / "merged")


def test_a_base_model_that_is_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora={"target_modules": ["q_proj"]})
    (tmp_path / "base" / "config.json").unlink()
    with pytest.raises(ModelError, match="can't load the model"):
        merge_run(run, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "run"]


def test_a_full_run_without_safetensors_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path, lora=None)
    (run / "model" / "model.safetensors").rename(run / "model" / "pytorch_model.bin")
    with pytest.raises(ModelError, match="neither an adapter nor weights"):
        merge_run(run, tmp_path / "merged")
