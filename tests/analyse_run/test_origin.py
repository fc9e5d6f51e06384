"""A run's folder says how it was trained and with which refusal words; others say less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from derta.analyse_run.origin import Origin, find_origin, refusal_ids_of, words_for
from derta.data.encode import ChatEncoder
from derta.errors import TokenizerError
from derta.train.recipe import dump_recipe, load_recipe
from tests.tiny import tiny_tokenizer


def run_folder(folder: Path, *overrides: str, manifest: dict[str, Any] | None = None) -> Path:
    (folder / "model").mkdir(parents=True)
    recipe = load_recipe("quickstart", list(overrides))
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), "utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest or {}), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("vanilla", "vanilla"),
        ("harmful-prefix", "harmful_prefix"),
        ("rto", "rto"),
        ("derta", "derta"),
        ("dpo", "dpo"),
    ],
)
def test_a_runs_recipe_names_method_seed_and_base_model(
    method: str, name: str, tmp_path: Path
) -> None:
    run = run_folder(tmp_path / "run", f"method={method}", "seed=7", "rows.helpful_margin=0")
    for reference in (str(run), str(run / "model"), f"derta/{run}"):
        origin = find_origin("run", reference)
        assert (origin.method, origin.seed) == (name, 7)
        assert origin.base_model == load_recipe("quickstart").model
        assert origin.words == ("Sorry",)


def test_words_of_languages_are_those_of_the_recipe_or_what_auto_came_to(tmp_path: Path) -> None:
    named = run_folder(tmp_path / "named", "refusal_words={de: Leider}", "refusal_word=Stop")
    assert find_origin("run", str(named)).words == ("Stop", "Leider")
    told = {"default": {"word": "Sorry", "token_id": 7}, "fr": {"word": "Désolé", "token_id": 9}}
    auto = run_folder(tmp_path / "auto", "refusal_words=auto", manifest={"refusal_words": told})
    assert find_origin("run", str(auto)).words == ("Sorry", "Désolé")


def test_a_model_that_was_not_trained_here_is_untouched_and_an_adapter_unknown(
    tmp_path: Path,
) -> None:
    for kind in ("default", "hub", "folder"):
        assert find_origin(kind, "somewhere") == Origin("untouched", base_model="somewhere")
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    assert find_origin("adapter", str(tmp_path)) == Origin(None, base_model="base")
    assert find_origin("provider", "openai/x").method is None


def test_models_without_words_are_measured_with_those_of_the_others() -> None:
    untouched = Origin("untouched")
    first, second = Origin("derta", words=("Sorry", "Leider")), Origin("rto", words=("Stop",))
    together = [untouched, first, second]
    assert words_for(untouched, together, ()) == ("Sorry", "Leider", "Stop")
    assert words_for(second, together, ()) == ("Stop",)
    assert words_for(untouched, [untouched], ()) == ("Sorry",)
    assert words_for(first, together, ("No", "No")) == ("No",)


def test_words_that_are_several_tokens_are_told_and_left_out() -> None:
    encoder = ChatEncoder(tiny_tokenizer())
    found, unusable = refusal_ids_of(encoder, ("Sorry", "Entschuldigung"))
    assert list(found) == ["Sorry"]
    assert unusable == ["Entschuldigung"]
    with pytest.raises(TokenizerError, match="--refusal-word"):
        refusal_ids_of(encoder, ("Entschuldigung",))
