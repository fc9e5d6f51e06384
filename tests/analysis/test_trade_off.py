"""Safety beside what it costs, by model and by method."""

from __future__ import annotations

from typing import Any

import pytest

from derta.analysis.intervals import wilson
from derta.analysis.outcomes import ERROR, Outcome
from derta.analysis.shares import mean_attack_success, summarise
from derta.analysis.trade_off import ablation, false_refusals, trade_off
from tests.analysis.making import outcome, refusal

LOSS = {"nats": 0.5, "untouched_nats": 0.4, "difference": 0.1, "low": 0.0, "high": 0.2}
AGREEMENT = {"count": 9, "n": 10, "share": 0.9, "low": 0.8, "high": 0.95, "responses": 4}


def attacked(model: str, unsafe: int, scenario: str = "pair", n: int = 10) -> list[Outcome]:
    return [
        outcome(
            number, model=model, scenario=scenario, verdict="UNSAFE" if number < unsafe else "SAFE"
        )
        for number in range(n)
    ]


def asked_harmlessly(model: str, ordinary: int, look_alike: int) -> list[Outcome]:
    return [
        outcome(
            f"{category}{number}",
            model=model,
            scenario="benign",
            category=category,
            refused=number < refused,
            exposed_words=None,
        )
        for category, refused in (("ordinary", ordinary), ("look-alike", look_alike))
        for number in range(10)
    ]


def prefilled(model: str, k: int, refused: int, n: int = 4) -> list[Outcome]:
    cell = {"model": model, "scenario": "prefill", "cell": f"k={k}"}
    return [
        refusal(number, 1, **cell) if number < refused else outcome(number, **cell)
        for number in range(n)
    ]


def evaluation(outcomes: list[Outcome], **helpful: Any) -> dict[str, Any]:
    return {
        **summarise(outcomes, averaged=("pair", "autodan")),
        "helpfulness": {"reference": "untouched", "models": helpful},
    }


# --- one point a model -------------------------------------------------------------------------


def test_a_point_is_the_evaluations_own_mean_beside_what_it_costs() -> None:
    found = [*attacked("a", 8), *attacked("a", 4, "autodan"), *attacked("a", 9, "direct")]
    found += asked_harmlessly("a", 1, 4)
    made = evaluation(found, a={"helpful_loss": LOSS, "agreement": AGREEMENT})
    (entry,) = trade_off({"a": found}, evaluation=made)
    assert entry["model"] == "a"
    assert entry["unsafe"] == made["models"]["a"]["mean_attack_success"]
    assert entry["unsafe"]["share"] == pytest.approx(0.6)
    assert entry["unsafe"]["scenarios"] == ["pair", "autodan"]
    counts = {name: (e["count"], e["n"]) for name, e in entry["false_refusals"].items()}
    assert counts == {"ordinary": (1, 10), "look-alike": (4, 10), "all": (5, 20)}
    assert (entry["helpful_loss"], entry["agreement"]) == (LOSS, AGREEMENT)


def test_false_refusals_are_those_of_the_table() -> None:
    found = asked_harmlessly("a", 2, 5)
    table = summarise(found)["models"]["a"]["false_refusals"]["benign"]
    ours = false_refusals(found)
    for category in ("ordinary", "look-alike"):
        assert ours[category] == table[category]["refused"]
    assert {name: ours["all"][name] for name in wilson(7, 20)} == wilson(7, 20)


def test_errors_are_no_answers() -> None:
    found = asked_harmlessly("a", 2, 5)
    found.append(outcome(99, category="ordinary", scenario="benign", verdict=ERROR))
    assert false_refusals(found)["ordinary"]["n"] == 10


def test_the_first_model_and_another_tokenizer_have_no_helpful_loss() -> None:
    found = {name: attacked(name, 3) for name in ("untouched", "other")}
    made = evaluation(
        [o for each in found.values() for o in each],
        other={"reason": "its tokenizer differs from that of untouched"},
    )
    for entry in trade_off(found, evaluation=made):
        assert (entry["helpful_loss"], entry["agreement"]) == (None, None)


def test_without_the_papers_attacks_all_scenarios_but_trained_copies_are_averaged() -> None:
    found = [*attacked("a", 2, "direct"), *attacked("a", 6, "prefill")]
    found += attacked("a", 10, "fine_tuning")
    made = evaluation(found)
    assert made["models"]["a"]["mean_attack_success"]["share"] is None
    for known in (made, None):
        (entry,) = trade_off({"a": found}, evaluation=known)
        assert entry["unsafe"] == mean_attack_success(found, ["direct", "prefill"])
        assert entry["unsafe"]["share"] == pytest.approx(0.4)


def test_a_model_without_answers_has_a_point_without_numbers() -> None:
    (entry,) = trade_off({"a": []})
    assert entry["unsafe"]["share"] is None
    assert entry["false_refusals"]["all"]["share"] is None
    assert trade_off({}) == []


# --- one line a method -------------------------------------------------------------------------


def suite(model: str, unsafe: int, refused: int) -> list[Outcome]:
    return [
        *attacked(model, unsafe),
        *asked_harmlessly(model, 0, refused),
        *prefilled(model, 0, 4),
        *prefilled(model, 40, refused),
        *prefilled(model, 80, refused, n=1),
    ]


def test_methods_stand_in_their_order_with_their_figures() -> None:
    found = {"x": suite("x", 1, 3), "y": suite("y", 9, 0), "z": suite("z", 5, 1)}
    made = evaluation(
        [o for each in found.values() for o in each], x={"helpful_loss": LOSS, "agreement": None}
    )
    methods = {"x": "derta", "y": "untouched", "nobody": "dpo"}
    first, second = ablation(found, methods, evaluation=made, minimum=4)
    assert (first["method"], first["runs"]) == ("untouched", ["y"])
    assert (second["method"], second["runs"]) == ("derta", ["x"])
    assert second["unsafe"] == made["models"]["x"]["mean_attack_success"]
    assert (second["false_refusals"]["count"], second["false_refusals"]["n"]) == (3, 20)
    # Only one answer reaches 80 tokens, so 40 is the deepest.
    assert (second["deepest"]["k"], second["deepest"]["count"], second["deepest"]["n"]) == (
        40, 3, 4,
    )  # fmt: skip
    assert second["within_first_5"]["share"] == 1.0
    assert second["helpful_loss"] == LOSS
    assert first["helpful_loss"] is None


def test_the_deepest_prefill_is_one_that_all_models_reach() -> None:
    found = {"x": suite("x", 1, 3), "y": [*attacked("y", 2), *prefilled("y", 0, 1)]}
    methods = {"x": "derta", "y": "vanilla"}
    vanilla, derta = ablation(found, methods, minimum=4)
    assert vanilla["deepest"]["k"] == derta["deepest"]["k"] == 0
    found["y"] = attacked("y", 2)
    assert [entry["deepest"] for entry in ablation(found, methods, minimum=4)] == [None, None]


def test_runs_of_one_method_are_pooled_question_by_question() -> None:
    found = {"x": suite("x", 2, 2), "y": suite("y", 6, 4)}
    made = evaluation(
        [o for each in found.values() for o in each],
        x={"helpful_loss": LOSS},
        y={"helpful_loss": {**LOSS, "difference": 0.3}},
    )
    (entry,) = ablation(found, {"x": "rto", "y": "rto"}, evaluation=made, minimum=4)
    assert entry["runs"] == ["x", "y"]
    assert entry["unsafe"]["share"] == pytest.approx(0.4)
    assert entry["unsafe"]["questions"] == 10
    assert (entry["deepest"]["n"], entry["deepest"]["questions"]) == (8, 4)
    loss = entry["helpful_loss"]
    assert loss == {"difference": pytest.approx(0.2), "low": None, "high": None, "runs": 2}


def test_pooled_runs_are_averaged_over_the_attacks_that_all_of_them_have() -> None:
    found = {
        "x": [*attacked("x", 2), *attacked("x", 10, "autodan")],
        "y": attacked("y", 6),
    }
    made = evaluation([o for each in found.values() for o in each])
    (entry,) = ablation(found, {"x": "rto", "y": "rto"}, evaluation=made, minimum=4)
    assert entry["unsafe"]["scenarios"] == ["pair"]
    assert entry["unsafe"]["share"] == pytest.approx(0.4)


def test_a_method_that_is_not_known_comes_last_and_no_method_gives_no_lines() -> None:
    found = {"x": suite("x", 1, 3), "y": suite("y", 9, 0)}
    lines = ablation(found, {"x": "my own", "y": "dpo"}, minimum=4)
    assert [entry["method"] for entry in lines] == ["dpo", "my own"]
    assert ablation(found, {}, minimum=4) == []


def test_a_method_that_never_refuses_has_no_place_of_refusals() -> None:
    (entry,) = ablation({"x": attacked("x", 10)}, {"x": "untouched"}, minimum=4)
    assert (entry["within_first_5"], entry["deepest"], entry["helpful_loss"]) == (None, None, None)
