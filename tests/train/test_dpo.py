"""DPO: what it is trained on, what it starts from, and that its loss is the published one.

Covered: pairs of files and of the sample set, the checks of the starting run, the loss beside a
plain loop, resuming, what is saved. Not covered: several processes, a GPU.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from derta.data.encode import ChatEncoder
from derta.data.epoch import TrainingExamples
from derta.data.models import load_model, load_tokenizer
from derta.errors import DataError, ModelError, RecipeError
from derta.files import write_atomically
from derta.train import dpo
from derta.train.dpo import Pair, Pairs, load_pairs, make_dpo_trainer, starting_run
from derta.train.recipe import Recipe, dump_recipe
from derta.train.run import train_recipe
from derta.train.settings import trainer_values
from derta.train.source import load_training_data, row_settings
from derta.triple import Conversation
from tests.tiny import PEFT_WARNING, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)

TRIPLES = [
    {
        "prompt": f"how do I {verb} in an exam",
        "chosen": "Sorry I cannot help with that",
        "rejected": f"sure here is the first step then you {verb} and wait",
    }
    for verb in ("cheat", "copy", "hide a note", "look around", "bribe the cat")
]
HELPFUL = [
    {"prompt": "how do I bake bread", "completion": "mix flour and water then wait an hour"},
    {
        "prompt": "how do I make a cake",
        "completion": "mix flour and water and bake",
        "rejected": "you bake a cake",
    },
    {
        "prompt": "what is the first step",
        "completion": "the first step is flour",
        "finished": False,
        "rejected": "I cannot help with a step",
    },
]
KINDS = ["full", "lora"]
NUMBERS = {
    "learning_rate": 5e-3,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 4,
    "max_steps": 6,
    "use_cpu": True,
}


def _rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _recipe(folder: Path, kind: str = "full", **changes: Any) -> Recipe:
    """Make the recipe of a DPO run from the vanilla run in the folder."""
    values: dict[str, Any] = {
        "model": str(folder / "base"),
        "method": "dpo",
        "seed": 3,
        "check_memory": False,
        "data": {
            "triples": str(folder / "triples.jsonl"),
            "helpful": str(folder / "helpful.jsonl"),
        },
        "lora": {"r": 4, "alpha": 16} if kind == "lora" else None,
        "dpo": {"starting_run": str(folder / kind), "beta": 0.3, "trainer": NUMBERS},
        "trainer": NUMBERS,
    }
    return Recipe.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, data, and a vanilla run of each kind."""
    folder = tmp_path_factory.mktemp("dpo")
    tokenizer = tiny_tokenizer()
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = tiny_model("llama", vocab_size=len(tokenizer), initializer_range=0.1, **ends)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    _rows(folder / "triples.jsonl", TRIPLES)
    _rows(folder / "helpful.jsonl", HELPFUL)
    for kind in KINDS:
        train_recipe(_recipe(folder, kind, method="vanilla"), folder / kind)
    return folder


@pytest.fixture
def encoder() -> ChatEncoder:
    return ChatEncoder(tiny_tokenizer())


def _trainer(
    folder: Path, output: Path, kind: str, recipe: Recipe | None = None, **more: Any
) -> Any:
    recipe = recipe or _recipe(folder, kind)
    tokenizer = load_tokenizer(recipe.model)
    arguments = {
        **NUMBERS,
        "output_dir": str(output),
        "report_to": [],
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **more,
    }
    pairs = load_pairs(recipe, ChatEncoder(tokenizer))
    return make_dpo_trainer(recipe, starting_run(recipe), pairs, tokenizer, arguments)


def _losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _vanilla(folder: Path, kind: str) -> nn.Module:
    """Load what the vanilla run saved, by plain transformers and peft."""
    if kind == "full":
        return AutoModelForCausalLM.from_pretrained(folder / kind / "model").eval()
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    return PeftModel.from_pretrained(base, str(folder / kind / "model")).eval()


@torch.no_grad()
def _log_probability(model: nn.Module, prompt: tuple[int, ...], response: tuple[int, ...]) -> float:
    logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0].double()
    total = 0.0
    for place, token in enumerate(response, start=len(prompt)):
        total += float(logits[place - 1].log_softmax(-1)[token])
    return total


def _margin(model: nn.Module, pair: Pair) -> float:
    return _log_probability(model, pair.prompt_ids, pair.chosen_ids) - _log_probability(
        model, pair.prompt_ids, pair.rejected_ids
    )


def _loss(policy: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> float:
    """Compute equation 7 of the DPO paper in a plain loop."""
    total = 0.0
    for pair in pairs.rows:
        rewards = beta * (_margin(policy, pair) - _margin(reference, pair))
        total += -math.log(1 / (1 + math.exp(-rewards)))
    return total / len(pairs.rows)


# --- the pairs ---------------------------------------------------------------------------------


def test_pairs_hold_the_ids_that_vanilla_is_trained_on(folder: Path, encoder: ChatEncoder) -> None:
    recipe = _recipe(folder)
    pairs = load_pairs(recipe, encoder)
    vanilla = _recipe(folder, method="vanilla")
    examples = TrainingExamples(
        load_training_data(vanilla, encoder).examples, row_settings(vanilla, 0)
    )
    rows = [examples.rows(0, index)[0] for index in range(len(examples)) if index != len(TRIPLES)]
    assert len(pairs.rows) == len(rows) == len(TRIPLES) + 2
    for pair, row in zip(pairs.rows, rows, strict=True):
        assert (*pair.prompt_ids, *pair.chosen_ids[:-1]) == row.token_ids
        assert pair.chosen_ids == row.target_ids


def test_a_rejected_response_ends_like_the_chosen_one(folder: Path, encoder: ChatEncoder) -> None:
    pairs = load_pairs(_recipe(folder), encoder)
    sources = [*TRIPLES, HELPFUL[1], HELPFUL[2]]
    for pair, row in zip(pairs.rows, sources, strict=True):
        prompt = Conversation.from_text(row["prompt"])
        assert pair.prompt_ids == encoder.prompt_ids(prompt)
        assert pair.rejected_ids == encoder.response_ids(prompt, row["rejected"])
        assert pair.rejected_ids[-1] == encoder.tokenizer.eos_token_id
        cut_off = row.get("finished") is False
        assert (pair.chosen_ids[-1] == encoder.tokenizer.eos_token_id) != cut_off


def test_helpful_rows_without_a_rejected_response_are_counted(
    folder: Path, encoder: ChatEncoder
) -> None:
    pairs = load_pairs(_recipe(folder), encoder)
    assert (pairs.without_rejected, pairs.left_out) == (1, 0)
    hashes = load_training_data(_recipe(folder), encoder).hashes
    assert {path: entry["sha256"] for path, entry in pairs.hashes.items()} == {
        path: entry["sha256"] for path, entry in hashes.items()
    }
    assert [entry["rows"] for entry in pairs.hashes.values()] == [len(TRIPLES), 2]


def test_the_sample_sets_triples_make_pairs_and_its_helpful_rows_are_counted(
    folder: Path, encoder: ChatEncoder
) -> None:
    data = {"triples": "sample", "helpful": "sample", "ordinary_rows": 3, "look_alike_rows": 2}
    recipe = _recipe(folder, data={**data, "triple_rows": 4}, rows={"max_length": 8000})
    pairs = load_pairs(recipe, encoder)
    assert (len(pairs.rows), pairs.without_rejected) == (4, 5)
    assert [entry["rows"] for entry in pairs.hashes.values()] == [4, 0]


def test_fewer_rows_are_those_that_vanilla_draws(folder: Path, encoder: ChatEncoder) -> None:
    data = {**_recipe(folder).data.model_dump(), "triple_rows": 2, "helpful_rows": 2}
    recipe = _recipe(folder, data=data)
    pairs = load_pairs(recipe, encoder)
    drawn = load_training_data(recipe, encoder).examples
    assert [pair.prompt_ids for pair in pairs.rows[:2]] == [each.prompt_ids for each in drawn[:2]]
    assert len(pairs.rows) + pairs.without_rejected == 4


def test_limits_cut_a_harmful_response_and_its_end(folder: Path, encoder: ChatEncoder) -> None:
    whole = load_pairs(_recipe(folder), encoder).rows[0]
    cut = load_pairs(_recipe(folder, rows={"max_harmful_length": 5}), encoder).rows[0]
    assert cut.chosen_ids == whole.chosen_ids
    assert cut.rejected_ids == whole.rejected_ids[:5]
    limit = len(whole.prompt_ids) + len(whole.chosen_ids) + 6
    rows = {"max_length": limit, "overlong": "truncate"}
    triples = _rows(folder / "one.jsonl", TRIPLES[:1])
    cut = load_pairs(_recipe(folder, rows=rows, data={"triples": triples}), encoder).rows[0]
    assert cut.rejected_ids == whole.rejected_ids[:6]


def test_an_over_long_rejected_response_is_an_error_or_left_out(
    folder: Path, encoder: ChatEncoder
) -> None:
    helpful = [{**HELPFUL[1], "rejected": "bake " * 200}, HELPFUL[2]]
    data = {
        "triples": str(folder / "triples.jsonl"),
        "helpful": _rows(folder / "long.jsonl", helpful),
    }
    with pytest.raises(DataError, match=r"long\.jsonl:1 \(rejected\).*Raise rows\.max_length"):
        load_pairs(_recipe(folder, data=data, rows={"max_length": 150}), encoder)
    for overlong, left_out in (("skip", 1), ("truncate", 0)):
        rows = {"max_length": 150, "overlong": overlong}
        pairs = load_pairs(_recipe(folder, data=data, rows=rows), encoder)
        assert (pairs.left_out, len(pairs.rows)) == (left_out, len(TRIPLES) + 2 - left_out)
    cut = pairs.rows[len(TRIPLES)]
    assert len(cut.prompt_ids) + len(cut.rejected_ids) == 150
    assert cut.rejected_ids[-1] != encoder.tokenizer.eos_token_id


def test_no_pair_at_all_is_an_error(folder: Path, encoder: ChatEncoder) -> None:
    with pytest.raises(DataError, match=r"no row is left after 5 over-long ones"):
        load_pairs(_recipe(folder, rows={"max_length": 20, "overlong": "skip"}), encoder)


def test_a_file_that_changes_while_it_is_read_is_an_error(
    folder: Path, encoder: ChatEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpo, "_helpful_by_line", lambda *_: {})
    with pytest.raises(DataError, match="was changed while it was read"):
        load_pairs(_recipe(folder), encoder)


# --- the starting run --------------------------------------------------------------------------


def test_a_finished_vanilla_run_is_found_and_told_from_its_repetition(folder: Path) -> None:
    start = starting_run(_recipe(folder))
    assert (start.folder, start.recipe.method) == (folder / "full", "vanilla")
    assert Path(start.model) == folder / "full" / "model"
    again = folder / "again"
    shutil.copytree(folder / "full", again)
    copied = _recipe(folder, dpo={"starting_run": str(again)})
    assert starting_run(copied).fingerprint == start.fingerprint
    summary = json.loads((again / "training.json").read_text())
    (again / "training.json").write_text(json.dumps({**summary, "seconds": 1e9}))
    assert starting_run(copied).fingerprint != start.fingerprint


def test_without_a_starting_run_the_error_says_how_to_train_one(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"derta train RECIPE method=vanilla --output"):
        starting_run(_recipe(folder, dpo={}))


@pytest.mark.parametrize("missing", ["training.json", "model", "recipe.yaml", "manifest.json"])
def test_an_unfinished_run_is_no_start(folder: Path, tmp_path: Path, missing: str) -> None:
    shutil.copytree(folder / "full", tmp_path / "run")
    (tmp_path / "run" / missing).rename(tmp_path / "gone")
    with pytest.raises(RecipeError, match=r"no finished run\. Train one with"):
        starting_run(_recipe(folder, dpo={"starting_run": str(tmp_path / "run")}))


def test_a_recipe_of_a_starting_run_that_cannot_be_read_is_named(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "full", tmp_path / "run")
    write_atomically(tmp_path / "run" / "recipe.yaml", "model: [\n")
    with pytest.raises(RecipeError, match=r"can't be read any more"):
        starting_run(_recipe(folder, dpo={"starting_run": str(tmp_path / "run")}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"method": "derta"}, "method is derta there, and vanilla is needed"),
        ({"model": "other"}, "model is 'other' there and"),
        ({"prompt_format": "inst"}, "prompt_format is 'inst' there and 'chat' here"),
        ({"refusal_word": "No"}, "refusal_word is 'No' there and 'Sorry' here"),
        ({"lora": {"r": 8}}, "an adapter is (lora) trained there and all parameters are trained"),
    ],
)
def test_a_run_that_does_not_suit_names_what_differs(
    folder: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    shutil.copytree(folder / "full", tmp_path / "run")
    other = _recipe(folder, **{"method": "vanilla", **change})
    write_atomically(tmp_path / "run" / "recipe.yaml", dump_recipe(other))
    with pytest.raises(RecipeError) as caught:
        starting_run(_recipe(folder, dpo={"starting_run": str(tmp_path / "run")}))
    assert named in str(caught.value)
    assert "derta train RECIPE method=vanilla" in str(caught.value)


def test_another_adapter_than_the_starting_runs_is_an_error(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"lora\.r is 4 there and 8 here"):
        starting_run(_recipe(folder, "lora", lora={"r": 8, "alpha": 16}))


def test_one_folder_written_in_two_ways_is_one_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    starting_run(_recipe(folder, model="base"))


# --- the loss ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_published_one_against_the_vanilla_model(
    folder: Path, tmp_path: Path, encoder: ChatEncoder, kind: str
) -> None:
    pairs = load_pairs(_recipe(folder), encoder)
    count = len(pairs.rows)
    trainer = _trainer(folder, tmp_path, kind, per_device_train_batch_size=count, max_steps=1)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    trainer.model.eval()
    vanilla = _vanilla(folder, kind)
    expected = _loss(trainer.model, vanilla, pairs, 0.3)
    base = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    against_base = _loss(trainer.model, base, pairs, 0.3)
    trainer.train()
    # The tolerance is float32's: sums of some ten log-probabilities.
    assert _losses(trainer)[0] == pytest.approx(expected, abs=1e-4)
    # Otherwise neither the comparison above nor the next one could fail.
    assert abs(expected - math.log(2)) > 0.01
    assert abs(expected - against_base) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_loss_is_log_2_because_policy_and_reference_are_the_same(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    trainer = _trainer(folder, tmp_path, kind, max_steps=1)
    trainer.train()
    assert _losses(trainer)[0] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_training_widens_the_margin_and_keeps_the_reference(
    folder: Path, tmp_path: Path, encoder: ChatEncoder, kind: str
) -> None:
    trainer = _trainer(folder, tmp_path, kind)
    frozen = [
        parameter
        for owner in (trainer.model, trainer.ref_model)
        if owner is not None
        for name, parameter in owner.named_parameters()
        if owner is trainer.ref_model or ".ref." in name
    ]
    before = [parameter.clone() for parameter in frozen]
    assert frozen
    assert not any(parameter.requires_grad for parameter in frozen)
    trainer.train()
    assert all(map(torch.equal, frozen, before))
    assert _losses(trainer)[-1] < 0.9 * _losses(trainer)[0]
    vanilla = _vanilla(folder, kind)
    policy = trainer.model.eval()
    pairs = load_pairs(_recipe(folder), encoder).rows
    wider = [_margin(policy, pair) > _margin(vanilla, pair) for pair in pairs]
    assert sum(wider) > 0.8 * len(wider)


@pytest.mark.parametrize("micro_batch", [4, 2])
def test_the_split_of_a_step_into_micro_batches_changes_nothing(
    folder: Path, tmp_path: Path, micro_batch: int
) -> None:
    # 7 pairs in steps of 8: 4 + 3 or 2 + 2 + 2 + 1, where a mean of means is another loss.
    found = []
    for size in (8, micro_batch):
        split = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
        trainer = _trainer(folder, tmp_path, "full", optim="sgd", max_steps=4, **split)
        trainer.train()
        found.append((_losses(trainer), _weights(trainer.model)))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    for name, weight in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], weight, rtol=1e-4, atol=1e-6)


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


# --- the trainer -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_gives_the_same_weights_bit_for_bit(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 3}
    whole = _trainer(folder, tmp_path, kind, **saving)
    whole.train()
    shutil.rmtree(tmp_path / "checkpoint-6")
    resumed = _trainer(folder, tmp_path, kind, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert resumed.state.global_step == 6
    expected = _weights(whole.model)
    start = _vanilla(folder, kind).state_dict()
    assert any(not torch.equal(start[name], weight) for name, weight in expected.items())
    for name, weight in _weights(resumed.model).items():
        assert torch.equal(weight, expected[name]), name
    assert _losses(resumed) == _losses(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_the_order_and_so_the_weights(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    def weights(seed: int, elsewhere: int) -> dict[str, torch.Tensor]:
        recipe = _recipe(folder, kind, seed=seed)
        trainer = _trainer(folder, tmp_path, kind, recipe, max_steps=2)
        torch.manual_seed(elsewhere)  # the global generator decides nothing
        trainer.train()
        return _weights(trainer.model)

    first, second, other = weights(3, 1), weights(3, 2), weights(4, 1)
    assert all(torch.equal(second[name], weight) for name, weight in first.items())
    assert not all(torch.equal(other[name], weight) for name, weight in first.items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_model_is_stock_and_without_its_reference(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    trainer = _trainer(folder, tmp_path / "run", kind)
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    assert not [path for path in (tmp_path / "model").iterdir() if path.is_dir()]
    assert not list(tmp_path.rglob("README.md")) or kind == "lora"  # peft's own
    if kind == "full":
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    else:
        base = AutoModelForCausalLM.from_pretrained(folder / "base")
        again = PeftModel.from_pretrained(base, str(tmp_path / "model"))
    ids = torch.tensor([[3, 40, 50, 60]])
    trainer.model.eval()
    expected = trainer.model(input_ids=ids).logits
    assert torch.equal(again.eval()(input_ids=ids).logits, expected)
    assert not torch.equal(_vanilla(folder, kind)(input_ids=ids).logits, expected)


def test_a_trainer_without_its_reference_adapter_refuses_to_train(
    folder: Path, tmp_path: Path
) -> None:
    trainer = _trainer(folder, tmp_path, "lora", max_steps=1)
    trainer.train()
    with pytest.raises(ModelError, match="frozen copy of the starting adapter is missing"):
        trainer.train()


def test_bf16_and_checkpointing_are_off_unless_asked_for(folder: Path, tmp_path: Path) -> None:
    arguments = _trainer(folder, tmp_path, "full").args
    for name in ("bf16", "activation_checkpointing", "gradient_checkpointing"):
        assert not getattr(arguments, name), name
    assert (arguments.seed, arguments.beta, arguments.max_length) == (3, 0.3, None)
    asked = _trainer(folder, tmp_path, "full", bf16=True, activation_checkpointing=True).args
    assert asked.bf16
    assert asked.activation_checkpointing


def test_the_tokenizer_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    recipe = _recipe(folder)
    tokenizer = load_tokenizer(recipe.model)
    tokenizer.pad_token = None
    pairs = load_pairs(recipe, ChatEncoder(tokenizer))
    arguments = {"output_dir": str(tmp_path), "report_to": [], "use_cpu": True}
    make_dpo_trainer(recipe, starting_run(recipe), pairs, tokenizer, arguments)
    assert tokenizer.pad_token is None


def test_nothing_is_sent_anywhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(
        "trl.trainer.base_trainer.send_telemetry", lambda *_, **values: sent.append(values)
    )
    monkeypatch.delenv("CI", raising=False)
    _trainer(folder, tmp_path, "full")
    assert sent == []


def test_without_trl_the_error_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl.trainer.dpo_trainer", None)
    with pytest.raises(ModelError, match=r"pip install 'derta\[dpo\]'"):
        _trainer(folder, tmp_path, "full")


def test_divided_weights_are_refused_with_a_remedy(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="sharding=null"):
        _trainer(folder, tmp_path, "full", _recipe(folder, sharding="fsdp2"))


def test_settings_that_trl_refuses_are_an_error_of_the_recipe(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="method dpo: TRL refuses this recipe"):
        _trainer(folder, tmp_path, "full", fp16=True, bf16=True)


def test_dpos_own_trainer_keys_come_before_the_recipes(folder: Path) -> None:
    own = {"learning_rate": 1e-6, "num_train_epochs": 1}
    recipe = _recipe(folder, dpo={"trainer": own}, trainer={"max_steps": 9, "warmup_steps": 2})
    assert trainer_values(recipe) == {"warmup_steps": 2, **own}


def test_a_recipe_with_method_dpo_becomes_a_run(folder: Path, tmp_path: Path) -> None:
    summary = train_recipe(_recipe(folder), tmp_path / "run")
    assert (summary.method, summary.optimizer_steps, summary.examples) == ("dpo", 6, 7)
    model = load_model(str(tmp_path / "run" / "model"))
    ids = torch.tensor([[3, 40, 50, 60]])
    assert not torch.equal(model(ids).logits, _vanilla(folder, "full")(ids).logits)
