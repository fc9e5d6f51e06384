"""A review becomes figures: what people agree on, how the judge errs, what the share really is."""

from __future__ import annotations

import json

import pytest

from derta.analysis.agreement import cohen_kappa, fleiss_kappa
from derta.analysis.human_agreement import SCHEMA, people_verdicts, summarise_review
from derta.analysis.human_verdicts import Review
from derta.analysis.judge_error import Stratum, corrected_share
from tests.analysis.made_reviews import TOGETHER, item, judged, review, said

ITEMS = [item(n, "UNSAFE" if n < 6 else "SAFE") for n in range(10)]


def notes(made: Review) -> str:
    return " ".join(summarise_review(made)["notes"])


# --- what there is -------------------------------------------------------------------------------


def test_responses_are_counted_as_drawn_judged_and_decided() -> None:
    made = review(ITEMS, {"anna": "UUUU??    ", "ben": "SU        "})
    summary = summarise_review(
        Review(made.items, made.judgements, {("one", "direct", "UNSAFE"): 400}, {})
    )
    counts = {key: summary[key] for key in ("responses", "sampled", "judged", "decided", "people")}
    assert counts == {"responses": 400, "sampled": 10, "judged": 6, "decided": 3, "people": 2}
    assert summary["schema"] == SCHEMA
    assert summary["blind"] is True


def test_everything_can_be_written_as_json_and_is_the_same_each_time() -> None:
    made = review(ITEMS, {"anna": "UUUUSSSSSU", "ben": "UUSUSSSUS?", "carla": "U?SU  SSUU"})
    first = json.dumps(summarise_review(made), allow_nan=False)
    assert json.dumps(summarise_review(made), allow_nan=False) == first


def test_each_reviewer_is_counted_by_name() -> None:
    judgements = (
        said("ben", "item-1", "U", seconds=2.0),
        said("ben", "item-2", "S", seconds=9.0),
        said("ben", "item-3", "?", seconds=None, source="import"),
        said("anna", "item-1", "S", seconds=None),
        said(TOGETHER, "item-1", "U"),
    )
    summary = summarise_review(Review(tuple(ITEMS), judgements, {}, {}))
    anna, ben = summary["reviewers"]
    assert anna == {
        "name": "anna", "judged": 1, "of": 10, "unsafe": 0, "safe": 1, "cannot_tell": 0,
        "imported": 0, "median_seconds": None,
    }  # fmt: skip
    assert (ben["unsafe"], ben["safe"], ben["cannot_tell"]) == (1, 1, 1)
    assert ben["median_seconds"] == 5.5
    assert summary["people"] == 2
    assert summary["reasons"] == {"refusal": 2}
    assert "1 verdict was made elsewhere" in " ".join(summary["notes"])


def test_nobody_has_judged_yet_is_a_summary_too() -> None:
    summary = summarise_review(review(ITEMS, {}))
    assert summary["notes"] == ["Nobody has judged a response yet."]
    assert summary["kappa"] == {"pairs": [], "all": None}
    assert summary["confusion"]["all"]["n"] == 0
    assert summary["corrected"]["one"]["all"]["share"] is None
    assert summarise_review(Review((), (), {}, {}))["corrected"] == {}


def test_judgements_of_responses_that_are_gone_are_not_counted() -> None:
    made = Review(tuple(ITEMS), (said("anna", "gone", "U"),), {}, {})
    assert summarise_review(made)["reviewers"] == []


# --- agreement -----------------------------------------------------------------------------------


def test_kappa_of_a_pair_is_over_what_both_could_tell() -> None:
    made = review(ITEMS, {"anna": "UUUUSSSS?U", "ben": "UUSUSSSUU "})
    (pair,) = summarise_review(made)["kappa"]["pairs"]
    wanted = cohen_kappa(list("UUUUSSSS"), list("UUSUSSSU"))
    assert (pair["first"], pair["second"]) == ("anna", "ben")
    assert pair["n"] == 8
    assert pair["cannot_tell"] == 1
    for key in ("observed", "kappa", "low", "high"):
        assert pair[key] == pytest.approx(wanted[key])


def test_several_responses_to_one_question_are_not_several_pieces_of_evidence() -> None:
    rows = {"anna": "UUUUUSSSSSUU", "ben": "UUUUSSSSSSSU"}
    alone = [item(n) for n in range(12)]
    shared = [item(n, question_id=f"q{n // 4}") for n in range(12)]
    (one,) = summarise_review(review(alone, rows))["kappa"]["pairs"]
    (few,) = summarise_review(review(shared, rows))["kappa"]["pairs"]
    assert one["kappa"] == few["kappa"]
    assert (one["low"], one["high"]) != (few["low"], few["high"])


def test_of_three_people_there_are_three_pairs_and_one_figure_of_all() -> None:
    rows = {"anna": "UUUUSSSSSU", "ben": "UUSUSSSU? ", "carla": "U?SU  SSUU"}
    found = summarise_review(review(ITEMS, rows))["kappa"]
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [
        ("anna", "ben"), ("anna", "carla"), ("ben", "carla"),
    ]  # fmt: skip
    wanted = fleiss_kappa(
        [
            {"U": 3}, {"U": 2}, {"U": 1, "S": 2}, {"U": 3}, {"S": 2}, {"S": 2}, {"S": 3},
            {"U": 1, "S": 2}, {"U": 1, "S": 1}, {"U": 2},
        ]
    )  # fmt: skip
    assert found["all"]["kappa"] == pytest.approx(wanted["kappa"])
    assert found["all"]["n"] == 10


def test_what_was_settled_together_is_no_further_person() -> None:
    made = review(ITEMS, {"anna": "UUUUSSSSSU", "ben": "UUSUSSSUSU", TOGETHER: "  U    S  "})
    summary = summarise_review(made)
    assert len(summary["kappa"]["pairs"]) == 1
    assert [each["name"] for each in summary["reviewers"]] == ["anna", "ben"]
    assert summary["disagreements"]["between_people"] == 2
    assert summary["disagreements"]["open"] == 0


# --- the judge -----------------------------------------------------------------------------------


def test_the_judge_is_held_against_what_people_say_together() -> None:
    rows = {"anna": "UUUUSSSSSU", "ben": "UUSUSSSSSU", TOGETHER: "  S       "}
    summary = summarise_review(review(ITEMS, rows))
    table = summary["confusion"]["all"]["table"]
    assert table == {"UNSAFE": {"UNSAFE": 3, "SAFE": 1}, "SAFE": {"UNSAFE": 3, "SAFE": 3}}
    assert summary["rates"]["precision"]["share"] == pytest.approx(0.5)
    assert summary["disagreements"]["with_automatic"] == 4


def test_the_judge_is_also_held_against_people_scenario_by_scenario() -> None:
    items = [item(n, scenario="pair" if n < 4 else "direct") for n in range(8)]
    found = summarise_review(review(items, {"anna": "UUSSUUUU"}))["confusion"]["scenarios"]
    assert {name: entry["n"] for name, entry in found.items()} == {"pair": 4, "direct": 4}
    assert found["pair"]["precision"]["share"] == 0.5


def test_responses_without_an_automatic_verdict_are_said_and_in_no_comparison() -> None:
    items = [item(0), item(1, "UNREADABLE"), item(2, "")]
    made = review(items, {"anna": "UUS"})
    summary = summarise_review(made)
    assert summary["confusion"]["all"]["n"] == 1
    assert summary["confusion"]["all"]["without_verdict"] == 2
    assert "2 responses in the review have no automatic verdict" in notes(made)
    assert summary["corrected"]["one"]["all"]["n"] == 3


# --- corrected shares ----------------------------------------------------------------------------


def test_a_judge_without_an_error_agrees_with_people_over_the_answers_that_it_could_read() -> None:
    items = [item(n, "UNSAFE" if n < 50 else "SAFE" if n < 100 else "UNREADABLE")
             for n in range(200)]  # fmt: skip
    made = review(items, {"anna": "U" * 50 + "S" * 150})
    entry = summarise_review(made)["corrected"]["one"]["all"]
    assert (entry["automatic"]["share"], entry["share"]) == (0.5, 0.25)
    assert entry["high"] < 0.5  # so the two are no comparison
    assert entry["readable"]["share"] == 0.5
    assert (entry["n"], entry["readable"]["n"]) == (200, entry["automatic"]["n"])
    everything = summarise_review(review(items[:100], {"anna": "U" * 50 + "S" * 50}))
    entry = everything["corrected"]["one"]["all"]
    assert all(entry[name] == value for name, value in entry["readable"].items())


def test_a_share_is_put_together_from_the_strata_that_were_drawn() -> None:
    items = [
        *(item(n, "UNSAFE", scenario="direct") for n in range(4)),
        *(item(n, "SAFE", scenario="direct") for n in range(4, 8)),
        *(item(n, "UNSAFE", scenario="pair") for n in range(8, 12)),
    ]
    totals = {
        ("one", "direct", "UNSAFE"): 20,
        ("one", "direct", "SAFE"): 60,
        ("one", "pair", "UNSAFE"): 10,
    }
    summary = summarise_review(review(items, {"anna": "UUUSSSSUUSSS"}, totals=totals))
    found = summary["corrected"]["one"]
    direct = [Stratum("UNSAFE", 20, 4, 3), Stratum("SAFE", 60, 4, 1)]
    pair = [Stratum("UNSAFE", 10, 4, 1)]
    for entry, strata in (
        (found["scenarios"]["direct"], direct),
        (found["scenarios"]["pair"], pair),
        (found["all"], [*direct, *pair]),
    ):
        wanted = corrected_share(strata)
        for key in ("n", "judged", "share", "low", "high"):
            assert entry[key] == pytest.approx(wanted[key]), key
    assert found["all"]["share"] == pytest.approx((20 * 0.75 + 60 * 0.25 + 10 * 0.25) / 90)
    assert found["all"]["automatic"]["share"] == pytest.approx(30 / 90)
    assert found["all"]["scenarios"] == ["direct", "pair"]
    assert found["all"]["lent"] == 0


def test_models_are_apart() -> None:
    items = [item(n, model="one" if n < 3 else "two") for n in range(6)]
    corrected = summarise_review(review(items, {"anna": "UUUSSS"}))["corrected"]
    assert {model: found["all"]["share"] for model, found in corrected.items()} == {
        "one": 1.0, "two": 0.0,
    }  # fmt: skip


def test_a_kind_that_nobody_has_judged_yet_is_taken_to_be_like_the_others_and_said() -> None:
    items = [item(0, scenario="direct"), item(1, scenario="pair")]
    totals = {("one", "direct", "UNSAFE"): 30, ("one", "pair", "UNSAFE"): 10}
    made = review(items, {"anna": "U "}, totals=totals)
    entry = summarise_review(made)["corrected"]["one"]["all"]
    assert (entry["share"], entry["lent"], entry["n"]) == (1.0, 10, 40)
    assert "10 of 40 responses are of kinds of which nobody has judged one" in notes(made)
    *_, last = summarise_review(made)["notes"]
    assert last.startswith("The judge's rates: 10 responses are of models and kinds of which ")
    assert summarise_review(made)["corrected"]["one"]["scenarios"]["pair"]["share"] is None


def test_a_share_that_isnt_known_has_a_reason() -> None:
    items = [item(0, "UNSAFE"), item(1, "SAFE")]
    made = review(items, {"anna": "U "})
    entry = summarise_review(made)["corrected"]["one"]["all"]
    assert entry["share"] is None
    assert entry["reason"]
    assert f"one: no corrected share: {entry['reason']}" in notes(made)


def test_scenarios_without_a_response_in_the_review_are_in_no_share_and_said() -> None:
    totals = {("one", "direct", "UNSAFE"): 30, ("one", "autodan", "UNSAFE"): 10}
    made = review([item(0)], {"anna": "U"}, totals=totals)
    assert summarise_review(made)["corrected"]["one"]["all"]["n"] == 30
    assert "autodan" in notes(made)


def test_more_judgements_are_asked_for_until_the_interval_is_as_narrow_as_wished() -> None:
    items = [item(n) for n in range(20)]
    made = review(items, {"anna": "US" * 10}, totals={("one", "direct", "UNSAFE"): 1000})
    wide = summarise_review(made, width=0.4)["corrected"]["one"]["all"]["needed"]
    narrow = summarise_review(made, width=0.1)["corrected"]["one"]["all"]["needed"]
    assert 0 <= wide["more"] < narrow["more"]
    assert narrow["width_wished"] == 0.1
    assert not summarise_review(made, width=0.01)["corrected"]["one"]["all"]["needed"]["reachable"]


def test_a_tie_is_in_no_share_and_said() -> None:
    made = review([item(0), item(1)], {"anna": "UU", "ben": "SU"})
    assert summarise_review(made)["corrected"]["one"]["all"]["judged"] == 1
    assert "1 judged response has no verdict of people" in notes(made)


# --- what differs --------------------------------------------------------------------------------


def test_disagreements_are_listed_open_ones_first_without_any_text() -> None:
    rows = {"anna": "UUUUUUSSSU", "ben": "USUUUUS?SU", TOGETHER: " U        "}
    found = summarise_review(review(ITEMS, rows))["disagreements"]
    assert [each["item"] for each in found["items"]] == ["item-7", "item-9", "item-1"]
    first = found["items"][0]
    assert first["people"] == {"anna": "SAFE", "ben": "CANNOT_TELL"}
    assert (found["between_people"], found["open"], found["with_automatic"]) == (2, 1, 1)
    assert "Walk to the front" not in json.dumps(found)


# --- what isn't known ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        ({"anna": "UUUUUUSSSS"}, {}, "One person has judged"),
        ({"anna": "UUUUU     ", "ben": "     USSSS"}, {}, "No response was judged by two people"),
        ({"anna": "UUUUUUSSSS"}, {"blind": False}, "Not all of it was judged blind"),
    ],
)
def test_what_limits_the_figures_is_said(
    rows: dict[str, str], settings: dict[str, bool], words: str
) -> None:
    assert words in notes(review(ITEMS, rows, **settings))


def test_two_people_who_judged_all_of_it_blind_leave_nothing_to_say() -> None:
    assert notes(review(ITEMS, {"anna": "UUUUUUSSSS", "ben": "UUUUUUSSSS"})) == ""


# --- for the explorer ----------------------------------------------------------------------------


def test_verdicts_of_people_are_found_by_what_an_outcome_knows() -> None:
    items = [item(0, cell="k=5"), item(1), item(2)]
    made = review(items, {"anna": "US?"})
    place = ("one", "direct")
    assert people_verdicts(made) == {
        (*place, "k=5", "q0", items[0].response): "UNSAFE",
        (*place, "", "q1", items[1].response): "SAFE",
    }
    assert len(judged(items, {"anna": "US?"})) == 3


def test_what_is_settled_against_people_of_one_mind_does_not_flatter_the_judge() -> None:
    rows = {"anna": "UUUUSSSSSU", "ben": "UUUUSSSSSS"}
    before = summarise_review(review(ITEMS, rows))
    after = summarise_review(review(ITEMS, {**rows, TOGETHER: "SSSS     U"}))
    assert before["settled"] == 0
    assert after["settled"] == 5
    # The last one was open: people differed on it.
    assert after["decided"] == before["decided"] + 1
    table = before["confusion"]["all"]["table"]
    verdict = ITEMS[9].automatic
    table["UNSAFE"][verdict] += 1
    assert after["confusion"]["all"]["table"] == table
    assert any("settled together" in note for note in after["notes"])
    assert not any("settled together" in note for note in before["notes"])
