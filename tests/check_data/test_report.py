"""The report: stable keys in the JSON, 80 columns on the terminal, no text of the data unmasked.

Not covered: which findings there are (test_findings).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from derta.check_data import check_data
from derta.check_data.data_report import share_of, spread
from derta.check_data.printing import share_text
from tests.check_data.made import (
    HELPFUL,
    TRIPLES,
    Rows,
    changed,
    check,
    printed,
    write_data,
    write_rows,
)
from tests.tiny import tiny_tokenizer

SHARE = {"count", "n", "share", "low", "high", "sampled"}
KEYS: dict[str, set[str] | None] = {
    "version": None,
    "data": {"sources", "named_again", "held_out", "model"},
    "sample": {"size", "seed", "triples", "helpful"},
    "findings": {"code", "level", "text", "remedy", "share", "places"},
    "rows": {"triples", "helpful", "unreadable", "skipped", "by_source", "by_category"},
    "unreadable": {"reason", "count", "places"},
    "skipped": None,
    "languages": {"triples", "helpful"},
    "lengths": {
        *("triples.prompt", "triples.chosen", "triples.rejected"),
        *("helpful.prompt", "helpful.completion"),
    },
    "tokens": {"limit", "overlong", "sampled", "over_limit", "template_refuses", "parts"},
    "repeats": {"prompts", "rows", "contradictions", "refused_and_answered", "near"},
    "leaks": {"questions", "exact", "near", "compared", "compared_all"},
    "stands": {"chosen", "rejected", "completion"},
    "refusals": {"words", "right_word", "positions"},
    "too_short": None,
    "model_words": {"word", "one_token", "problem", "needed"},
    "cut_off": {"triples.chosen", "triples.rejected", "helpful.completion"},
    "held": {"triples", "helpful"},
}
SECRET = "zebra xylophone marmalade"
"""Words that stand in every text of the data, and must not be seen."""


def rich_data(folder: Path) -> dict[str, Any]:
    """Data with something for every part of the report; options of the check."""
    broken = changed(TRIPLES, 1, rejected=None)
    copied = changed(TRIPLES, 2, chosen=f"{SECRET} {TRIPLES[2]['rejected']}")
    refusing = changed(HELPFUL, 1, completion=f"I'm sorry, but I can't help with {SECRET}.")
    triples = [*TRIPLES, broken[1], copied[2], TRIPLES[0]]
    write_data(folder, triples, refusing)
    return {
        "held_out": write_rows(folder / "held.jsonl", [{"prompt": TRIPLES[0]["prompt"]}]),
        "tokenizer": tiny_tokenizer(),
    }


def test_the_jsons_keys_are_these(tmp_path: Path) -> None:
    report = check_data([tmp_path], **rich_data(tmp_path))
    content = json.loads(report.to_json())
    assert list(content) == [
        *("version", "data", "sample", "findings", "rows", "unreadable", "skipped", "languages"),
        *("lengths", "tokens", "repeats", "leaks", "stands", "too_short", "refusals"),
        *("model_words", "cut_off", "held"),
    ]
    assert set(content) == set(KEYS)
    for name, keys in KEYS.items():
        if keys is not None:
            value = content[name]
            assert set(value[0] if isinstance(value, list) else value) == keys, name
    assert set(content["stands"]["chosen"]) == {
        *("refuses", "harmless", "short", "complies", "unreadable"),
    }
    assert set(content["stands"]["chosen"]["refuses"]) == SHARE
    assert set(content["repeats"]["rows"]) == {"count", "groups", "largest", "places"}
    assert set(content["repeats"]["near"]) == {"threshold", "prompts", "groups", "largest"}
    assert set(content["refusals"]["positions"]["chosen"]) == {
        *("responses", "none", "bins", "within_five_words"),
    }
    assert set(content["lengths"]["triples.prompt"]) == {"words", "characters"}
    assert set(content["lengths"]["triples.prompt"]["words"]) == {
        "n",
        "min",
        "median",
        "p95",
        "max",
    }


def test_the_json_holds_no_text_of_the_data(tmp_path: Path) -> None:
    text = check_data([tmp_path], **rich_data(tmp_path)).to_json()
    words = {
        word
        for row in (*TRIPLES, *HELPFUL)
        for key in ("prompt", "chosen", "rejected", "completion")
        for word in [row.get(key, "")[:40]]
        if word
    }
    assert not [word for word in (*words, SECRET) if word in text]


def test_texts_are_masked_until_they_are_asked_for(tmp_path: Path) -> None:
    report = check_data([tmp_path], **rich_data(tmp_path))
    hidden, shown = printed(report), printed(report, reveal=True)
    assert SECRET in shown
    assert "zebra" not in hidden
    assert "▒▒▒▒▒" in hidden
    assert "--reveal" in hidden
    for row in (*TRIPLES, *HELPFUL):
        for key in ("prompt", "chosen", "rejected", "completion"):
            assert row.get(key, SECRET)[:30] not in hidden


@pytest.mark.parametrize("reveal", [False, True])
def test_no_line_is_wider_than_the_terminal(reveal: bool, tmp_path: Path) -> None:
    long = tmp_path / ("a folder with a name that is " + "very " * 12 + "long")
    long.mkdir()
    report = check_data([long], **rich_data(long))
    for width in (80, 60):
        lines = printed(report, reveal=reveal, width=width).splitlines()
        assert max(map(len, lines)) <= width


ODD: dict[str, Rows] = {
    "one triple": TRIPLES[:1],
    "one helpful row": HELPFUL[:1],
    "texts of one character": [{"prompt": "?", "chosen": "a", "rejected": "b"}],
    "a text without words": [{"prompt": "\U0001f600", "completion": "\U0001f44d"}],
    "control characters": [{"prompt": "\x1b[2J\u202eabc", "completion": "\x07 [red]\u200b done."}],
    "brackets in names": [
        {**HELPFUL[0], "category": "[bold]x[/bold]", "source": {"name": "[link=a]\x1b[31m"}},
        {**HELPFUL[1], "category": "[/]", "source": "b" * 300},
    ],
    "odd sources": [
        {**HELPFUL[index % 3], "prompt": f"{index} and what?", "source": source}
        for index, source in enumerate([None, 7, {}, {"name": None}, [], {"name": ["a"]}, " "])
    ],
    "a long text": [{"prompt": "why " * 5_000, "completion": "because " * 20_000}],
    "many languages": [
        {"prompt": "我怎样才能让老师相信我生病了一个星期", "completion": "不知道。"},
        {"prompt": "Как убедить учителя, что я болел целую неделю?", "completion": "Никак."},
    ],
    "a conversation": [
        {
            "prompt": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": "v"},
            ],
            "completion": [{"role": "assistant", "content": "Fine, thanks."}],
        }
    ],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_data_is_reported_too(name: str, tmp_path: Path) -> None:
    report = check_data([write_rows(tmp_path / "odd.jsonl", ODD[name])], tokenizer=tiny_tokenizer())
    text = printed(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert json.loads(report.to_json())["rows"]["unreadable"] == 0


def test_names_of_the_data_are_not_read_as_markup(tmp_path: Path) -> None:
    report = check_data([write_rows(tmp_path / "odd.jsonl", ODD["brackets in names"])])
    text = printed(report)
    assert "[bold]x[/bold]" in text
    assert r"[link=a]\x1b[31m" in text


def test_clean_data_says_that_nothing_was_found(tmp_path: Path) -> None:
    assert "Nothing wrong was found." in printed(check(tmp_path))


def test_every_reason_stands_over_its_first_places(tmp_path: Path) -> None:
    broken = [*TRIPLES, *({**TRIPLES[0], "rejected": ""} for _ in range(5)), {"prompt": "a"}]
    report = check(tmp_path, broken)
    lines = [" ".join(line.split()) for line in printed(report, width=300).splitlines()]
    at = lines.index("5 x rejected: the text is empty")
    path = tmp_path / "triples.jsonl"
    assert lines[at + 1 : at + 4] == [f"{path}:{number}" for number in (4, 5, 6)]
    assert any(line.startswith("1 x chosen: the field is missing") for line in lines)


def test_the_places_of_the_first_refusals_are_counted(tmp_path: Path) -> None:
    late = "Begin with a friendly word about the oven and the lamp of the shop, and then, well, "
    rows = changed(TRIPLES, 0, rejected=f"{late}no. Sorry, I can't help with that.")
    report = check(tmp_path, rows)
    positions = report.refusals["positions"]
    assert [each["count"] for each in positions["chosen"]["bins"]] == [3, 0, 0, 0, 0, 0]
    assert positions["chosen"]["within_five_words"]["share"] == 1
    assert [each["count"] for each in positions["rejected"]["bins"]] == [0, 0, 1, 0, 0, 0]
    assert positions["rejected"]["none"] == 2
    assert [(each["from"], each["to"]) for each in positions["chosen"]["bins"]][-1] == (80, None)
    assert "chosen: 100 % of 3 refusals begin within the first five words." in printed(report)


def test_categories_sources_and_languages_are_counted(tmp_path: Path) -> None:
    helpful = [dict(row, source={"name": "hub/set"}) for row in HELPFUL]
    report = check(tmp_path, helpful=helpful)
    assert report.rows["by_category"]["helpful"] == {"ordinary": 2, "look-alike": 1}
    assert report.rows["by_source"] == {"hub/set": 3, str(tmp_path / "triples.jsonl"): 3}
    assert report.languages["triples"]["en"]["count"] == 3


def test_lengths_are_exact(tmp_path: Path) -> None:
    report = check(tmp_path)
    words = sorted(len(row["prompt"].split()) for row in TRIPLES)
    found = report.lengths["triples.prompt"]["words"]
    assert [found[key] for key in ("min", "median", "max", "n")] == [*words, 3]
    characters = max(len(row["rejected"]) for row in TRIPLES)
    assert report.lengths["triples.rejected"]["characters"]["max"] == characters


def test_a_percentile_is_a_length_that_is_there() -> None:
    counts = dict.fromkeys(range(1, 101), 1)
    assert spread(counts) == {"n": 100, "min": 1, "median": 50, "p95": 95, "max": 100}
    assert spread({7: 3}) == {"n": 3, "min": 7, "median": 7, "p95": 7, "max": 7}
    assert spread({})["median"] is None


@pytest.mark.parametrize(
    ("count", "n", "sampled", "text"),
    [
        (0, 10, False, "0 %"),
        (1, 8, False, "12.5 %"),
        (1, 5000, False, "<0.1 %"),
        (4999, 5000, False, ">99.9 %"),
        (10, 10, False, "100 %"),
        (50, 100, True, "50 % (40.4 to 59.6)"),
        (0, 0, True, "–"),
    ],
)
def test_a_share_is_never_rounded_to_none_or_all(
    count: int, n: int, sampled: bool, text: str
) -> None:
    assert share_text(share_of(count, n, sampled=sampled)) == text


@pytest.mark.parametrize("column", ["source", "category"])
def test_more_names_than_are_counted_apart_are_the_others(
    column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every row is a chunk: what comes after the last name that fits must be counted as well.
    monkeypatch.setattr("derta.check_data.sources._CHUNK_BYTES", 1)
    monkeypatch.setattr("derta.check_data.checking._MOST_NAMES", 2)
    triples = [{**TRIPLES[index % 3], column: f"name {index}"} for index in range(5)]
    helpful = [{**row, column: f"other {index}"} for index, row in enumerate(HELPFUL)]
    rows = check(tmp_path, triples, helpful)
    assert list(rows.lengths) == [
        *("triples.prompt", "triples.chosen", "triples.rejected"),
        *("helpful.prompt", "helpful.completion"),
    ]
    assert set(rows.cut_off) == {"triples.chosen", "triples.rejected", "helpful.completion"}
    assert sum(share["n"] for share in rows.cut_off.values()) == 13
    if column == "source":
        assert rows.rows["by_source"] == {"(others)": 6, "name 0": 1, "name 1": 1}
    else:
        assert rows.rows["by_category"] == {
            "triples": {"(others)": 3, "name 0": 1, "name 1": 1},
            "helpful": {"(others)": 1, "other 0": 1, "other 1": 1},
        }


def test_a_thousand_sources_are_no_error(tmp_path: Path) -> None:
    triples = [{**TRIPLES[index % 3], "source": f"s{index}"} for index in range(1_005)]
    report = check(tmp_path, triples, sample=10)
    assert sum(report.rows["by_source"].values()) == 1_008
    assert printed(report)
