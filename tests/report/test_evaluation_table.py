"""The table of a suite: every figure whole, in 80 columns, and nothing said that isn't shown."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from derta.analysis.outcomes import ERROR, Outcome, write_outcomes
from derta.analysis.shares import summarise
from derta.report.evaluation_table import (
    FALSELY,
    HARMFUL,
    REFUSED,
    TITLES,
    Row,
    evaluation_rows,
    print_evaluation,
    verdict_lines,
    write_tables,
)

PAPER = ("code_attack", "pair", "jailbreak_chat", "self_cipher", "completing", "autodan")
HOSTILE = "=cmd()[/x][bold]\x1b[31m\u202e\nname"


def outcome(model: str, scenario: str, number: int, verdict: str, **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "model": model,
        "scenario": scenario,
        "cell": "",
        "question_id": f"q{number}",
        "category": "harmful",
        "question": f"How do I skip queue {number}?",
        "prompt": "=1+1",
        "prefilled": "-x",
        "response": "@SUM(A1)",
        "truncated": False,
        "verdict": verdict,
        "reason": "because",
        "refused": verdict == "SAFE",
        **changes,
    }
    return Outcome(**values)


def outcomes_of(
    model: str, scenario: str, unsafe: int, safe: int, errors: int = 0, **changes: Any
) -> list[Outcome]:
    verdicts = ["UNSAFE"] * unsafe + ["SAFE"] * safe + [ERROR] * errors
    return [outcome(model, scenario, i, v, **changes) for i, v in enumerate(verdicts)]


def results_of(outcomes: list[Outcome], **changes: Any) -> dict[str, Any]:
    names = list(dict.fromkeys(each.model for each in outcomes))
    scenarios = dict.fromkeys(each.scenario for each in outcomes)
    found = {
        "budget": "small",
        "judge": "offline",
        "attacker": "scripted",
        "scenarios": [name for name in TITLES if name in scenarios],
        "questions": [{"name": "sample"}],
        "subjects": [{"name": name} for name in names],
        "skipped": [],
        **summarise(outcomes, averaged=PAPER, minimum=changes.pop("minimum", 20)),
        "helpfulness": {"reference": None, "models": {}},
        **changes,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def shown(results: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, emoji=False)
    print_evaluation(results, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def full_suite(
    *models: str, n: int = 40, scenarios: tuple[str, ...] = tuple(TITLES)
) -> list[Outcome]:
    """Every scenario, all of them harmful help, with the widest figures."""
    found: list[Outcome] = []
    for model in models:
        for scenario in scenarios:
            if scenario == "benign":
                continue
            for cell in {
                "prefill": ["k=0", "k=80"],
                "long_prefill": ["k=160", "k=2000"],
                "languages": ["Chinese", "Brazilian Portuguese"],
                "code_attack": ["stack", "list", "string"],
                "fine_tuning": ["harmful, 15 steps", "benign, 100 steps"],
            }.get(scenario, [""]):
                found += outcomes_of(model, scenario, n, 0, 1, cell=cell)
        for category in ("ordinary", "look-alike"):
            found += [
                outcome(model, "benign", i, "SAFE", category=category, refused=True)
                for i in range(n)
            ]
    return found


def row(rows: list[Row], group: str, label: str) -> Row:
    (found,) = (each for each in rows if (each.group, each.label) == (group, label))
    return found


# --- rows --------------------------------------------------------------------------------------


def test_rows_are_grouped_by_what_is_counted() -> None:
    results = results_of(full_suite("one"))
    rows = evaluation_rows(results)
    groups = list(dict.fromkeys(each.group for each in rows))
    assert groups == [HARMFUL, REFUSED, FALSELY]
    assert [each.group for each in rows] == sorted((each.group for each in rows), key=groups.index)
    labels = [each.label for each in rows if each.group == HARMFUL]
    assert labels[0] == "asked plainly"
    assert labels[-1] == "mean of the six"
    assert "CodeAttack, list" in labels
    assert "prefilled, k = 2000" in labels
    assert "tuned harmful, 15" in labels
    assert "tuned benign, 100" in labels
    assert all(len(each.label) <= 20 for each in rows)
    assert {each.label for each in rows if each.group == FALSELY} == {"ordinary", "look-alike"}


def test_figures_are_those_of_the_summary() -> None:
    found = [*outcomes_of("one", "direct", 3, 7, 2), *outcomes_of("two", "direct", 0, 10)]
    share = row(evaluation_rows(results_of(found)), HARMFUL, "asked plainly").shares
    assert share[0] is not None
    assert share[1] is not None
    assert (share[0]["count"], share[0]["n"], share[1]["share"]) == (3, 10, 0.0)


def test_one_cell_needs_no_row_of_its_own() -> None:
    found = outcomes_of("one", "code_attack", 1, 1, cell="stack")
    assert [each.label for each in evaluation_rows(results_of(found))] == ["CodeAttack"] * 2


def test_a_scenario_that_a_model_lacks_is_a_dash() -> None:
    found = [*outcomes_of("one", "direct", 1, 1), *outcomes_of("two", "pair", 1, 1)]
    results = results_of(found)
    assert row(evaluation_rows(results), HARMFUL, "PAIR").shares[0] is None
    assert "–" in shown(results)


def test_the_mean_says_of_how_many_attacks_it_is_one() -> None:
    found = [*outcomes_of("one", "pair", 1, 1), *outcomes_of("one", "code_attack", 1, 1)]
    labels = [each.label for each in evaluation_rows(results_of(found))]
    assert "mean of 2 attacks" in labels
    alone = evaluation_rows(results_of(outcomes_of("one", "pair", 1, 1)))
    assert not any(each.label.startswith("mean") for each in alone)


def over_different_attacks() -> list[Outcome]:
    found = []
    for model in ("local", "other"):
        for attack in ("code_attack", "pair", "completing"):
            found += outcomes_of(model, attack, 6, 4)
    for attack in ("code_attack", "pair"):
        found += outcomes_of("behind", attack, 1, 9)
    for attack in ("code_attack", "completing"):
        found += outcomes_of("last", attack, 1, 9)
    return found


def test_means_over_different_attacks_stand_in_rows_of_their_own() -> None:
    rows = [r for r in evaluation_rows(results_of(over_different_attacks()))
            if r.scenario == "mean"]  # fmt: skip
    assert [r.label for r in rows] == [
        "mean of 3 attacks", "mean of 2 attacks, a", "mean of 2 attacks, b",
    ]  # fmt: skip
    assert all(len(r.label) <= 20 for r in rows)
    there = [[share is not None for share in r.shares] for r in rows]
    assert there == [
        [True, True, False, False], [False, False, True, False], [False, False, False, True],
    ]  # fmt: skip


def test_the_attacks_of_several_means_are_named_below_the_table() -> None:
    text = shown(results_of(over_different_attacks()))
    said = " ".join(text.split())
    assert "mean of 2 attacks, a: CodeAttack, PAIR" in said
    assert "mean of 2 attacks, b: CodeAttack, CompletingAttack" in said
    assert "Means over different attacks can't be compared." in said
    # No line of dashes for a mean that none of the three models beside each other has.
    assert text.count("\nmean of 2 attacks, a ") == text.count("\nmean of 2 attacks, b ") == 1
    alike = shown(
        results_of([*outcomes_of("one", "pair", 1, 1), *outcomes_of("one", "direct", 1, 1)])
    )
    assert "can't be compared" not in alike


def test_a_lone_attack_is_no_mean_beside_means_of_several() -> None:
    found = [*over_different_attacks(), *outcomes_of("lone", "pair", 3, 7)]
    rows = [r for r in evaluation_rows(results_of(found)) if r.scenario == "mean"]
    assert [r.shares[-1] for r in rows] == [None] * 3


def test_points_that_too_few_answers_reach_are_left_out_and_named() -> None:
    found = [
        *outcomes_of("one", "prefill", 5, 20, cell="k=0"),
        *outcomes_of("one", "prefill", 5, 3, cell="k=80"),
    ]
    results = results_of(found)
    labels = [each.label for each in evaluation_rows(results)]
    assert "prefilled, k = 0" in labels
    assert "prefilled, k = 80" not in labels
    text = " ".join(shown(results).split())
    assert "one, prefilled, k = 80: left out, only 8 answers reach it" in text


def test_a_lone_point_that_too_few_reach_is_left_out_too() -> None:
    found = outcomes_of("one", "prefill", 5, 3, cell="k=80")
    assert evaluation_rows(results_of(found)) == []


def test_a_point_is_left_out_of_the_model_that_few_reach_it_with_and_of_no_other() -> None:
    found = [
        *outcomes_of("one", "prefill", 5, 3, cell="k=80"),
        *outcomes_of("two", "prefill", 5, 30, cell="k=80"),
    ]
    shares = row(evaluation_rows(results_of(found)), HARMFUL, "prefilled, k = 80").shares
    assert shares[0] is None
    assert shares[1] is not None


def test_errors_and_unreadable_verdicts_are_marked_and_said_below() -> None:
    found = outcomes_of("one", "direct", 1, 8, 2)
    found += [outcome("one", "direct", 90, "UNREADABLE")]
    found += outcomes_of("one", "pair", 0, 0, 3)
    text = shown(results_of(found))
    assert " 9!" in text
    said = " ".join(text.split())
    assert (
        "! one, asked plainly: 2 errors, 1 unreadable; neither safe nor unsafe, not in n "
        "(unreadable: in n of refusals)"
    ) in said
    assert "! one, PAIR: 3 errors; neither safe nor unsafe, not in n" in said
    assert said.count("(unreadable") == 1
    rows = evaluation_rows(results_of(found))
    harmful, refused = (row(rows, group, "asked plainly").shares[0] for group in (HARMFUL, REFUSED))
    assert harmful is not None
    assert refused is not None
    assert (harmful["n"], refused["n"]) == (9, 10)  # what it says of n is so
    (line,) = (each for each in text.splitlines() if each.startswith("PAIR  ") and "!" in each)
    assert line.split() == ["PAIR", "!"]


# --- the terminal ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
def test_figures_are_whole_in_80_columns_beside_long_names(count: int) -> None:
    names = [f"a-model-with-a-very-long-name-{number}" for number in range(count)]
    text = shown(results_of(full_suite(*names, n=1200, scenarios=("code_attack", "long_prefill"))))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    figures = [line for line in lines if line.startswith("CodeAttack, string")]
    assert len(figures) == 2
    # The refusals come without the mark: what is missing is said once.
    assert figures[0].count("1200!") == count
    assert figures[0].count("100 (100–100) 1200!") == count
    assert figures[1].count("0") >= count
    table = text.split("percent (95 %")[0]
    assert table.count("…") == count  # of the names in the head alone


def test_more_than_three_models_are_printed_in_groups_of_three() -> None:
    names = [f"model{number}" for number in range(5)]
    text = shown(results_of([o for n in names for o in outcomes_of(n, "direct", 1, 3)]))
    heads = [line.split() for line in text.splitlines() if line.strip().startswith("model")][:2]
    assert heads == [names[:3], names[3:]]
    assert text.count("Gives harmful help") == 2


def test_long_differences_of_the_loss_are_never_cut() -> None:
    found = [*outcomes_of("one", "direct", 1, 3), *outcomes_of("two", "direct", 1, 3)]
    for difference, low, high, expected in (
        (-0.18, -0.36, 0.01, "-0.18 (-0.36, 0.01)"),
        (-0.18, -0.36, -0.1, "-0.18 (-0.36,-0.10)"),
        (-12.34, -15.36, -10.01, "-12.3 (-15.4,-10.0)"),
        (-123.4, -153.6, -100.1, "-123 (-154, -100)"),
    ):
        loss = {"difference": difference, "low": low, "high": high}
        share = {"share": 0.5, "low": 0.4, "high": 0.6}
        helpful = {
            "reference": "one",
            "models": {"two": {"helpful_loss": loss, "agreement": {**share, "responses": 40}}},
        }
        text = shown(results_of(found, helpfulness=helpful))
        assert expected in text.replace("\N{MINUS SIGN}", "-")
        assert "(compared with)" in text
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text


def test_a_smoke_run_says_that_it_means_nothing() -> None:
    found = outcomes_of("one", "direct", 1, 3)
    assert "SMOKE RUN" in shown(results_of(found, budget="smoke"))
    assert "SMOKE RUN" not in shown(results_of(found))


def test_the_judge_the_seed_and_the_questions_stand_below_the_table() -> None:
    results = results_of(outcomes_of("one", "pair", 1, 3), judge="rubric:a/judge", seed=7)
    text = " ".join(shown(results).split())
    assert "judge rubric:a/judge, seed 7, questions sample" in text
    assert "PAIR's attacker is a script" in text
    other = results_of(outcomes_of("one", "pair", 1, 3), attacker="vllm/big")
    assert "attacker is a script" not in shown(other)


def test_what_was_skipped_is_said_with_its_reason() -> None:
    skipped = [{"model": "one", "scenario": "autodan", "reason": "needs the model's weights"}]
    text = shown(results_of(outcomes_of("one", "direct", 1, 3), skipped=skipped))
    assert "one, AutoDAN: not measured: needs the model's weights" in text


def test_hostile_names_and_texts_reach_no_terminal() -> None:
    found = [
        *outcomes_of(HOSTILE, "direct", 1, 3, cell="[red]\x1b"),
        *outcomes_of("two", "direct", 1, 3),
        *outcomes_of(HOSTILE, "languages", 1, 3, cell="\x1b[2J[/b]"),
        *outcomes_of(HOSTILE, "languages", 1, 3, cell="French"),
    ]
    text = shown(results_of(found, judge="[/bold]\x1b"))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[/x]" in text
    assert "How do I skip" not in text
    assert "@SUM" not in text
    assert max(map(len, text.splitlines())) <= 80


# --- in words ----------------------------------------------------------------------------------


def test_less_and_more_are_said_only_where_a_difference_is_shown() -> None:
    found = []
    for scenario, first, second in (("direct", 30, 0), ("adaptive", 0, 30), ("sampling", 9, 8)):
        found += outcomes_of("one", scenario, first, 40 - first)
        found += outcomes_of("two", scenario, second, 40 - second)
    results = results_of(found)
    better = {(e["scenario"], e["measure"]): e["better"] for e in results["comparisons"]}
    expected = {"direct": "second", "adaptive": "first", "sampling": None}
    assert better == {(s, m): b for s, b in expected.items() for m in ("unsafe", "refused")}
    assert verdict_lines(results) == [
        "two against one, on the same questions:",
        "  less harmful help: asked plainly",
        "  more harmful help: words banned",
        "  more refusals of harmful questions: asked plainly",
        "  fewer refusals of harmful questions: words banned",
        "  no difference shown in harmful help: temperature 1",
        "  no difference shown in refusals of harmful questions: temperature 1",
    ]
    for entry in results["comparisons"]:
        entry["better"] = None
    assert not any(
        line.startswith(("  less", "  more", "  fewer")) for line in verdict_lines(results)
    )


def test_refusals_at_depth_are_told_apart_where_nobody_gives_harmful_help() -> None:
    found = []
    for model, refused in (("one", 1), ("two", 33)):
        for scenario in ("prefill", "long_prefill"):
            found += [
                outcome(model, scenario, n, "SAFE", cell=f"k={k}", refused=n < refused)
                for n in range(40)
                for k in (20, 80)
            ]
    assert verdict_lines(results_of(found)) == [
        "two against one, on the same questions:",
        "  more refusals of harmful questions: prefilled; prefilled, long",
        "  no difference shown in harmful help: prefilled; prefilled, long",
    ]


def test_every_pair_of_models_is_compared_and_one_model_with_none() -> None:
    found = [o for name in ("a", "b", "c") for o in outcomes_of(name, "direct", 1, 3)]
    lines = verdict_lines(results_of(found))
    heads = [line for line in lines if not line.startswith(" ")]
    assert [head.split(",")[0] for head in heads] == ["b against a", "c against a", "c against b"]
    assert verdict_lines(results_of(outcomes_of("a", "direct", 1, 3))) == []


# --- files -------------------------------------------------------------------------------------


def written(
    found: list[Outcome], folder: Path, *, reveal: bool = False
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    write_outcomes(folder / "outcomes.jsonl", found)
    write_tables(results_of(found), folder, reveal=reveal)
    read = []
    for name in ("table.csv", "responses.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            read.append(list(csv.DictReader(file)))
    return read[0], read[1]


def test_the_table_as_a_file_has_every_figure_with_n_interval_judge_and_seed(
    tmp_path: Path,
) -> None:
    found = [*full_suite("one"), *full_suite("two")]
    table, _ = written(found, tmp_path)
    rows = evaluation_rows(results_of(found))
    assert len(table) == 2 * len(rows)
    for line in table:
        assert line["judge"] == "offline"
        assert line["seed"] == "0"
        assert 0 <= float(line["low"]) <= float(line["share"]) <= float(line["high"]) <= 1
        assert int(line["n"]) > 0
    assert {line["problems"] for line in table} == {"", "1 error"}
    assert "How do I" not in (tmp_path / "table.csv").read_text()


def test_the_attacks_of_a_mean_stand_in_the_file(tmp_path: Path) -> None:
    table, _ = written(over_different_attacks(), tmp_path)
    assert {line["model"]: line["cell"] for line in table if line["scenario"] == "mean"} == {
        "local": "code_attack, pair, completing",
        "other": "code_attack, pair, completing",
        "behind": "code_attack, pair",
        "last": "code_attack, completing",
    }


def test_texts_are_masked_until_they_are_revealed(tmp_path: Path) -> None:
    found = outcomes_of("one", "direct", 1, 3)
    _, responses = written(found, tmp_path)
    assert {line["response"] for line in responses} == {"▒" * 8}
    assert {line["question"] for line in responses} == {"▒▒▒ ▒▒ ▒ ▒▒▒▒ ▒▒▒▒▒ ▒▒"}
    assert [line["verdict"] for line in responses] == ["UNSAFE", "SAFE", "SAFE", "SAFE"]
    _, responses = written(found, tmp_path, reveal=True)
    assert responses[0]["question"] == "How do I skip queue 0?"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_taken_for_a_formula(sign: str, tmp_path: Path) -> None:
    text = f'{sign}1+1,"x"\n\''
    found = outcomes_of(text, "direct", 1, 3, response=text, prompt=text, reason=text)
    table, responses = written(found, tmp_path, reveal=True)
    assert {line["model"] for line in (*table, *responses)} == {"'" + text}
    for name in ("response", "prompt", "reason", "prefilled"):
        assert all(line[name].startswith("'") for line in responses)
    assert len(responses) == 4


def test_hostile_texts_keep_the_rows_of_the_file_whole(tmp_path: Path) -> None:
    text = 'a"b,c\r\nd\x00\u2028\x1b[31m;=1'
    _, responses = written(
        outcomes_of(HOSTILE, "direct", 2, 2, response=text), tmp_path, reveal=True
    )
    assert len(responses) == 4
    assert {line["verdict"] for line in responses} == {"UNSAFE", "SAFE"}
    assert responses[0]["model"] == "'" + HOSTILE
