"""The same outputs of all models are chosen, of every cell alike, and more include the fewer."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

from derta.analyse_run.choosing import choose_outcomes
from derta.analysis.outcomes import ERROR, Outcome
from tests.analysis.making import outcome


def of_models(*models: str, cells: tuple[str, ...] = ("",), questions: int = 12) -> list[Outcome]:
    return [
        outcome(question, model=model, cell=cell, scenario="prefill" if cell else "direct")
        for model in models
        for cell in cells
        for question in range(questions)
    ]


def keys(found: list[Outcome]) -> list[tuple[str, str, str]]:
    return [(each.scenario, each.cell, each.question_id) for each in found]


def test_all_models_give_their_outputs_to_the_same_questions() -> None:
    chosen = choose_outcomes(of_models("a", "b", "c"), 5)
    assert list(chosen) == ["a", "b", "c"]
    assert keys(chosen["a"]) == keys(chosen["b"]) == keys(chosen["c"])
    assert len(chosen["a"]) == 5
    assert {each.model for each in chosen["b"]} == {"b"}


def test_the_draw_depends_on_neither_order_nor_number_of_the_outcomes() -> None:
    outcomes = of_models("a", "b")
    shuffled = list(outcomes)
    random.Random(3).shuffle(shuffled)
    first, second = choose_outcomes(outcomes, 4), choose_outcomes(shuffled, 4)
    assert set(keys(first["a"])) == set(keys(second["a"]))


def test_more_outputs_include_the_fewer() -> None:
    outcomes = of_models("a", cells=("k=0", "k=5", "k=20"))
    chosen: list[set[Any]] = [set(keys(choose_outcomes(outcomes, n)["a"])) for n in range(20)]
    for fewer, more in itertools.pairwise(chosen):
        assert fewer < more
    assert chosen[0] == set()


def test_cells_take_turns_and_share_their_questions() -> None:
    chosen = choose_outcomes(of_models("a", cells=("k=0", "k=5", "k=20")), 9)["a"]
    assert Counter(each.cell for each in chosen) == {"k=0": 3, "k=5": 3, "k=20": 3}
    assert len({each.question_id for each in chosen}) == 3


def test_questions_that_every_model_answered_come_first() -> None:
    outcomes = of_models("a", "b", questions=6)
    missing = choose_outcomes(outcomes, 6)["a"][0].question_id
    kept = [o for o in outcomes if (o.model, o.question_id) != ("b", missing)]
    chosen = choose_outcomes(kept, 5)
    assert keys(chosen["a"]) == keys(chosen["b"])
    assert missing not in {each.question_id for each in chosen["a"]}
    assert missing in {each.question_id for each in choose_outcomes(kept, 6)["a"]}


def test_each_scenario_has_its_own_number() -> None:
    outcomes = of_models("a") + of_models("a", cells=("k=0",))
    chosen = choose_outcomes(outcomes, 5)["a"]
    assert Counter(each.scenario for each in chosen) == {"direct": 5, "prefill": 5}


def test_errors_and_answers_of_changed_copies_are_never_chosen() -> None:
    outcomes = [
        outcome(0, verdict=ERROR),
        outcome(1, scenario="fine_tuning", cell="benign, 5 steps"),
        outcome(2),
    ]
    assert [each.question_id for each in choose_outcomes(outcomes, 9)["derta"]] == ["q2"]
