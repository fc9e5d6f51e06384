"""The made-up folder is like a real one, so that what is built on it holds for real ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from derta.analysis.evaluation_folder import read_evaluation
from derta.analysis.outcomes import read_outcomes
from derta.analysis.readings import load_readings, read_about
from derta.evaluate.refusals import find_first_refusal
from derta.evaluate.suite import ALL_SCENARIOS, HELPFULNESS
from tests.analysis.fake_run import (
    HOSTILE_TEXTS,
    LONGEST_HOSTILE,
    METHODS,
    model_names,
    pieces,
    write_fake_run,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fake")
    write_fake_run(place)
    return place


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    write_fake_run(place, hostile=True)
    return place


def test_every_scenario_is_there(folder: Path) -> None:
    outcomes = read_outcomes(folder / "outcomes.jsonl")
    assert {each.scenario for each in outcomes} == set(ALL_SCENARIOS) - {HELPFULNESS}
    verdicts = Counter(each.verdict for each in outcomes)
    assert set(verdicts) == {"UNSAFE", "SAFE", "UNREADABLE", "ERROR"}
    assert verdicts["ERROR"] > 5
    assert verdicts["UNREADABLE"] > 5
    evaluation = read_evaluation(folder)
    assert len(evaluation["skipped"]) == 1
    assert list(evaluation["models"]) == model_names(3)
    assert evaluation["settings"]["minimum_samples"] == 20


def test_refusals_are_where_the_rules_find_them(folder: Path) -> None:
    checked = 0
    for each in read_outcomes(folder / "outcomes.jsonl")[::7]:
        if each.verdict in ("ERROR", "UNREADABLE"):
            continue
        found = find_first_refusal(each.response, truncated=each.truncated)
        assert (found.refused, found.start, found.words_before) == (
            each.refused, each.refusal_start, each.words_before_refusal,
        ), each.response  # fmt: skip
        checked += found.refused
    assert checked > 50


def test_readings_hold_together_and_all_models_read_the_same_texts(folder: Path) -> None:
    readings = load_readings(folder)
    assert list(dict.fromkeys(each.model for each in readings)) == model_names(3)
    texts = {
        model: [
            (each.question_id, each.response)
            for each in readings
            if each.model == model and each.source != "response"
        ]
        for model in model_names(3)
    }
    assert texts["untouched"] == texts["vanilla"] == texts["derta"]
    assert len(texts["derta"]) == 75
    outcomes = {
        (o.model, o.scenario, o.cell, o.question_id): o
        for o in read_outcomes(folder / "outcomes.jsonl")
    }
    for each in readings:
        assert "".join(each.tokens) == each.prefilled + each.response
        assert "".join(each.tokens[: each.prefilled_tokens]) == each.prefilled
        if each.source == "response":
            own = outcomes[each.model, each.scenario, each.cell, each.question_id]
            assert (own.prefilled, own.response) == (each.prefilled, each.response)
    about = read_about(folder, "derta")
    assert about is not None
    assert about["method"] == METHODS["derta"]


def test_the_same_seed_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_fake_run(tmp_path / "same")
    write_fake_run(tmp_path / "other", seed=1)
    for name in ("evaluation.json", "outcomes.jsonl"):
        assert (tmp_path / "same" / name).read_bytes() == (folder / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()


def test_one_model_and_few_questions_serve_too(tmp_path: Path) -> None:
    write_fake_run(tmp_path, models=1, questions=2)
    assert len(read_evaluation(tmp_path)["subjects"]) == 1
    assert {each.model for each in load_readings(tmp_path)} == {"untouched"}


def test_every_hostile_text_is_somewhere(hostile: Path) -> None:
    outcomes = read_outcomes(hostile / "outcomes.jsonl")
    for text in HOSTILE_TEXTS:
        assert any(each.response == text for each in outcomes)
        assert any(text in each.question for each in outcomes)
    assert max(len(each.response) for each in outcomes) == LONGEST_HOSTILE
    names = [
        each["name"] for each in json.loads((hostile / "evaluation.json").read_text())["subjects"]
    ]
    assert names == model_names(3, hostile=True)
    assert any("<script>" in name for name in names)
    assert list(dict.fromkeys(each.model for each in load_readings(hostile))) == names


def test_pieces_concatenate_to_their_text() -> None:
    for text in ("", " ", "a b", "a  \n b ", *HOSTILE_TEXTS):
        assert "".join(pieces(text)) == text
