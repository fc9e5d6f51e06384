"""The page shows what people say beside the automatic judge, and nothing where nobody judged."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.human_agreement import people_verdicts, summarise_review
from derta.analysis.human_verdicts import Review
from derta.analysis.outcomes import Outcome, read_outcomes
from derta.analysis.review_database import database_path
from derta.errors import DataError
from derta.report.evaluation_page.collect import PageData, collect
from derta.report.evaluation_page.explorer import explorer_data, explorer_section
from derta.report.evaluation_page.layout import Shelf
from derta.report.evaluation_page.page import render_evaluation_page
from derta.report.evaluation_page.sections_people import people_section
from tests.analysis.fake_run import write_fake_run
from tests.analysis.made_reviews import TOGETHER, item, said
from tests.report.evaluation_page.made_pages import answers, data_of
from tests.report.evaluation_page.printed_page import PrintedPage, keys_of, plain
from tests.report.evaluation_page.responses import ROOMY
from tests.report.evaluation_page.reviewed_runs import review_of, write_review

NAMES = ("untouched", "vanilla")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("run") / "evaluation"
    write_fake_run(made, models=2, questions=20)
    write_review(made, review_of(read_outcomes(made / "outcomes.jsonl")))
    return made


@pytest.fixture(scope="module")
def data(folder: Path) -> PageData:
    return collect([folder], f"derta report {folder}")


@pytest.fixture(scope="module")
def page(data: PageData) -> PrintedPage:
    return PrintedPage(render_evaluation_page(data))


def section_of(data: PageData) -> PrintedPage:
    made = people_section(data, Shelf())
    assert made is not None
    return PrintedPage(str(made))


def reviewed(*made: Review, outcomes: Sequence[Outcome] = ()) -> PageData:
    """A page's data with reviews of one's choice."""
    found = data_of(outcomes or answers("one", "direct", 30, unsafe=10))
    people: tuple[dict[str, Any], ...] = tuple(
        {"folder": f"runs/{number}", **summarise_review(each)} for number, each in enumerate(made)
    )
    verdicts = {key: verdict for each in made for key, verdict in people_verdicts(each).items()}
    commands = {**found.commands, "people": "derta review runs/evaluation --agreement"}
    return replace(found, people=people, people_verdicts=verdicts, commands=commands)


# --- the section ---------------------------------------------------------------------------------


def test_a_reviewed_run_has_the_section_and_its_place_in_the_list(page: PrintedPage) -> None:
    sections = [str(each.attributes["id"]) for each in page.all("section")]
    assert sections[sections.index("attacks") + 1] == "people"
    assert any(each.attributes["href"] == "#people" for each in page.all("a"))
    assert "People judged a part of these very answers" in page.text("section", id="measured")


def test_without_a_review_or_without_a_verdict_there_is_no_word_of_it(tmp_path: Path) -> None:
    write_fake_run(tmp_path, models=1, questions=3)
    before = render_evaluation_page(collect([tmp_path], "derta report"))
    review = review_of(read_outcomes(tmp_path / "outcomes.jsonl"))
    write_review(tmp_path, replace(review, judgements=()))
    assert render_evaluation_page(collect([tmp_path], "derta report")) == before
    assert 'id="people"' not in before
    assert "derta review" not in before
    assert "people" not in json.loads(re.findall(r'"responses-data">(.*?)</script>', before)[0])


def test_every_number_is_that_of_the_review(page: PrintedPage, data: PageData) -> None:
    found = {f.path: f for f in page.figures if f.path.startswith("people.")}
    assert len(found) > 100
    for path, figure in found.items():
        value: Any = {"people": data.people}
        for key in keys_of(path):
            value = value[int(key)] if isinstance(value, tuple | list) else value[key]
        printed = plain(figure.text).replace("–", "-")
        if isinstance(value, int):
            assert printed == str(value), path
        elif isinstance(value, float):
            assert printed == f"{round(100 * value + 1e-9)} %", path
        elif "kappa" in value:
            wanted = f"{value['kappa']:.2f}".replace("-", "\N{MINUS SIGN}")
            assert printed.split()[0] == wanted, path
        else:
            share = value["share"]
            wanted = "-" if share is None else f"{round(100 * share + 1e-9)} %"
            near = {wanted, "<1 %", ">99 %", "- n 0"}
            assert any(printed.startswith(each) for each in near), (path, printed, wanted)


def test_no_number_of_it_stands_in_a_table_without_its_path(data: PageData) -> None:
    bare = [text for text in section_of(data).bare_numbers if "temperature" not in text]
    assert bare == []


def test_automatic_and_corrected_share_stand_side_by_side(data: PageData) -> None:
    text = section_of(data).text("table", id="people-corrected")
    for model in NAMES:
        entry = data.people[0]["corrected"][model]["all"]
        assert model in text
        assert str(entry["judged"]) in text
    paths = {figure.path for figure in section_of(data).figures}
    assert {
        "people.0.corrected.vanilla.all",
        "people.0.corrected.vanilla.all.automatic",
        "people.0.corrected.vanilla.scenarios.pair",
        "people.0.rates.recall",
        "people.0.confusion.all.table.UNSAFE.SAFE",
        "people.0.kappa.pairs.0",
    } <= paths


def test_the_automatic_share_stands_beside_people_on_the_same_answers() -> None:
    items = tuple(
        item(n, "UNSAFE" if n < 50 else "SAFE" if n < 100 else "UNREADABLE") for n in range(200)
    )
    judgements = tuple(said("anna", f"item-{n}", "U" if n < 50 else "S") for n in range(200))
    counts = {"UNSAFE": 50, "SAFE": 50, "UNREADABLE": 100}
    totals = {item(0, verdict).stratum: count for verdict, count in counts.items()}
    page = section_of(reviewed(Review(items, judgements, totals, {})))
    assert "over the same answers" in page.text("p", class_="see")
    table = page.text("table", id="people-corrected").replace("\xa0", " ")
    heads = ["Automatic judge", "People’s standard, same answers", "People’s standard, all answers"]
    assert [table.index(head) for head in heads] == sorted(table.index(head) for head in heads)
    automatic, same, whole = (
        next(f for f in page.figures if f.path == f"people.0.corrected.one.all{part}").text
        for part in (".automatic", ".readable", "")
    )
    assert [plain(each).split(" %")[0] for each in (automatic, same, whole)] == ["50", "50", "25"]
    assert "over the answers that it could read" in table


def test_where_the_judge_read_all_answers_people_have_one_column() -> None:
    items = tuple(item(n) for n in range(4))
    judgements = tuple(said("anna", each.id, "U") for each in items)
    page = section_of(reviewed(Review(items, judgements, {items[0].stratum: 4}, {})))
    assert "same answers" not in page.text("table", id="people-corrected")
    assert not any("readable" in figure.path for figure in page.figures)


def test_the_command_that_makes_the_figures_stands_below_them(data: PageData, folder: Path) -> None:
    assert f"derta review {folder} --agreement" in section_of(data).text("pre")
    assert f"derta review {folder} --agreement" in PrintedPage(render_evaluation_page(data)).text(
        "section", id="measured"
    )


def test_what_is_assumed_or_not_known_is_said() -> None:
    items = (item(0), item(1, scenario="pair"), item(2, "SAFE"))
    totals = {each.stratum: 10 for each in items}
    data = reviewed(Review(items, (said("anna", "item-0", "U"),), totals, {"blind": False}))
    text = section_of(data).text("section")
    assert "with model, attack and automatic verdict in view" in text
    assert "1 person judged 1 of 30 answers" in text
    assert "no corrected share" in text
    assert "One person has judged" in text
    judged = replace(items[2], automatic="UNSAFE", scenario="direct")
    two = (items[0], items[1], judged)
    totals = {each.stratum: 10 for each in two}
    data = reviewed(Review(two, (said("anna", "item-0", "U"),), totals, {}))
    assert "+ 10 assumed" in section_of(data).text("table", id="people-corrected")


def test_two_reviews_stand_apart(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_fake_run(other, models=2, questions=20, seed=1)
    write_review(other, review_of(read_outcomes(other / "outcomes.jsonl"), ("carla",)))
    data = collect([folder, other], "derta report")
    page = PrintedPage(render_evaluation_page(data))
    headings = ["".join(each.text) for each in page.all("h3")]
    assert sum(str(folder)[-20:] in words or str(other)[-20:] in words for words in headings) == 2
    identifiers = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(identifiers) == len(set(identifiers))
    # Both folders have the same models: they are renamed, in the reviews, too.
    assert set(data.people[0]["corrected"]) <= set(data.names)
    assert set(data.people[1]["corrected"]) <= set(data.names)
    assert len(data.people_verdicts) > len(people_verdicts(review_of(
        read_outcomes(folder / "outcomes.jsonl"))))  # fmt: skip


def test_hostile_names_stay_text() -> None:
    name = '<script>window.hacked = true</script>\u202e"'
    items = tuple(item(n, model=name) for n in range(4))
    judgements = tuple(said(who, each.id, "U") for who in (name, "ben") for each in items)
    totals = {items[0].stratum: 4}
    made = str(people_section(reviewed(Review(items, judgements, totals, {})), Shelf()))
    assert "<script" not in made
    assert "\u202e" not in made
    assert "⟨U+202E⟩" in made


def test_a_damaged_review_is_named(tmp_path: Path) -> None:
    write_fake_run(tmp_path, models=1, questions=3)
    (tmp_path / "review").mkdir()
    database_path(tmp_path / "review").write_bytes(b"nonsense" * 1000)
    with pytest.raises(DataError, match=r"review\.sqlite"):
        collect([tmp_path], "derta report")


# --- both verdicts of an answer ------------------------------------------------------------------


def rows_of(data: PageData) -> list[list[Any]]:
    content = json.loads(explorer_data(data, budget_bytes=ROOMY))
    return [
        [content["verdicts"][row[2]], *(content["verdicts"][each] for each in row[11:])]
        for *_, answers_ in content["items"]
        for row in answers_
    ]


def test_answers_carry_both_verdicts_where_people_judged_them() -> None:
    outcomes = answers("one", "direct", 3, unsafe=3)
    items = tuple(
        replace(item(n), question_id=each.question_id, response=each.response)
        for n, each in enumerate(outcomes)
    )
    judgements = (said("anna", "item-0", "U"), said("anna", "item-1", "S"))
    made = Review(items, judgements, {}, {})
    assert sorted(rows_of(reviewed(made, outcomes=outcomes))) == [
        ["UNSAFE"], ["UNSAFE", "SAFE"], ["UNSAFE", "UNSAFE"],
    ]  # fmt: skip
    settled = (*judgements, said(TOGETHER, "item-1", "U"))
    made = Review(items, settled, {}, {})
    assert sorted(rows_of(reviewed(made, outcomes=outcomes)))[1] == ["UNSAFE", "UNSAFE"]


def test_answers_can_be_filtered_by_what_people_say_only_where_they_said_something() -> None:
    outcomes = answers("one", "direct", 3, unsafe=3)
    plain_page = str(explorer_section(data_of(outcomes), budget_bytes=ROOMY))
    assert 'data-filter="people"' not in plain_page
    items = (replace(item(0), question_id="harmful-0", response=outcomes[0].response),)
    made = Review(items, (said("anna", "item-0", "U"),), {}, {})
    shown = PrintedPage(
        str(explorer_section(reviewed(made, outcomes=outcomes), budget_bytes=ROOMY))
    )
    (select,) = shown.all("select", data_filter="people")
    assert "not as the judge says" in "".join(select.text)


def test_a_response_that_has_changed_since_has_no_verdict_of_people() -> None:
    outcomes = answers("one", "direct", 1, unsafe=1)
    items = (replace(item(0), question_id="harmful-0", response="something else"),)
    made = Review(items, (said("anna", "item-0", "U"),), {}, {})
    assert rows_of(reviewed(made, outcomes=outcomes)) == [["UNSAFE"]]
