"""`derta data import`: what is written, what is left out and why, and that nothing half remains."""

from __future__ import annotations

import csv
import gzip
import json
import re
import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from rich.console import Console

from derta.data import importing
from derta.data.files import load_helpful, load_triples
from derta.data.import_report import SHOWN_PLACES, ImportReport, SourceReport, render_import
from derta.data.importing import import_data
from derta.data.sample import sample_file
from derta.errors import DataError, InputProblem
from tests.data.test_formats import CASES

TRIPLE = {
    "prompt": "How do I fake a doctor's note?",
    "chosen": "Sorry, I can't help with a forged note.",
    "rejected": "Copy the letterhead of a practice.",
}
HELPFUL = {"prompt": "Name a fruit.", "completion": "An apple."}
BEAVER = {"prompt": TRIPLE["prompt"], "response": TRIPLE["chosen"], "is_safe": True}
BEAVER_UNSAFE = {**BEAVER, "response": TRIPLE["rejected"], "is_safe": False}


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check_loads(output: Path) -> tuple[int, int]:
    """Load what was written with our own readers: (triples, helpful), without a problem."""
    counts = []
    for name, load in (("triples.jsonl", load_triples), ("helpful.jsonl", load_helpful)):
        loaded: Any = load(output / name) if (output / name).exists() else None
        assert loaded is None or loaded.problems == []
        counts.append(0 if loaded is None else len(loaded.rows))
    return counts[0], counts[1]


def error_of(*args: Any, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        import_data(*args, **settings)
    assert all(problem.remedy for problem in caught.value.problems)
    return str(caught.value)


def rendered(report: ImportReport) -> str:
    console = Console(width=80, force_terminal=False, record=True, file=_Nowhere())
    render_import(report, console)
    return console.export_text()


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


# --- what is written -------------------------------------------------------------------------


def test_several_sources_become_our_two_files(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", TRIPLE, {**TRIPLE, "prompt": "Another one?"})
    chats = write(
        tmp_path / "chats.jsonl",
        {
            "conversations": [
                {"from": "human", "value": HELPFUL["prompt"]},
                {"from": "gpt", "value": HELPFUL["completion"]},
            ]
        },
    )
    output = tmp_path / "out"
    report = import_data([pairs, chats], output)
    assert check_loads(output) == (2, 1) == (report.triples, report.helpful)
    first = records(output / "triples.jsonl")[0]
    assert {name: first[name] for name in TRIPLE} == TRIPLE
    assert first["source"] == {"name": str(pairs), "format": "preference", "row": 1}
    (helpful,) = records(output / "helpful.jsonl")
    assert helpful["source"] == {"name": str(chats), "format": "sharegpt", "row": 1}
    assert sorted(path.name for path in output.iterdir()) == [
        ".gitignore",
        "helpful.jsonl",
        "import.json",
        "triples.jsonl",
    ]


def test_ids_are_those_of_the_content(tmp_path: Path) -> None:
    other = {**TRIPLE, "rejected": "Something else."}
    path = write(tmp_path / "a.jsonl", TRIPLE, other, {**TRIPLE, "id": 7, "score": 1})
    import_data([path], tmp_path / "out")
    first, second, third = records(tmp_path / "out" / "triples.jsonl")
    assert first["id"] == third["id"] != second["id"]
    assert third["source"]["id"] == 7
    again = write(tmp_path / "b.jsonl", other, TRIPLE)
    import_data([again], tmp_path / "again")
    ids = [row["id"] for row in records(tmp_path / "again" / "triples.jsonl")]
    assert ids == [second["id"], first["id"]]


def test_names_and_provenance_that_derta_gave_are_kept(tmp_path: Path) -> None:
    origin = {"name": "derta data make", "try": 2}
    path = write(
        tmp_path / "ours.jsonl",
        {**TRIPLE, "id": "h001", "source": origin, "topic": "notes", "language": "en"},
        {**TRIPLE, "source": "a book"},
    )
    import_data([path], tmp_path / "out")
    ours, theirs = records(tmp_path / "out" / "triples.jsonl")
    assert ours == {**TRIPLE, "id": "h001", "source": origin, "topic": "notes", "language": "en"}
    assert theirs["source"]["given"] == "a book"
    assert theirs["source"]["row"] == 2


def test_the_sample_set_survives_an_import_row_by_row(tmp_path: Path) -> None:
    sources = [tmp_path / "sample-triples.jsonl", tmp_path / "sample-helpful.jsonl"]
    for source in sources:
        source.write_bytes(sample_file(source.name.removeprefix("sample-")))
    report = import_data(sources, tmp_path)
    for name, load in (("triples.jsonl", load_triples), ("helpful.jsonl", load_helpful)):
        before: Any = load(sources[name == "helpful.jsonl"])
        after: Any = load(tmp_path / name)
        assert before.rows == after.rows
        for old, new in zip(before.columns, after.columns, strict=True):
            assert {column: new[column] for column in old} == old
    assert not report.left_out


def test_csv_and_parquet_files_of_our_formats_are_read(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    rows: list[dict[str, Any]] = [
        {"prompt": json.dumps(messages), "completion": "Hello", "finished": "false"},
        {"prompt": "Tell me\nof tides, please.", "completion": 'The "moon"', "finished": ""},
    ]
    table = tmp_path / "rows.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    import_data([table], tmp_path / "a")
    first, second = records(tmp_path / "a" / "helpful.jsonl")
    assert (first["prompt"], first["finished"]) == (messages, False)
    assert (second["prompt"], second["completion"]) == (rows[1]["prompt"], 'The "moon"')
    assert "finished" not in second
    parquet = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{**TRIPLE, "prompt": messages, "score": 0.5}]), parquet
    )
    import_data([parquet], tmp_path / "b")
    (triple,) = records(tmp_path / "b" / "triples.jsonl")
    assert (triple["prompt"], triple["score"]) == (messages, 0.5)
    assert triple["source"] == {"name": str(parquet), "format": "preference", "row": 1}


def test_compressed_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(TRIPLE).encode() + b"\n"))
    assert import_data([path], tmp_path / "out").triples == 1


def test_a_new_folder_is_private_and_ignored_by_git_and_an_old_one_stays_as_it_is(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.jsonl", TRIPLE)
    import_data([path], tmp_path / "deep" / "new")
    assert stat.S_IMODE((tmp_path / "deep" / "new").stat().st_mode) == 0o700
    assert (tmp_path / "deep" / "new" / ".gitignore").read_text() == "*\n"
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    import_data([path], old)
    assert sorted(item.name for item in old.iterdir()) == ["import.json", "triples.jsonl"]
    assert stat.S_IMODE(old.stat().st_mode) == 0o755


@pytest.mark.parametrize(("name", "rows", "expected"), CASES)
def test_what_is_written_of_any_format_always_loads(
    tmp_path: Path, name: str, rows: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    spoilt = [{**rows[0], key: None} for key in rows[0]]
    path = write(tmp_path / "rows.jsonl", *rows, "{broken", *spoilt)
    report = import_data([path], tmp_path / "out", format=name)
    assert sum(check_loads(tmp_path / "out")) == report.made >= 1
    assert report.left_out
    written = [row for file in (tmp_path / "out").glob("*.jsonl") for row in records(file)]
    assert all(row["id"] and row["source"]["format"] == name for row in written)
    assert any(expected.items() <= row.items() for row in written)


# --- what is left out ------------------------------------------------------------------------


def test_what_is_left_out_is_counted_by_reason_and_listed_with_its_place(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        TRIPLE,
        "{broken",
        {**TRIPLE, "rejected": ""},
        {**TRIPLE, "rejected": TRIPLE["chosen"]},
        {**TRIPLE, "prompt": "\ud800"},
        TRIPLE,
    )
    report = import_data([path], tmp_path / "out")
    assert check_loads(tmp_path / "out") == (2, 0)
    (source,) = report.sources
    assert source.skips == {
        "rejected is empty": 1,
        "rejected: chosen and rejected are the same text": 1,
    }
    assert source.problems.total() == 2
    saved = json.loads((tmp_path / "out" / "import.json").read_text())
    assert saved["made"] == {"triples": 2, "helpful": 0}
    assert saved["left_out"] == 4
    reasons = saved["sources"][0]["left_out"]
    assert sorted((each["first"][0]["line"], each["broken"], each["rows"]) for each in reasons) == [
        (2, True, 1),
        (3, False, 1),
        (4, False, 1),
        (5, True, 1),
    ]
    assert {each["reason"] for each in reasons} == {*source.skips, *source.problems}
    assert all("remedy" in each["first"][0] for each in reasons if each["broken"])


def test_reasons_are_told_by_their_count_and_the_first_place_of_each_is_always_there(
    tmp_path: Path,
) -> None:
    empty = [{**TRIPLE, "rejected": ""}] * (SHOWN_PLACES + 5)
    path = write(tmp_path / "rows.jsonl", TRIPLE, *empty, *["{broken"] * 2, {**TRIPLE, "chosen": 3})
    report = import_data([path], tmp_path / "out")
    (source,) = json.loads((tmp_path / "out" / "import.json").read_text())["sources"]
    assert [(each["rows"], each["first"][0]["line"]) for each in source["left_out"]] == [
        (SHOWN_PLACES + 5, 2),
        (2, SHOWN_PLACES + 7),
        (1, SHOWN_PLACES + 9),
    ]
    places = [each["line"] for each in source["left_out"][0]["first"]]
    assert places == list(range(2, SHOWN_PLACES + 2))
    text = rendered(report)
    shown = text.split("Left out, by reason:")[1]
    assert [int(count) for count in re.findall(r"^ *(\d+)  \D", shown, re.MULTILINE)][:3] == [
        SHOWN_PLACES + 5,
        2,
        1,
    ]
    for line in (2, SHOWN_PLACES + 7, SHOWN_PLACES + 9):
        assert re.search(rf"first: .*rows\.jsonl:{line}\b", shown.replace("\n" + " " * 12, " "))


def test_rows_that_are_grouped_are_named_in_the_order_of_the_file(tmp_path: Path) -> None:
    def row(prompt: str, safe: bool, text: str) -> dict[str, Any]:
        return {"prompt": prompt, "response": text, "is_safe": safe}

    pair = [row("b?", True, "no"), row("b?", False, "yes")]
    rows = [row("a?", True, "no"), *pair, row("c?", True, "no"), row("a?", True, "never")]
    report = import_data([write(tmp_path / "a.jsonl", *rows)], tmp_path / "out")
    (reason,) = report.sources[0].reasons
    assert reason.text == "no unsafe response is left to pair the safe one with"
    assert [place.line for place in reason.first] == [1, 4, 5]
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "a.jsonl", *[*rows[:1]] * 2)
    write(folder / "b.jsonl", *pair, *[row("d?", True, "no"), row("a?", True, "never")])
    (reason, twice) = import_data([folder], tmp_path / "two").sources[0].reasons
    assert [(Path(place.path).name, place.line) for place in reason.first] == [
        ("a.jsonl", 1),
        ("b.jsonl", 3),
        ("b.jsonl", 4),
    ]
    assert twice.rows == 1


def test_reasons_that_differ_in_every_row_stay_few() -> None:
    source = SourceReport("a", "preference")
    for n in range(2000):
        letters = "".join(chr(97 + int(digit)) for digit in str(n))
        source.problem(InputProblem("a", f"column {n} holds '{n}x'", "Mend it", n))
        source.problem(InputProblem("a", f"special {letters}", "Mend it", n))
    assert source.problems["column N holds ..."] == 2000
    assert len(source.problems) <= 101
    assert source.problems.total() == 4000


def test_a_reason_leaves_out_the_numbers_of_one_row_and_no_others() -> None:
    source = SourceReport("a", "preference")
    for byte in ("0xe9", "0xfc"):
        problem = f"byte 12 of the line ({byte}), or {byte}, is not UTF-8: messages.3 and text2"
        source.problem(InputProblem("a", problem, "Mend it"))
    expected = "byte N of the line ..., or N, is not UTF-8: messages.N and text2"
    assert source.problems == {expected: 2}


def test_if_nothing_can_be_made_the_error_says_why_and_nothing_is_left(tmp_path: Path) -> None:
    rows = [{**TRIPLE, "rejected": ""}, {**TRIPLE, "chosen": ""}, {**TRIPLE, "rejected": " "}]
    path = write(tmp_path / "rows.jsonl", *rows)
    message = error_of([path], tmp_path / "out")
    assert "no example could be made as preference" in message
    assert "2  rejected is empty (first: " in message
    lines = message.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]
    assert lines[1].endswith("rows.jsonl:1)")
    assert lines[2].endswith("rows.jsonl:2)")
    assert not (tmp_path / "out").exists()


def test_a_source_that_cannot_be_read_or_recognised_leaves_nothing(tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", TRIPLE)
    odd = write(tmp_path / "odd.jsonl", {"a": 1})
    for bad in (tmp_path / "missing.jsonl", odd):
        assert str(bad) in error_of([good, bad], tmp_path / "out")
        assert not (tmp_path / "out").exists()
    assert "there is no source" in error_of([], tmp_path / "out")


# --- options ---------------------------------------------------------------------------------


def test_pairs_can_become_helpful_examples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", TRIPLE)
    import_data([path], tmp_path / "out", keep="helpful")
    assert check_loads(tmp_path / "out") == (0, 1)
    (row,) = records(tmp_path / "out" / "helpful.jsonl")
    assert (row["completion"], row["rejected"]) == (TRIPLE["chosen"], TRIPLE["rejected"])


def test_formats_and_columns_can_be_named(tmp_path: Path) -> None:
    row = {"e": {"q": TRIPLE["prompt"], "good": TRIPLE["chosen"], "bad": TRIPLE["rejected"]}}
    path = write(tmp_path / "a.jsonl", row)
    assert "no known format" in error_of([path], tmp_path / "out")
    columns = {"prompt": "e.q", "chosen": "e.good", "rejected": "e.bad"}
    assert import_data([path], tmp_path / "out", columns=columns).triples == 1
    both = write(tmp_path / "b.jsonl", {**TRIPLE, **HELPFUL})
    assert import_data([both], tmp_path / "two", format="prompt-completion").helpful == 1


def test_the_limit_counts_examples_of_all_sources(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.jsonl", *[TRIPLE] * 3) for n in range(3)]
    report = import_data(paths, tmp_path / "out", limit=4)
    assert check_loads(tmp_path / "out") == (4, 0)
    assert [source.triples for source in report.sources] == [3, 1]
    assert report.sources[-1].limited
    assert "may be more rows" in rendered(report)
    assert "below 1" in error_of(paths, tmp_path / "none", limit=0)


def test_the_limit_of_grouped_rows_counts_examples(tmp_path: Path) -> None:
    rows = [
        {**row, "prompt": f"Question {n}?"} for n in range(5) for row in (BEAVER, BEAVER_UNSAFE)
    ]
    report = import_data([write(tmp_path / "a.jsonl", *rows)], tmp_path / "out", limit=2)
    assert report.triples == 2
    pairs = [row["source"] for row in records(tmp_path / "out" / "triples.jsonl")]
    assert [(pair["row"], pair["rejected_row"]) for pair in pairs] == [(1, 2), (3, 4)]


def test_data_sets_of_the_hub_are_read(tmp_path: Path) -> None:
    asked = []

    def load(hub: Any) -> list[dict[str, Any]]:
        asked.append((hub.hub_id, hub.config, hub.split))
        return [TRIPLE]

    report = import_data(["owner/name:mild"], tmp_path, split="train", load_hub=load)
    assert (asked, report.triples) == ([("owner/name", "mild", "train")], 1)
    (row,) = records(tmp_path / "triples.jsonl")
    assert row["source"] == {"name": "owner/name:mild", "format": "preference", "row": 1}


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *[TRIPLE] * 20_000)
    told: list[tuple[int, int]] = []
    import_data([path], tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    size = path.stat().st_size
    assert told
    assert all(0 <= done <= total == size for done, total in told)


# --- what was there before -------------------------------------------------------------------


def test_a_source_that_is_named_twice_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", TRIPLE)
    with pytest.raises(DataError, match=r"this source is named twice\. Name it"):
        import_data([path, path], tmp_path / "out")
    (tmp_path / "link.jsonl").symlink_to(path)
    with pytest.raises(DataError, match=r"link\.jsonl: .* named twice, as .*rows\.jsonl"):
        import_data([path, tmp_path / "link.jsonl"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_import_of_the_same_sources_replaces_the_earlier_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", TRIPLE)
    output = tmp_path / "out"
    import_data([path], output)
    import_data([path], output, keep="helpful")
    assert check_loads(output) == (0, 1)
    assert not (output / "triples.jsonl").exists()


def test_files_of_other_origin_are_never_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "triples.jsonl", TRIPLE)
    before = path.read_bytes()
    assert "already holds triples.jsonl" in error_of([path], tmp_path)
    assert path.read_bytes() == before
    import_data([path], tmp_path / "out")
    other = write(tmp_path / "b.jsonl", TRIPLE)
    assert "not imported from these sources" in error_of([other], tmp_path / "out")
    assert "this is not a folder" in error_of([other], path)


@pytest.mark.parametrize("name", ["triples.jsonl", "helpful.jsonl"])
def test_a_file_that_was_changed_after_an_import_is_neither_replaced_nor_deleted(
    tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / "a.jsonl", TRIPLE)
    output = tmp_path / "out"
    import_data([path], output)
    write(output / name, {"mine": 1})
    for keep in ("triples", "helpful"):
        message = error_of([path], output, keep=keep)
        assert f"{name}: derta didn't make this file" in message
        assert "another folder" in message
    assert records(output / name) == [{"mine": 1}]


def test_a_report_of_other_origin_and_files_that_come_meanwhile_are_not_replaced(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.jsonl", *[TRIPLE] * 20_000)
    output = tmp_path / "out"
    output.mkdir()
    report = write(output / "import.json", {"mine": 1})
    assert "import.json: derta didn't make this file" in error_of([path], output)
    assert records(report) == [{"mine": 1}]
    report.unlink()

    def come(done: int, total: int) -> None:
        assert done <= total
        write(output / "triples.jsonl", {"mine": 1})

    assert "derta didn't make this file" in error_of([path], output, progress=come)
    assert records(output / "triples.jsonl") == [{"mine": 1}]


@pytest.mark.parametrize(
    ("output", "said"), [("raw", "is"), ("raw/out", "lies in"), (".", "contains")]
)
def test_an_import_is_not_written_where_it_is_read(tmp_path: Path, output: str, said: str) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    write(folder / "a.jsonl", TRIPLE)
    message = error_of([folder], tmp_path / output)
    assert f"the output folder {said} the source folder" in message
    assert [item.name for item in folder.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_import_leaves_what_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = write(tmp_path / "a.jsonl", *[TRIPLE] * 300)
    output = tmp_path / "out"
    import_data([path], output)
    before = {item.name: item.read_bytes() for item in output.iterdir()}
    stream = importing.stream_rows

    def breaks_off(*args: Any, **settings: Any) -> Iterator[Any]:
        for number, row in enumerate(stream(*args, **settings)):
            if number == 200:
                raise error
            yield row

    monkeypatch.setattr(importing, "stream_rows", breaks_off)
    for folder in (output, tmp_path / "new"):
        with pytest.raises((KeyboardInterrupt, DataError)):
            import_data([path], folder)
    assert {item.name: item.read_bytes() for item in output.iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", TRIPLE)
    (tmp_path / "file").write_text("x")
    assert "can't be written" in error_of([path], tmp_path / "file" / "out")


# --- memory ----------------------------------------------------------------------------------


def peak_of_import(folder: Path, rows: int, *, grouped: bool) -> int:
    path = folder / f"{rows}.jsonl"
    words = "word " * 10
    with path.open("w", encoding="utf-8") as file:
        for n in range(rows):
            row = {"prompt": f"Question {n // 2}? {words}"}
            if grouped:
                row |= {"response": f"{n} {words}", "is_safe": n % 2 == 0}
            else:
                row |= {"chosen": f"Sorry {n}", "rejected": words if n % 2 else ""}
            file.write(json.dumps(row) + "\n")
    tracemalloc.start()
    try:
        report = import_data([path], folder / f"out{rows}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.triples == rows / 2
    return peak


@pytest.mark.slow
@pytest.mark.parametrize(("grouped", "most"), [(False, 40_000), (True, 20_000)])
def test_many_rows_need_no_more_memory_than_few(tmp_path: Path, grouped: bool, most: int) -> None:
    # The list of the first thousand rows left out is full in both.
    few, many = (peak_of_import(tmp_path, rows, grouped=grouped) for rows in (2_000, most))
    # Buffers fill up in the first ten thousand rows; rows that were held would need many megabytes.
    assert many < 1.2 * few + 500_000


# --- the terminal ----------------------------------------------------------------------------


def test_the_report_fits_a_terminal_and_shows_no_text_of_the_data(tmp_path: Path) -> None:
    folder = tmp_path / "[bold]\x1b[2J a very long name of a folder that holds some data sets"
    folder.mkdir()
    path = write(folder / "rows.jsonl", TRIPLE, "{broken", {**TRIPLE, "rejected": ""})
    text = rendered(import_data([path], folder / "out"))
    assert "preference" in text
    assert "rejected is empty" in text
    assert "rows.jsonl:2" in text
    assert "Write one JSON object a line" in " ".join(text.split())
    assert "[bold]" in text
    assert "\x1b" not in text
    assert TRIPLE["rejected"] not in text
    table, reasons = text.split("Left out, by reason:")
    assert max(len(line) for line in table.splitlines()) <= 80
    block = reasons.split("\n\n")[0].splitlines()[1:]
    assert all(line[10:12] == "  " for line in block)
    assert len(block) > 4  # some are wrapped, and keep the indent


def test_the_report_of_a_clean_import_is_short(tmp_path: Path) -> None:
    text = rendered(import_data([write(tmp_path / "a.jsonl", TRIPLE)], tmp_path / "out"))
    assert "Left out" not in text
    assert "triples.jsonl" in text
    assert "helpful.jsonl" not in text
