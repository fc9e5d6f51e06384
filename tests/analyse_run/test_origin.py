"""A run's folder says how it was trained and with which refusal words; others say less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from derta.analyse_run.origin import (
    Origin,
    find_origin,
    refusal_ids_of,
    with_untouched_bases,
    words_for,
)
from derta.data.encode import ChatEncoder
from derta.errors import TokenizerError
from derta.train.origin_note import NOTE_NAME, write_origin_note
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


def test_only_the_default_model_is_untouched_by_itself(tmp_path: Path) -> None:
    assert find_origin("default", "it") == Origin("untouched", base_model="it")
    for kind in ("hub", "folder"):
        assert find_origin(kind, str(tmp_path)) == Origin(None)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    assert find_origin("adapter", str(tmp_path)) == Origin(None, base_model="base")
    assert find_origin("provider", "openai/x").method is None


def test_a_model_from_which_another_one_was_trained_is_untouched(tmp_path: Path) -> None:
    base, merged = tmp_path / "base", tmp_path / "merged"
    base.mkdir()
    (tmp_path / "link").symlink_to(base)
    merged.mkdir()
    run = run_folder(tmp_path / "run", f"model={tmp_path / 'link'}", "method=rto")
    references = {
        "base": ("folder", f"{base}/"),
        "merged": ("folder", str(merged)),
        "run": ("run", str(run)),
        "other": ("hub", "owner/other"),
        "server": ("provider", "owner/base"),
        "its base": ("hub", "owner/base"),
        "adapter": ("adapter", str(tmp_path / "adapter")),
    }
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text(
        '{"base_model_name_or_path": "owner/base"}'
    )
    found = with_untouched_bases(
        {name: find_origin(*each) for name, each in references.items()}, references
    )
    assert {name: origin.method for name, origin in found.items()} == {
        "base": "untouched", "merged": None, "run": "rto", "other": None, "server": None,
        "its base": "untouched", "adapter": None,
    }  # fmt: skip


def test_a_merged_model_says_how_it_was_trained(tmp_path: Path) -> None:
    recipe = load_recipe("quickstart", ["method=harmful-prefix", "seed=7", "model=owner/base"])
    write_origin_note(tmp_path, recipe, {"refusal_words": {"fr": {"word": "Désolé"}}})
    assert find_origin("folder", str(tmp_path)) == Origin(
        "harmful_prefix", 7, "owner/base", ("Sorry", "Désolé")
    )
    # The place of a folder is not for others.
    local = load_recipe("quickstart", [f"model={tmp_path}"])
    write_origin_note(tmp_path, local, {})
    assert str(tmp_path) not in (tmp_path / NOTE_NAME).read_text("utf-8")
    assert find_origin("folder", str(tmp_path)).method == str(local.method)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"method": "derta"}', '{"schema": "derta/origin/1", "method": "untouched"}',
     '{"schema": "derta/origin/1", "method": ["derta"]}'],
)  # fmt: skip
def test_a_note_that_derta_did_not_write_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / NOTE_NAME).write_text(text)
    assert find_origin("folder", str(tmp_path)) == Origin(None)


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
