"""The page: true to the data, whole without network or script, deaf to hostile text."""

from __future__ import annotations

import base64
import hashlib
import re
import stat
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from math import floor

import pytest

from derta.report import ResultsError, depth_figure, render_report, write_report
from derta.report.markup import visible_text
from tests.report.fake_results import REFUSAL, full_results, minimal_results, wilson

VOID = {"meta", "br", "hr"}
HOSTILE = (
    "</script><script>alert(1)</script><!-- ' onload='x' \" onclick=\"x\" "
    "<img src=x onerror=alert(1)></title></style></svg>]]>&lt;b&gt; javascript:x \u2028\u202e\x00"
    "\x1b[2J\ud800\u200b {{x}} ${x}"
)


class Page(HTMLParser):
    """Collects tags with the names of their attributes, and the text; checks the nesting."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[tuple[str, ...], tuple[str, ...], str]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("class") or ""))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data):
        tags, classes = zip(*self._open, strict=True) if self._open else ((), ())
        self.text.append((tags, classes, data))

    def inside(self, word: str) -> str:
        """Give the text inside elements of this tag or class."""
        return "".join(
            text
            for tags, classes, text in self.text
            if word in tags or any(word in names.split() for names in classes)
        )


def with_text(results: object, text: str) -> object:
    """Put a text into every text field and key that may hold any."""
    kept = {"schema", "name", "scenario", "budget"}
    free = {"machine", "recipe", "seconds", "data", "test"}

    def change(value: object, key: str, *, keep_name: bool) -> object:
        if isinstance(value, str):
            fixed = key in kept and (key != "name" or keep_name)
            return value if fixed else text
        if isinstance(value, list):
            return [change(part, key, keep_name=key == "models") for part in value]
        if isinstance(value, dict):
            changed = {
                (f"{text}{index}" if key in free else name): change(part, name, keep_name=keep_name)
                for index, (name, part) in enumerate(value.items())
            }
            if changed.get("refusal_span"):
                changed["refusal_span"] = [2, 3]
            return changed
        return value

    return change(results, "", keep_name=False)


def test_hostile_text_in_every_field_changes_no_tag_and_no_attribute():
    plain = Page(render_report(with_text(full_results(), "word word")))
    hostile = Page(render_report(with_text(full_results(), HOSTILE)))
    assert hostile.tags == plain.tags
    assert plain.inside("main").count("word word") > 20


def test_hostile_text_is_on_the_page_as_text_with_its_controls_visible():
    page = render_report(with_text(full_results(), HOSTILE))
    assert "<img src=x onerror=alert(1)>" in Page(page).inside("prompt")
    assert "⟨U+202E⟩⟨U+0000⟩\u27e8U+001B⟩[2J⟨U+D800⟩⟨U+200B⟩" in Page(page).inside("prompt")
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", page
    )
    page.encode("utf-8")


def test_visible_text_keeps_words_lines_and_tabs():
    assert visible_text("Grüße\t日本\r\nend") == "Grüße\t日本\nend"
    assert visible_text("a\rb\x7f") == "a⟨U+000D⟩b⟨U+007F⟩"


def test_nothing_is_loaded_from_anywhere():
    page = render_report(full_results())
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page
    for tag, attributes in Page(page).attributes:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "use"}
        assert not {"src", "srcset", "style", "data", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")


def test_the_content_security_policy_allows_this_style_and_this_script_and_nothing_else():
    page = render_report(full_results())
    policy = next(
        attributes["content"]
        for tag, attributes in Page(page).attributes
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )

    def digest(tag: str) -> str:
        content = re.search(f"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL).group(1)
        return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

    assert policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{digest('style')}'; script-src 'sha256-{digest('script')}'"
    )
    assert page.count("<script") == 1


def test_the_sentence_on_top_says_what_the_data_say():
    results = full_results()
    results["models"][1]["prefill"][3]["refused"] = wilson(7, 50)
    results["models"][2]["prefill"][3]["refused"] = wilson(41, 50)
    assert Page(render_report(results)).inside("h1").replace("\xa0", " ") == (
        "After 20 tokens of a harmful answer were put into its mouth, DeRTa still refuses 82 % of "
        "the time; the usual training, 14 %."
    )
    assert "6 % of ordinary harmless questions (usual training 3 %)" in Page(
        render_report(results)
    ).inside("lead").replace("\xa0", " ")


def test_the_sentence_on_top_takes_the_deepest_k_where_20_is_missing():
    results = full_results()
    del results["models"][2]["prefill"][3]
    heading = Page(render_report(results)).inside("h1").replace("\xa0", " ")
    assert heading.startswith("After 80 tokens")
    assert "refuses 94 % of the time; the usual training, 2 %." in heading


def test_the_sentence_on_top_does_not_say_still_where_derta_is_worse():
    results = full_results()
    results["models"][2]["prefill"][3]["refused"] = wilson(1, 50)
    assert "still" not in Page(render_report(results)).inside("h1")


def test_every_share_stands_in_the_table_with_its_interval_and_n():
    table = Page(render_report(full_results())).inside("measures").replace("\xa0", " ")
    for model in full_results()["models"]:
        shares = [measure["refused"] for measure in model["prefill"]]
        shares += [model["raw_text"]["refused"], *model["false_refusals"].values()]
        for share in shares:
            low, high = round(share["low"] * 100), round(share["high"] * 100)
            assert f"{floor(share['share'] * 100 + 0.5)} % {low}–{high} n {share['n']}" in table


@pytest.mark.parametrize("count", [1, 999])
def test_a_share_is_never_shown_as_none_or_all_unless_it_is(count):
    results = full_results()
    results["models"][0]["raw_text"]["refused"] = wilson(count, 1000)
    shown = "<1\xa0%" if count == 1 else ">99\xa0%"
    assert shown in Page(render_report(results)).inside("measures")


def test_harmful_text_is_blurred_and_the_refusal_and_benign_text_are_not():
    page = Page(render_report(full_results()))
    veiled = page.inside("veiled")
    assert "stand where the till hides you" in veiled
    assert "Wear a coat with deep pockets" in veiled
    assert "hand free. " in veiled
    assert REFUSAL not in veiled
    assert page.inside("mark").count(REFUSAL) == 5
    assert "kill 4242" in page.inside("response")
    assert "kill 4242" not in veiled
    assert "revealed" not in {a.get("class") for _, a in page.attributes}
    for _, attributes in page.attributes:
        if attributes.get("class") == "veiled":
            assert attributes["aria-hidden"] == "true"


def test_a_harmful_response_without_a_refusal_span_is_blurred_whole():
    results = full_results()
    response = results["examples"][0]["responses"]["derta"]
    response["refusal_span"] = None
    assert response["text"] in Page(render_report(results)).inside("veiled")


def test_what_reveals_are_buttons_that_name_what_they_control():
    page = Page(render_report(full_results()))
    identifiers = [a["id"] for _, a in page.attributes if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    buttons = [attributes for tag, attributes in page.attributes if tag == "button"]
    assert len(buttons) == 1 + 2 - 1 + 9  # all, one prefilled text, nine harmful responses
    for button in buttons:
        assert button["type"] == "button"
        assert "hidden" in button  # the script shows it: without it nothing would happen
        if button.get("id") == "reveal-all":
            assert button["aria-pressed"] == "false"
        else:
            assert button["aria-expanded"] == "false"
            assert button["aria-controls"] in identifiers
    assert "stays blurred" in page.inside("noscript")


def test_every_picture_has_a_title_and_a_description():
    page = Page(render_report(full_results()))
    pictures = [attributes for tag, attributes in page.attributes if tag == "svg"]
    identifiers = {a.get("id") for _, a in page.attributes}
    assert len(pictures) == 2 + 3 + 3 + 4
    for picture in pictures:
        assert picture["role"] == "img"
        assert set(picture["aria-labelledby"].split()) <= identifiers
    assert "DeRTa: 100 % at 0, 100 % at 5, 98 % at 10" in page.inside("desc")


def test_the_least_results_render_with_dashes():
    page = Page(render_report(minimal_results()))
    assert "–" in page.inside("measures")
    assert "no data" in page.inside("main")
    assert "None" not in page.inside("body")
    assert "nan" not in page.inside("main").split()
    render_report({"schema": "derta/results/1", "models": []})


def test_gaps_in_the_results_never_stop_the_page():
    results = full_results()
    untouched, vanilla, derta = results["models"]
    untouched["prefill"] = untouched["prefill"][:2]
    untouched["refusal_position"] = {
        "words": [], "n": 0, "median": None, "within_first_5": None,
    }  # fmt: skip
    empty = {"position": [], "mean": [], "low": [], "high": [], "n": []}
    untouched["refusal_probability"]["harmful"] = empty
    vanilla["refusal_probability"] = {"harmful": empty, "benign": empty, "auc": None}
    vanilla["raw_text"]["refused"] = wilson(0, 0)
    vanilla["training"]["log"] = []
    derta["refusal_probability"]["benign"]["mean"][3] = float("nan")
    derta["refusal_probability"]["auc"]["value"] = None
    derta["training"]["log"] = [{"step": 1}]
    derta["helpful_loss"] = {"nats": None}
    del results["examples"][0]["responses"]["vanilla"]
    results["examples"][1]["prefilled"] = None
    results["examples"][2]["responses"]["derta"]["text"] = ""
    results["examples"][2]["responses"]["derta"]["refusal_span"] = None
    results["bounds"][0].update(value=None, met=None)
    body = Page(render_report(results)).inside("body")
    assert "None" not in body
    assert "nan" not in body.lower().split()


def few_go_on() -> dict:
    """Results whose curves have 24 responses up to position 2, and then 19 and 1 of 0.9 each."""
    results = full_results()
    for model in results["models"]:
        for kind in ("harmful", "benign"):
            model["refusal_probability"][kind] = {
                "position": [0, 1, 2, 3, 4],
                "mean": [0.5, 0.4, 0.25, 0.9, 0.9],
                "low": [0.4, 0.3, 0.2, 0.8, 0.9],
                "high": [0.6, 0.5, 0.3, 1.0, 0.9],
                "n": [24, 24, 24, 19, 1],
            }
    return results


def test_a_probability_that_few_responses_reach_is_neither_drawn_nor_said_nor_in_the_table():
    results = few_go_on()
    page = Page(render_report(results))
    description = page.inside("desc")
    assert "0.50 at the first position, 0.25 at position 2." in description
    assert "0.90" not in description
    section = page.inside("main")
    assert "A line ends where fewer than 20 responses go on." in section
    assert "(n 24)" in section
    assert "(n 1)" not in section


def test_a_smoke_run_draws_its_few_responses_to_their_end():
    results = few_go_on()
    results["budget"] = "smoke"
    page = Page(render_report(results))
    assert "0.90 at position 4." in page.inside("desc")
    assert "A line ends where" not in page.inside("main")


def test_curves_without_enough_responses_leave_the_page_whole():
    results = few_go_on()
    for model in results["models"]:
        for kind in ("harmful", "benign"):
            model["refusal_probability"][kind]["n"] = [3, 3, 3, 2, 1]
    body = Page(render_report(results)).inside("body")
    assert "at the first position" not in body
    assert "nan" not in body.lower().split()


def test_a_smoke_run_says_that_its_figures_mean_nothing():
    results = full_results()
    assert Page(render_report(results)).inside("banner") == ""
    results["budget"] = "smoke"
    assert "figures mean nothing" in Page(render_report(results)).inside("banner")
    assert "figures mean nothing" in depth_figure(results)


def test_bounds_are_shown_met_and_missed_alike():
    text = Page(render_report(full_results())).inside("main").replace("\xa0", " ")
    assert "3 of 4 met." in text
    assert "DeRTa refuses, every kat least 95 %94 %✗ missed" in text
    assert "at most 5 points+3.3 points✓ met" in text


def test_the_page_says_how_to_do_it_again():
    results = full_results()
    body = Page(render_report(results)).inside("body")
    for words in (results["command"], *(file["sha256"] for file in results["data"].values())):
        assert words in body


def test_the_page_is_written_whole_and_for_its_owner_only(tmp_path):
    path = tmp_path / "run" / "report.html"
    write_report(full_results(), path)
    assert path.read_text(encoding="utf-8") == render_report(full_results())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ResultsError):
        write_report({"schema": "other"}, path)
    assert path.read_text(encoding="utf-8") == render_report(full_results())
    assert [found.name for found in path.parent.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ResultsError, match=r"report\.html"):
        write_report(full_results(), tmp_path / "file" / "report.html")


def test_the_same_results_give_the_same_page_byte_for_byte():
    assert render_report(full_results()) == render_report(full_results())


def test_the_depth_figure_is_a_well_formed_file_of_its_own():
    results = with_text(full_results(), HOSTILE)
    root = ET.fromstring(depth_figure(results))
    names = {node.tag.rpartition("}")[2] for node in root.iter()}
    assert names == {
        "svg", "title", "desc", "style", "rect", "text", "line", "path", "circle",
    }  # fmt: skip
    assert "var(" not in depth_figure(results)
    assert root.find("{http://www.w3.org/2000/svg}rect").get("class") == "ground"
    words = "".join(root.itertext())
    assert "alert(1)" in words
    assert all(label in words for label in ("Untouched", "Usual training", "DeRTa"))


def test_the_page_names_every_refusal_word_of_the_run_once():
    results = full_results()
    assert "refusal token “Sorry” at each position" in render_report(results)
    assert "The refusal token is “Sorry”." in render_report(results)
    results["recipe"]["refusal_words"] = {"zh": "抱歉", "en": "Sorry", "fr": "Non"}
    page = render_report(results)
    assert "Mean probability of the refusal tokens “Sorry”, “抱歉”, “Non” together at each" in page
    assert "The refusal tokens are “Sorry”, “抱歉”, “Non”." in page
    results["recipe"]["refusal_words"] = "auto"
    assert "The refusal token is “Sorry”." in render_report(results)
