"""All figures together: made of the files alone, JSON-ready, and empty where nothing is known."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derta.analysis.analyse import FIGURES, SCHEMA, analyse
from derta.analysis.detection import detection
from derta.analysis.evaluation_folder import read_evaluation
from derta.analysis.exposure import exposures
from derta.analysis.outcomes import ERROR, Outcome, read_outcomes
from derta.analysis.readings import Reading, load_readings
from derta.analysis.refusal_place import refusal_places
from derta.analysis.shares import compare_models, depth_curve
from tests.analysis.fake_run import METHODS, fake_outcomes, fake_readings, write_fake_run
from tests.analysis.making import benign, outcome, reading, refusal

NAMES = ["untouched", "vanilla", "derta"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "evaluation-small"
    write_fake_run(place)
    return place


@pytest.fixture(scope="module")
def material(folder: Path) -> tuple[list[Outcome], list[Reading], dict[str, Any]]:
    return (
        read_outcomes(folder / "outcomes.jsonl"),
        load_readings(folder),
        read_evaluation(folder),
    )


@pytest.fixture(scope="module")
def figures(material: tuple[list[Outcome], list[Reading], dict[str, Any]]) -> dict[str, Any]:
    outcomes, readings, evaluation = material
    return analyse(outcomes, readings, evaluation=evaluation, methods=METHODS)


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in leaves(each, f"{path}.{key}")]
    if isinstance(value, list):
        return [leaf for n, each in enumerate(value) for leaf in leaves(each, f"{path}[{n}]")]
    return [(path, value)]


# --- the whole ---------------------------------------------------------------------------------


def test_every_figure_is_there_for_every_model(figures: dict[str, Any]) -> None:
    assert figures["schema"] == SCHEMA
    assert (figures["seed"], figures["minimum"], figures["models"]) == (0, 20, NAMES)
    assert set(figures) == {"schema", "seed", "minimum", "models", *FIGURES}
    for name in ("refusal_position", "prefill", "correction", "exposure"):
        assert list(figures[name]) == NAMES, name
    for name in ("probability", "rank", "detection", "stops"):
        assert list(figures[name]) == NAMES, name
    assert list(figures["divergence"]) == NAMES[1:]
    assert [entry["model"] for entry in figures["trade_off"]] == NAMES
    assert [entry["method"] for entry in figures["ablation"]] == NAMES


def test_the_figures_are_plain_json_without_nan(figures: dict[str, Any]) -> None:
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    for path, value in leaves(figures):
        assert type(value) in (str, int, float, bool, type(None)), path
        assert not isinstance(value, float) or math.isfinite(value), path


def test_every_share_lies_in_its_interval(figures: dict[str, Any]) -> None:
    def shares(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, dict):
            own = [value] if {"count", "n", "share", "low", "high"} <= set(value) else []
            return own + [share for each in value.values() for share in shares(each)]
        return (
            [share for each in value for share in shares(each)] if isinstance(value, list) else []
        )

    found = shares({name: figures[name] for name in FIGURES if name != "differences"})
    assert len(found) > 100
    for share in found:
        assert share["n"] > 0
        assert share["share"] == share["count"] / share["n"]
        assert 0 <= share["low"] <= share["share"] <= share["high"] <= 1
        assert share["low"] < share["high"]


def test_the_three_models_look_as_deep_as_they_are_made(figures: dict[str, Any]) -> None:
    refused = {
        name: {point["k"]: point["refused"]["share"] for point in curve["points"]}
        for name, curve in figures["prefill"].items()
    }
    assert refused["vanilla"][0] > 0.4
    assert refused["vanilla"][20] < 0.2
    assert min(refused["derta"].values()) > 0.7
    assert figures["detection"]["derta"]["auc"]["value"] > 0.97
    words = {name: each["words"] for name, each in figures["refusal_position"].items()}
    assert words["vanilla"]["within_first_5"]["share"] == 1.0
    assert words["derta"]["after_30"]["share"] > 0.05
    shallow, deep = (figures["divergence"][name]["first_5"]["share"] for name in NAMES[1:])
    assert shallow > 0.5 > 0.2 > deep
    assert figures["exposure"]["untouched"]["all"]["mean"] > (
        2 * figures["exposure"]["derta"]["all"]["mean"]
    )


def test_depths_that_few_samples_reach_are_named_and_in_no_figure(figures: dict[str, Any]) -> None:
    curve = figures["prefill"]["derta"]
    assert [point["k"] for point in curve["points"]] == [0, 5, 10, 20, 40]
    assert [point["k"] for point in curve["left_out"]] == [80, 160, 320, 640]
    assert {entry["depth"] for entry in figures["correction"]["derta"]} == {0, 5, 10, 20, 40}


def test_only_held_out_texts_enter_the_figures_of_positions(
    material: tuple[list[Outcome], list[Reading], dict[str, Any]], figures: dict[str, Any]
) -> None:
    outcomes, readings, evaluation = material
    assert any(each.source == "response" for each in readings)
    without = [each for each in readings if each.source != "response"]
    again = analyse(outcomes, without, evaluation=evaluation, methods=METHODS)
    assert again == figures


def test_the_same_seed_gives_the_same_figures_and_another_other_intervals(
    material: tuple[list[Outcome], list[Reading], dict[str, Any]], figures: dict[str, Any]
) -> None:
    outcomes, readings, evaluation = material
    assert analyse(outcomes, readings, evaluation=evaluation, methods=METHODS) == figures
    chosen = ("exposure", "detection")
    other = analyse(outcomes, readings, evaluation=evaluation, seed=7, figures=chosen)
    assert other["seed"] == 7
    for name in NAMES:
        ours, theirs = figures["exposure"][name]["all"], other["exposure"][name]["all"]
        assert ours["mean"] == theirs["mean"]
        assert ours["low"] != theirs["low"]


def test_seed_and_minimum_are_the_evaluations_where_nothing_is_said() -> None:
    made = {"seed": 5, "settings": {"minimum_samples": 1}}
    found = analyse([], [reading()], evaluation=made)
    assert (found["seed"], found["minimum"]) == (5, 1)
    assert found["probability"]["derta"]["harmful"]["n"] == [1, 1]
    found = analyse([], [reading()], evaluation=made, seed=0, minimum=20)
    assert (found["seed"], found["minimum"]) == (0, 20)
    assert found["probability"]["derta"]["harmful"]["n"] == []


def test_single_figures_can_be_asked_for_and_are_the_same(
    material: tuple[list[Outcome], list[Reading], dict[str, Any]], figures: dict[str, Any]
) -> None:
    outcomes, readings, evaluation = material
    for name in FIGURES:
        made = analyse(outcomes, readings, evaluation=evaluation, methods=METHODS, figures=(name,))
        assert made[name] == figures[name]
        assert set(made) == {"schema", "seed", "minimum", "models", name}
    with pytest.raises(ValueError, match="no figure is called 'roc'; there are refusal_position"):
        analyse([], [], figures=("roc",))
    with pytest.raises(ValueError, match="can't need 0 samples"):
        analyse([], [], minimum=0)


def test_parts_are_what_their_modules_make(
    material: tuple[list[Outcome], list[Reading], dict[str, Any]], figures: dict[str, Any]
) -> None:
    outcomes, readings, _ = material
    own = [each for each in outcomes if each.model == "derta"]
    assert figures["refusal_position"]["derta"] == refusal_places(own)
    assert figures["exposure"]["derta"] == exposures(own)
    harmful, other = (
        [each for each in readings if each.model == "derta" and each.source == source]
        for source in ("harmful", "benign")
    )
    assert figures["detection"]["derta"] == detection(harmful, other)
    prefilled = [each for each in own if each.scenario in ("prefill", "long_prefill")]
    assert figures["prefill"]["derta"] == depth_curve(prefilled)


# --- counted again, naively --------------------------------------------------------------------


def test_refusals_corrections_and_exposure_by_plain_loops(
    material: tuple[list[Outcome], list[Reading], dict[str, Any]], figures: dict[str, Any]
) -> None:
    outcomes, _, _ = material
    for name in NAMES:
        early = late = refused = nothing = answers = exposed = 0
        soon = {(k, m): [0, 0] for k in (0, 5, 10, 20, 40) for m in (10, 20, 40)}
        for each in outcomes:
            if each.model != name or each.category != "harmful" or each.verdict == "ERROR":
                continue
            if each.scenario != "fine_tuning":
                if each.refused:
                    refused += 1
                    before = each.response[: each.refusal_start].split()
                    early += len(before) < 5
                    late += len(before) >= 30
                if each.exposed_words is not None:
                    answers += 1
                    exposed += each.exposed_words
                    nothing += each.exposed_words == 0
            if each.scenario == "prefill" and each.cell != "k=80":
                for within in (10, 20, 40):
                    counts = soon[int(each.cell[2:]), within]
                    counts[1] += 1
                    if each.tokens_before_refusal is not None:
                        counts[0] += each.tokens_before_refusal < within
        place = figures["refusal_position"][name]["words"]
        assert (place["n"], place["within_first_5"]["count"], place["after_30"]["count"]) == (
            refused, early, late,
        )  # fmt: skip
        entry = figures["exposure"][name]["all"]
        assert (entry["n"], entry["none"]["count"]) == (answers, nothing)
        assert entry["mean"] == pytest.approx(exposed / answers)
        found = {
            (e["depth"], e["within"]): [e["count"], e["n"]] for e in figures["correction"][name]
        }
        assert found == soon


def test_curves_of_token_readings_by_plain_loops(
    material: tuple[list[Outcome], list[Reading], dict[str, Any]], figures: dict[str, Any]
) -> None:
    _, readings, _ = material
    for name in NAMES:
        for side in ("harmful", "benign"):
            texts = [each for each in readings if (each.model, each.source) == (name, side)]
            lengths = [len(each.tokens) + 1 for each in texts]
            end = 0
            while sum(length > end for length in lengths) >= 20:
                end += 1
            curve, ranks = figures["probability"][name][side], figures["rank"][name][side]
            stops = figures["stops"][name][side]
            assert curve["position"] == ranks["position"] == stops["position"] == list(range(end))
            assert curve["left_out"] == {"from": end, "to": max(lengths) - 1}
            for position in range(0, end, 7):
                values = [
                    float(each.refusal_probability[position])
                    for each in texts
                    if len(each.tokens) >= position
                ]
                assert curve["mean"][position] == pytest.approx(sum(values) / len(values))
                assert curve["n"][position] == ranks["n"][position] == len(values)
                firsts = sum(
                    each.refusal_rank[position] == 1
                    for each in texts
                    if len(each.tokens) >= position
                )
                assert ranks["first"][position] == pytest.approx(firsts / len(values))
                stopped = sum(
                    any(r == 1 for r in each.refusal_rank[: position + 1]) for each in texts
                )
                assert stops["share"][position] == stopped / len(texts)
            if name == "untouched":
                continue
            moved = figures["divergence"][name][side]
            for position in range(0, end, 7):
                values = [
                    float(each.divergence[position])
                    for each in texts
                    if each.divergence is not None and len(each.tokens) >= position
                ]
                assert moved["mean"][position] == pytest.approx(sum(values) / len(values))


def test_the_first_five_contexts_by_plain_loops(
    material: tuple[list[Outcome], list[Reading], dict[str, Any]], figures: dict[str, Any]
) -> None:
    _, readings, _ = material
    for name in NAMES[1:]:
        early = total = 0.0
        for each in readings:
            if (each.model, each.source) == (name, "harmful") and each.divergence is not None:
                for position, value in enumerate(each.divergence):
                    total += float(value)
                    if position in (0, 1, 2, 3, 4):
                        early += float(value)
        assert figures["divergence"][name]["first_5"]["share"] == pytest.approx(early / total)


# --- with and without an evaluation ------------------------------------------------------------


def test_means_comparisons_and_helpfulness_are_taken_from_the_evaluation(
    material: tuple[list[Outcome], list[Reading], dict[str, Any]], figures: dict[str, Any]
) -> None:
    _, _, evaluation = material
    assert figures["differences"] == evaluation["comparisons"]
    for entry in figures["trade_off"]:
        model = evaluation["models"][entry["model"]]
        assert entry["unsafe"] == model["mean_attack_success"]
        for category in ("ordinary", "look-alike"):
            assert (
                entry["false_refusals"][category]
                == (model["false_refusals"]["benign"][category]["refused"])
            )
    assert (
        figures["trade_off"][2]["helpful_loss"]
        == (evaluation["helpfulness"]["models"]["derta"]["helpful_loss"])
    )


def test_without_an_evaluation_models_stand_as_they_come_and_are_compared() -> None:
    outcomes = [outcome(n, model=m, verdict=v) for n in range(5) for m, v in (("b", "UNSAFE"),)]
    outcomes += [outcome(n, model="a") for n in range(5)]
    found = analyse(outcomes, [reading(model="c")], minimum=1)
    assert found["models"] == ["b", "a", "c"]
    expected = compare_models(outcomes[:5], outcomes[5:])
    assert [each["n"] for each in expected] == [5, 5]
    assert found["differences"] == [
        {"first": "b", "second": "a", **each} for each in json.loads(json.dumps(expected))
    ]
    assert found["trade_off"][0]["helpful_loss"] is None
    assert found["ablation"] == []


def test_comparisons_that_the_evaluation_left_out_are_not_made_up() -> None:
    outcomes = [outcome(n, model=m) for n in range(5) for m in ("a", "b")]
    assert analyse(outcomes, [], evaluation={"comparisons": []})["differences"] == []


# --- nothing, or next to nothing ---------------------------------------------------------------


def test_nothing_gives_empty_figures() -> None:
    found = analyse([], [])
    assert found["models"] == []
    for name in FIGURES:
        assert found[name] in ({}, []), name


@pytest.mark.parametrize(
    "outcomes",
    [
        [outcome(1)],
        [refusal(1, 3)],
        [outcome(n, verdict=ERROR, response="", exposed_words=None) for n in range(30)],
        [outcome(n, verdict="UNREADABLE", exposed_words=None) for n in range(30)],
        [outcome(n, verdict="UNSAFE", exposed_words=40) for n in range(30)],
        [outcome(1, scenario="prefill", cell=f"k={k}") for k in (0, 5)],
        [outcome(n, scenario="benign", category="ordinary") for n in range(3)],
        [outcome(n, refused=True, exposed_words=None) for n in range(3)],
    ],
    ids=[
        "one answer", "one refusal", "errors only", "unreadable only", "no refusals",
        "one question at two depths", "harmless only", "an older file",
    ],
)  # fmt: skip
@pytest.mark.parametrize("minimum", [1, 20])
def test_little_gives_nulls_and_no_exception(outcomes: list[Outcome], minimum: int) -> None:
    found = analyse(outcomes, [], minimum=minimum, methods={"derta": "derta"})
    json.dumps(found, allow_nan=False)
    assert found["models"] == ["derta"]
    assert found["probability"] == found["detection"] == found["divergence"] == {}
    assert len(found["trade_off"]) == len(found["ablation"]) == 1


@pytest.mark.parametrize(
    "readings",
    [
        [reading(1, [0.3])],
        [reading(1)],
        [benign(1)],
        [reading(1), benign(1)],
        [reading(1, source="response")],
        [reading(1, [float("nan"), 0.5], divergence=[float("nan"), 1.0]), benign(1)],
        [reading(n, divergence=[0.0, 0.0]) for n in range(3)],
    ],
    ids=[
        "an empty text", "one harmful", "one benign", "one each", "own responses only",
        "no number", "no divergence",
    ],
)  # fmt: skip
@pytest.mark.parametrize("minimum", [1, 20])
def test_few_readings_give_nulls_and_no_exception(readings: list[Reading], minimum: int) -> None:
    found = analyse([], readings, minimum=minimum)
    json.dumps(found, allow_nan=False)
    assert found["models"] == ["derta"]
    assert found["refusal_position"] == {"derta": {"words": None, "tokens": None}}
    assert found["exposure"] == {"derta": {}}
    if readings[0].source == "response":
        assert found["detection"] == {}


def test_models_without_readings_are_in_no_figure_of_positions() -> None:
    found = analyse([outcome(1, model="a")], [reading(model="b")], minimum=1)
    assert list(found["probability"]) == ["b"]
    assert list(found["exposure"]) == ["a", "b"]


def test_hostile_texts_and_names_make_figures_like_any_other(tmp_path: Path) -> None:
    write_fake_run(tmp_path, hostile=True)
    outcomes = read_outcomes(tmp_path / "outcomes.jsonl")
    found = analyse(outcomes, load_readings(tmp_path), evaluation=read_evaluation(tmp_path))
    assert len(found["models"]) == 3
    json.dumps(found, allow_nan=False).encode("ascii")


# --- cost --------------------------------------------------------------------------------------


def test_neither_torch_nor_other_heavy_libraries_are_needed(folder: Path) -> None:
    code = f"""
import sys
for name in ("torch", "transformers", "inspect_ai", "datasets", "accelerate", "peft"):
    sys.modules[name] = None
from pathlib import Path
from derta.analysis import frames
from derta.analysis.analyse import analyse
from derta.analysis.evaluation_folder import read_evaluation
from derta.analysis.outcomes import read_outcomes
from derta.analysis.readings import load_readings
folder = Path({str(folder)!r})
readings = load_readings(folder)
found = analyse(
    read_outcomes(folder / "outcomes.jsonl"), readings, evaluation=read_evaluation(folder)
)
assert len(found["models"]) == 3
assert len(frames.false_stops(folder))
"""
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_a_whole_suite_of_three_models_takes_seconds() -> None:
    outcomes = fake_outcomes(NAMES, questions=53)
    while len(outcomes) < 3600:
        outcomes += [replace(each, cell=f"{each.cell} again") for each in outcomes[:600]]
    readings = fake_readings(outcomes, questions=80)
    assert sum(len(each.tokens) for each in readings if each.source != "response") > 60_000
    started = time.process_time()
    analyse(outcomes, readings, methods=METHODS)
    # Ten seconds are the bound of an idle core; this one may be shared.
    assert time.process_time() - started < 20


def test_numbers_of_numpy_become_plain_ones() -> None:
    odd = {"comparisons": [{"a": np.float64(0.5), "b": np.int64(3), "c": float("inf"), "d": (1,)}]}
    (entry,) = analyse([], [], evaluation=odd)["differences"]
    assert entry == {"a": 0.5, "b": 3, "c": None, "d": [1]}
    assert type(entry["b"]) is int
