"""The page: whole without network or script, deaf to hostile text, readable by everybody."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import stat
from pathlib import Path

import pytest

from derta.errors import DataError
from derta.report.evaluation_page.collect import PageData, collect
from derta.report.evaluation_page.page import (
    LARGEST_BYTES,
    render_evaluation_page,
    write_evaluation_page,
)
from derta.report.evaluation_page.sections_about import OFFLINE_ERROR
from derta.report.evaluation_page.series import SERIES_DARK, SERIES_LIGHT
from tests.analysis.fake_run import write_fake_run
from tests.report.evaluation_page.made_pages import answers, data_of, prefilled
from tests.report.evaluation_page.printed_page import PrintedPage, plain

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PageData:
    folder = tmp_path_factory.mktemp("run") / "evaluation"
    write_fake_run(folder)
    return collect([folder], "derta report runs/evaluation")


@pytest.fixture(scope="module")
def html(data: PageData) -> str:
    return render_evaluation_page(data)


@pytest.fixture(scope="module")
def page(html: str) -> PrintedPage:
    return PrintedPage(html)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hostile") / "evaluation"
    write_fake_run(folder, hostile=True)
    return render_evaluation_page(collect([folder], "derta report \u202e</script>"))


def sections(page: PrintedPage) -> list[str]:
    return [str(each.attributes["id"]) for each in page.all("section")]


# --- order and words -----------------------------------------------------------------------------


def test_a_full_evaluation_shows_every_section_in_its_order(page: PrintedPage) -> None:
    assert sections(page) == [
        "glance", "attacks", "differences", "depth", "position", "knowledge", "detection",
        "stops", "divergence", "exposure", "trade-off", "ablation", "responses", "missing",
        "measured",
    ]  # fmt: skip


def test_the_list_of_sections_leads_to_each_of_them(page: PrintedPage) -> None:
    links = [str(each.attributes["href"]) for each in page.all("a")]
    identifiers = {each.attributes.get("id") for each in page.elements}
    assert all(link.removeprefix("#") in identifiers for link in links)
    assert set(sections(page)) - {"glance"} <= {link.removeprefix("#") for link in links}


def test_each_section_says_in_one_line_what_to_see_and_how_to_make_it_again(
    page: PrintedPage,
) -> None:
    explained = page.all("p", class_="see")
    assert len(explained) >= len(sections(page)) - 3
    again = [
        each for each in page.all("details") if "Make these figures again" in "".join(each.text)
    ]
    assert len(again) == 12


def test_the_names_of_the_models_are_explained(page: PrintedPage) -> None:
    text = page.text("dl", class_="names")
    assert "untouched the model as it came" in text
    assert "vanilla the usual safety training" in text
    assert "derta trained by DeRTa" in text


def test_what_has_no_figures_is_named_with_the_command_that_adds_it() -> None:
    made = render_evaluation_page(data_of(answers("one", "direct", 30, unsafe=3)))
    found = PrintedPage(made)
    assert "absent" in sections(found)
    text = found.text("section", id="absent")
    for words in (
        "differences between two models: name two models",
        "how deep the refusal reaches: derta evaluate runs/one --scenarios prefill",
        "probability and rank of the refusal token by position: derta analyse",
    ):
        assert words in text
    assert not {"depth", "knowledge", "differences"} & set(sections(found))


def test_without_prefilling_the_first_picture_is_of_the_attacks() -> None:
    found = PrintedPage(render_evaluation_page(data_of(answers("one", "direct", 30, unsafe=3))))
    assert "Share of answers that give harmful help, by attack" in found.text("svg")
    identifiers = [e.attributes["id"] for e in found.elements if "id" in e.attributes]
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        answers("one", "direct", 3, errors=3),
        answers("one", "direct", 30, unreadable=30),
        answers("one", "benign", 30, category="ordinary"),
        prefilled("one", 3, {0: 1}),
        prefilled("one", 30, {0: 0, 80: 0}),
    ],
)
def test_the_least_of_an_evaluation_makes_a_page(outcomes: list) -> None:
    found = PrintedPage(render_evaluation_page(data_of(outcomes)))
    text = found.text("body")
    assert "None" not in text
    assert "nan" not in text.lower().split()
    assert "{" not in found.text("main")


def test_errors_and_unreadable_answers_are_counted_apart(page: PrintedPage, data: PageData) -> None:
    rows = page.text("section", id="missing")
    assert "neither safe nor unsafe" in rows
    counted = sum(
        entry["all"]["errors"] > 0 or entry["all"]["unreadable"] > 0
        for model in data.evaluation["models"].values()
        for entry in model["scenarios"].values()
    )
    assert counted > 0
    assert len([f for f in page.figures if f.path.endswith("all.n_all")]) == counted
    assert "needs the model’s weights".replace("’", "'") in rows


def test_a_smoke_run_says_that_its_figures_mean_nothing(page: PrintedPage) -> None:
    assert not page.all("p", class_="banner")
    outcomes = prefilled("one", 30, {0: 3})
    found = PrintedPage(render_evaluation_page(data_of(outcomes, budget="smoke")))
    assert "mean nothing" in found.text("p", class_="banner")
    assert "mean nothing" in found.text("h1")


def test_the_judges_known_error_is_the_one_of_the_documentation(page: PrintedPage) -> None:
    documented = plain((DOCS / "judge.md").read_text(encoding="utf-8")).replace("\xa0", " ")
    for number in re.findall(r"0\.\d{3}", OFFLINE_ERROR):
        assert number in documented
    assert "0.784 (95 % interval 0.701 to 0.850), recall 0.883 (0.807 to 0.932)" in documented
    assert "265 answers" in documented
    assert plain(OFFLINE_ERROR) in page.text("section", id="measured")


def test_another_judge_is_not_said_to_have_the_offline_ones_error() -> None:
    outcomes = answers("one", "direct", 30, unsafe=3)
    found = PrintedPage(render_evaluation_page(data_of(outcomes, judge="rubric:openai/x")))
    assert "0.784" not in found.text("section", id="measured")


def test_the_page_says_how_to_do_it_again(page: PrintedPage) -> None:
    text = page.text("section", id="measured")
    assert "derta evaluate runs/untouched runs/vanilla runs/derta" in text
    assert "derta analyse" in text
    assert "derta report runs/evaluation" in text
    for words in ("0123456789abcdef", "offline", "scripted", "prefill.depths"):
        assert words in text


# --- for every reader ----------------------------------------------------------------------------


def test_headings_go_down_one_level_at_a_time(page: PrintedPage) -> None:
    levels = [int(e.tag[1]) for e in page.elements if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_picture_has_a_title_and_a_description_that_says_the_finding(
    page: PrintedPage,
) -> None:
    identifiers = [str(e.attributes["id"]) for e in page.elements if "id" in e.attributes]
    assert len(identifiers) == len(set(identifiers))
    pictures = page.all("svg")
    assert len(pictures) >= 15
    for picture in pictures:
        assert picture.attributes["role"] == "img"
        assert set(str(picture.attributes["aria-labelledby"]).split()) <= set(identifiers)
    descriptions = page.text("desc")
    assert re.search(r"derta: \d+ % after 0, \d+ % after 5", descriptions)
    assert "area under the curve" in descriptions


def test_models_are_told_apart_by_more_than_colour(html: str, data: PageData) -> None:
    dashes = re.findall(r"\.line\.s\d \{[^}]*?(?:stroke-dasharray: ([\d ]+))?;? \}", html)
    assert len(set(dashes)) == len(dashes) == 8
    looks = data.looks
    assert len({(look.key, look.marker) for look in looks.values()}) == 3
    for name in data.names:  # direct labels at the lines
        assert re.search(rf'class="label {looks[name].key}"[^>]*>{name}<', html)


@pytest.mark.parametrize(
    ("colours", "paper"), [(SERIES_LIGHT, "#ffffff"), (SERIES_DARK, "#15171a")]
)
def test_colours_of_models_can_be_read_on_their_paper(colours: dict[str, str], paper: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in colours.values():
        light, dark = sorted((luminance(colour), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def test_every_control_has_a_name_and_a_type(page: PrintedPage) -> None:
    for button in page.all("button"):
        assert button.attributes["type"] == "button"
        name = "".join(button.text).strip() or button.attributes.get("aria-label")
        assert name or "hidden" in button.attributes


def test_there_is_a_way_past_the_sentences_and_a_language(page: PrintedPage, html: str) -> None:
    (skip,) = page.all("a", class_="skip")
    assert skip.attributes["href"] == "#glance"
    assert '<html lang="en">' in html


# --- hostile text, and nothing from outside ------------------------------------------------------


def test_hostile_text_changes_no_tag_and_no_attribute(html: str, hostile: str) -> None:
    def shape(page: str) -> set[tuple[str, tuple[str, ...]]]:
        return {(e.tag, tuple(sorted(e.attributes))) for e in PrintedPage(page).elements}

    assert shape(hostile) <= shape(html) | {
        # a name that was shortened has the whole as its title
        ("bdi", ("class", "title")),
    }


def test_no_control_character_reaches_the_page(hostile: str) -> None:
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]",
        hostile,
    )
    hostile.encode("utf-8")
    assert "⟨U+202E⟩" in hostile


def test_there_are_two_scripts_and_two_texts_of_data(hostile: str) -> None:
    page = PrintedPage(hostile)
    kinds = [each.attributes.get("type") for each in page.all("script")]
    assert kinds == ["application/json", "application/json", None, None]
    for each in page.all("script", type="application/json"):
        json.loads("".join(each.text))


def test_nothing_is_loaded_from_anywhere(hostile: str) -> None:
    page = PrintedPage(hostile)
    styles = page.text("style")
    assert "url(" not in styles
    assert "@import" not in styles
    for each in page.elements:
        assert each.tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "use"}
        assert not {"src", "srcset", "style", "action"} & set(each.attributes)
        assert not any(name.startswith("on") for name in each.attributes)
        assert (each.attributes.get("href") or "#").startswith("#")


def test_the_content_security_policy_allows_these_scripts_and_nothing_else(html: str) -> None:
    page = PrintedPage(html)
    (policy,) = page.all("meta", http_equiv="Content-Security-Policy")

    def digest(content: str) -> str:
        return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

    style = re.search("<style>(.*?)</style>", html, flags=re.DOTALL).group(1)
    scripts = re.findall("<script>(.*?)</script>", html, flags=re.DOTALL)
    allowed = " ".join(f"'{digest(script)}'" for script in scripts)
    assert len(scripts) == 2
    assert policy.attributes["content"] == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src '{digest(style)}'; script-src {allowed}"
    )


# --- size and file -------------------------------------------------------------------------------


def test_the_page_stays_small(html: str) -> None:
    assert len(html.encode()) <= LARGEST_BYTES
    responses = re.search(
        '<script type="application/json" id="responses-data">(.*?)</script>', html, re.DOTALL
    ).group(1)
    assert len(html.encode()) - len(responses.encode()) < 1_000_000


def test_the_same_folder_gives_the_same_page_byte_for_byte(data: PageData, html: str) -> None:
    assert render_evaluation_page(data) == html


def test_the_page_is_written_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    write_fake_run(folder, models=1, questions=20)
    output = tmp_path / "out" / "report.html"
    write_evaluation_page([folder], output, command="derta report evaluation")
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    before = output.read_bytes()
    (folder / "evaluation.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError):
        write_evaluation_page([folder], output, command="derta report evaluation")
    assert output.read_bytes() == before
    assert [found.name for found in output.parent.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    write_fake_run(folder, models=1, questions=20)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"report\.html.*Name a file"):
        write_evaluation_page([folder], tmp_path / "file" / "report.html", command="c")
