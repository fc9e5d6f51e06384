"""Where the data may come from, and that its lines keep their numbers.

Not covered: published formats and broken files as such (tests of `derta.data`).
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from derta.check_data import check_data
from derta.check_data.sources import find_sources
from derta.data.sample import sample_helpful, sample_triples
from derta.errors import DataError
from tests.check_data.made import (
    HELPFUL,
    TRIPLES,
    changed,
    levels,
    printed,
    write_data,
    write_rows,
)


def test_the_sample_set_is_its_training_rows_and_its_test_rows_are_held_out() -> None:
    report = check_data(["sample"])
    assert report.rows["triples"] == len(sample_triples("train"))
    assert report.rows["helpful"] == len(sample_helpful("train"))
    assert report.leaks is not None
    assert report.leaks["questions"] == len(sample_triples("test")) + len(sample_helpful("test"))
    assert report.leaks["exact"]["count"] == 0
    assert not report.failed()


def test_the_held_out_rows_of_the_sample_set_are_found_elsewhere(tmp_path: Path) -> None:
    stolen = sample_triples("test")[3].triple.prompt.last_text
    path = write_rows(tmp_path / "rows.jsonl", changed(TRIPLES, 1, prompt=stolen))
    assert levels(check_data([path], held_out="sample"))["leak-exact"] == "error"


@pytest.mark.parametrize("ending", [".jsonl.gz", ".csv", ".json", ".parquet"])
def test_other_files_are_read_as_well_as_jsonl(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{ending}"
    if ending == ".jsonl.gz":
        lines = "".join(json.dumps(row) + "\n" for row in TRIPLES)
        path.write_bytes(gzip.compress(lines.encode("utf-8")))
    elif ending == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(TRIPLES[0]))
            writer.writeheader()
            writer.writerows(TRIPLES)
    elif ending == ".json":
        path.write_text(json.dumps(TRIPLES), encoding="utf-8")
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(TRIPLES), path)
    report = check_data([path])
    assert report.rows["triples"] == 3
    plain = check_data([write_data(tmp_path / "plain", helpful=[])])
    assert report.lengths == plain.lengths
    assert report.stands == plain.stands
    assert levels(report) == {}


def test_a_published_format_is_recognised_and_what_makes_no_example_is_counted(
    tmp_path: Path,
) -> None:
    rows = [
        {
            "prompt": row["prompt"],
            "response_0": row["chosen"],
            "response_1": row["rejected"],
            "is_response_0_safe": True,
            "is_response_1_safe": index == 1,
        }
        for index, row in enumerate(TRIPLES)
    ]
    report = check_data([write_rows(tmp_path / "rows.jsonl", rows)])
    assert (report.rows["triples"], report.rows["skipped"]) == (2, 1)
    assert sum(report.skipped.values()) == 1


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    rows = [{"q": row["prompt"], "good": row["chosen"], "bad": row["rejected"]} for row in TRIPLES]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    report = check_data([path], columns={"prompt": "q", "chosen": "good", "rejected": "bad"})
    assert report.rows["triples"] == 3
    assert levels(report) == {}


def test_both_kinds_may_stand_in_one_file(tmp_path: Path) -> None:
    report = check_data([write_rows(tmp_path / "rows.jsonl", [*TRIPLES, *HELPFUL])])
    assert (report.rows["triples"], report.rows["helpful"]) == (3, 3)


def test_several_sources_are_one_data_set(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "a.jsonl", TRIPLES)
    second = write_rows(tmp_path / "b.jsonl", [TRIPLES[2]])
    report = check_data([first, second])
    assert report.repeats["rows"]["count"] == 1
    assert report.repeats["rows"]["places"] == [f"{first}:3", f"{second}:1"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_keep_their_numbers_over_many_chunks(
    line_end: str, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("derta.check_data.sources._CHUNK_BYTES", 300)
    lines = [json.dumps(row) for row in TRIPLES * 4]
    lines[9] = "broken"
    path = tmp_path / "rows.jsonl"
    path.write_bytes((mark + line_end.join(lines)).encode("utf-8"))
    report = check_data([path])
    number = 10 if line_end != "\n\n" else 19
    assert report.unreadable == [
        {"reason": "the line is not JSON", "count": 1, "places": [f"{path}:{number}"]}
    ]
    assert report.rows["triples"] == 11


def test_a_line_that_is_too_long_is_one_problem_and_the_others_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("derta.check_data.sources._CHUNK_BYTES", 300)
    monkeypatch.setattr("derta.check_data.sources._LONGEST_LINE", 2_000)
    rows = [
        *TRIPLES,
        {**TRIPLES[0], "prompt": "why " * 2_000_000},
        *changed(TRIPLES, 0, prompt="?"),
    ]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    report = check_data([path])
    assert report.rows["triples"] == 6
    assert [each["places"] for each in report.unreadable] == [[f"{path}:4"]]
    assert report.rows["unreadable"] == 1
    assert report.repeats["rows"]["places"] == [f"{path}:2", f"{path}:6"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.jsonl", None, "there is no such file"),
        ("empty.jsonl", "", "no rows"),
        ("other.jsonl", '{"a": 1}\n{"a": 2}\n', "no known format has such rows"),
        ("words.jsonl", "not json\n", "not JSON"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_clear_error(
    name: str, content: str | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said) as raised:
        check_data([path])
    assert name in str(raised.value)


def test_a_hub_data_set_is_loaded_by_whoever_can() -> None:
    with pytest.raises(DataError, match="nowhere"):
        check_data(["hub:nobody/nothing"], load_hub=unreachable)


def unreachable(*_: object, **__: object) -> object:
    from derta.errors import InputProblem

    raise DataError([InputProblem("hub:nobody/nothing", "nowhere to be found", "Try again")])


def test_a_folder_is_its_two_files_if_it_has_them(tmp_path: Path) -> None:
    write_data(tmp_path)
    write_rows(tmp_path / "import.jsonl", [{"a": 1}])
    assert [Path(source.name).name for source in find_sources([tmp_path])] == [
        *("triples.jsonl", "helpful.jsonl"),
    ]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv"])
def test_a_split_of_a_plain_file_is_an_error_that_says_so(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{ending}"
    path.write_bytes(b"")
    if ending == ".jsonl":
        write_rows(path, TRIPLES)
    with pytest.raises(DataError, match=r"rows\..*a split was named.*Leave --split out"):
        check_data([path], split="test")


def test_a_split_of_a_folder_of_our_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"triples\.jsonl.*a split was named"):
        check_data([write_data(tmp_path)], split="train")


def test_a_split_of_a_json_file_is_its_list_of_this_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"train": TRIPLES, "test": TRIPLES[:1]}), encoding="utf-8")
    assert check_data([path], split="test").rows["triples"] == 1


@pytest.mark.parametrize("options", [{"split": "test"}, {"columns": {"prompt": "q"}}])
def test_what_the_sample_set_would_ignore_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="the sample set is checked as it is"):
        check_data(["sample"], **options)


def test_columns_are_read_by_their_names_in_files_of_ours_too(tmp_path: Path) -> None:
    rows = [{**row, "q": f"{row['prompt']} Quickly!"} for row in TRIPLES]
    columns = {"prompt": "q", "chosen": "chosen", "rejected": "rejected"}
    report = check_data([write_rows(tmp_path / "rows.jsonl", rows)], columns=columns)
    words = [len(row["q"].split()) for row in rows]
    assert report.lengths["triples.prompt"]["words"]["max"] == max(words)


def test_a_few_rows_that_look_like_ours_make_no_file_of_ours(tmp_path: Path) -> None:
    others = [{"q": row["prompt"], "good": "a b", "bad": "c d"} for row in TRIPLES]
    path = write_rows(tmp_path / "rows.jsonl", [*others, HELPFUL[0]])
    with pytest.raises(DataError, match="no known format has such rows"):
        check_data([path])


def test_a_file_of_which_half_is_ours_is_read_as_ours(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [*({"a": 1} for _ in TRIPLES), *TRIPLES])
    path.write_text(path.read_text("utf-8").replace("\n", "\n\n"), "utf-8")
    report = check_data([path])
    assert (report.rows["triples"], report.rows["unreadable"]) == (3, 3)


# --- the same file again -------------------------------------------------------------------------


def other_names(path: Path) -> list[Path]:
    """Name a file as it is, by a detour, by a link and by a hard link."""
    folder = path.parent
    (folder / "linked.jsonl").symlink_to(path)
    (folder / "hard.jsonl").hardlink_to(path)
    (folder / "away").mkdir()
    return [
        path,
        folder / "away" / ".." / path.name,
        folder / "linked.jsonl",
        folder / "hard.jsonl",
    ]


@pytest.mark.parametrize("index", range(4))
def test_a_file_that_is_named_twice_is_read_once_and_said(index: int, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", TRIPLES)
    again = other_names(path)[index]
    report = check_data([path, again])
    assert report.rows["triples"] == len(TRIPLES)
    assert levels(report) == {}
    assert report.data["sources"] == [str(path)]
    assert report.data["named_again"] == [str(again)]
    said = " ".join(printed(report, width=400).split())
    assert f"Named twice, and read once: {again}" in said
    assert "Named twice" not in printed(check_data([path]))


def test_a_folder_and_a_file_in_it_are_read_once(tmp_path: Path) -> None:
    report = check_data([write_data(tmp_path), tmp_path / "helpful.jsonl"])
    assert (report.rows["triples"], report.rows["helpful"]) == (3, 3)
    assert report.data["named_again"] == [str(tmp_path / "helpful.jsonl")]


def test_the_sample_set_that_is_named_twice_is_read_once() -> None:
    report = check_data(["sample", "sample"])
    assert report.rows["triples"] == len(sample_triples("train"))
    assert report.data["named_again"] == ["sample"]


def test_a_copy_of_a_file_is_another_file(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "a.jsonl", TRIPLES)
    report = check_data([first, write_rows(tmp_path / "b.jsonl", TRIPLES)])
    assert (report.rows["triples"], report.repeats["rows"]["count"]) == (6, 3)
    assert report.data["named_again"] == []


@pytest.mark.parametrize("index", range(4))
def test_held_out_questions_that_are_the_data_are_an_error(index: int, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", TRIPLES)
    with pytest.raises(DataError, match="the held-out questions are one of the files of data"):
        check_data([path], held_out=other_names(path)[index])
    with pytest.raises(DataError, match="the held-out questions are one of the files of data"):
        check_data([tmp_path / "linked.jsonl"], held_out=path)


# --- places in the order of the file -------------------------------------------------------------


def test_what_is_wrong_for_one_reason_is_placed_in_the_order_of_the_file(tmp_path: Path) -> None:
    # A list is read row by row; what the reader can't use and what the format can't are one reason.
    rows: list[Any] = [dict(row) for row in TRIPLES * 3]
    rows[1]["chosen"], rows[4]["chosen"], rows[7]["chosen"] = "", "", ""
    rows[2], rows[5] = "no row", "no row"
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    report = check_data([path])
    for each in report.unreadable:
        numbers = [int(place.rpartition(" ")[2]) for place in each["places"]]
        assert numbers == sorted(numbers), each
    (finding,) = [each for each in report.findings if each.code == "unreadable-rows"]
    about = [example.about for example in finding.examples if example.about]
    assert about == [f"{each['count']} x {each['reason']}" for each in report.unreadable]
    assert [e.place for e in finding.examples][:2] == report.unreadable[0]["places"][:2]


def test_contradictions_are_shown_in_the_order_of_the_data(tmp_path: Path) -> None:
    triples = [{**TRIPLES[0], "prompt": f"How do I cheat at game {i}?"} for i in range(30)]
    helpful = [
        {"prompt": f"How do I cheat at game {i}?", "completion": f"Look at the {i} cards."}
        for i in reversed(range(30))
    ]
    report = check_data([write_data(tmp_path, triples, helpful)])
    places = report.repeats["refused_and_answered"]["places"]
    lines = [re.findall(r"jsonl:(\d+)", place) for place in places]
    assert lines == [["1", "30"], ["2", "29"], ["3", "28"], ["4", "27"], ["5", "26"]]


def test_leaks_are_shown_in_the_order_of_the_data(tmp_path: Path) -> None:
    rows = [{**TRIPLES[0], "prompt": f"How do I cheat at game {i}?"} for i in range(9)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    questions = [{"question": row["prompt"]} for row in reversed(rows)]
    report = check_data([path], held_out=write_rows(tmp_path / "held.jsonl", questions))
    (finding,) = [each for each in report.findings if each.code == "leak-exact"]
    lines = [re.findall(r"jsonl:(\d+)", example.place) for example in finding.examples]
    assert lines == [["1", "9"], ["2", "8"], ["3", "7"], ["4", "6"], ["5", "5"]]
