# ruff: noqa: RUF001 - words of other scripts have letters that look like Latin ones
"""What `derta data mix` promises: the wanted numbers, each prompt once, nothing else changed.

Covered: ratios, shares, limits, duplicates, seeds, provenance, refusal words, errors, memory. Not
covered: reading of formats (`tests/data/test_streams`).
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import random
import stat
import tracemalloc
from collections import Counter
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from rich.console import Console

from derta.check_data import check_data
from derta.cli import main
from derta.data.files import load_helpful, load_triples
from derta.data.mixing import mix_data
from derta.data.mixing.options import parse_ratio, parse_shares
from derta.data.mixing.plan import allot, half_up, largest
from derta.data.mixing.report import render_mix
from derta.data.refusal_openings import Opening
from derta.errors import DataError


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def _triple(name: Any, **more: Any) -> dict[str, Any]:
    return {
        "prompt": f"How do I skip queue {name}?",
        "chosen": "Sorry, I can't help you push in, because the others wait.",
        "rejected": f"Say that your bus {name} leaves.",
        **more,
    }


def _helpful(name: Any, **more: Any) -> dict[str, Any]:
    prompt, completion = f"How do I bake loaf {name}?", f"For {name} hours, in a hot oven."
    return {"prompt": prompt, "completion": completion, **more}


@pytest.fixture
def triples(tmp_path: Path) -> Path:
    return _write(tmp_path / "t.jsonl", [_triple(i, id=f"t{i}") for i in range(10)])


@pytest.fixture
def helpful(tmp_path: Path) -> Path:
    """Sixty ordinary rows and forty look-alikes."""
    categories = ["ordinary"] * 60 + ["look-alike"] * 40
    random.Random(1).shuffle(categories)
    rows = [_helpful(i, category=category) for i, category in enumerate(categories)]
    return _write(tmp_path / "h.jsonl", rows)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _mixed(output: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return _rows(output / "triples.jsonl"), _rows(output / "helpful.jsonl")


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "count"), [("1:1", 20), ("2", 40), ("5:1", 100), ("1:4", 5), (2.5, 50), ("7:8", 18)]
)
def test_a_ratio_counts_a_triple_as_two_safety_rows(
    triples: Path, helpful: Path, tmp_path: Path, ratio: Any, count: int
) -> None:
    report = mix_data([triples], [helpful], tmp_path / "out", ratio=ratio)
    harmful, kind = _mixed(tmp_path / "out")
    assert (len(harmful), len(kind)) == (report.triples, report.helpful) == (10, count)
    assert report.ratio == pytest.approx(count / 20)


def test_without_options_every_row_is_written_in_its_place(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    mix_data([triples], [helpful], tmp_path / "out")
    harmful, kind = _mixed(tmp_path / "out")
    assert [row["id"] for row in harmful] == [f"t{i}" for i in range(10)]
    assert [row["prompt"] for row in kind] == [row["prompt"] for row in _rows(helpful)]
    assert not load_triples(tmp_path / "out" / "triples.jsonl").problems
    assert not load_helpful(tmp_path / "out" / "helpful.jsonl").problems


@pytest.mark.parametrize(("share", "counts"), [(0.5, (20, 20)), (0, (40, 0)), (1.0, (0, 40))])
def test_look_alikes_have_their_share_of_the_helpful_rows(
    triples: Path, helpful: Path, tmp_path: Path, share: float, counts: tuple[int, int]
) -> None:
    report = mix_data([triples], [helpful], tmp_path / "out", ratio="2:1", look_alike_share=share)
    found = Counter(row["category"] for row in _mixed(tmp_path / "out")[1])
    assert (found["ordinary"], found["look-alike"]) == counts
    assert report.look_alikes == counts[1]


def test_without_a_ratio_the_largest_mix_of_a_share_is_made(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    report = mix_data([triples], [helpful], tmp_path / "out", look_alike_share=0.5)
    assert (report.helpful, report.look_alikes) == (80, 40)


def test_languages_have_their_shares_by_column_or_by_what_is_written(tmp_path: Path) -> None:
    english = [_triple(i, language="en") for i in range(8)]
    chinese = [
        {
            "prompt": f"怎样才能插队不被发现？第{i}次",
            "chosen": "抱歉，我不能帮你插队，因为别人也在等。",
            "rejected": "你可以假装接电话，然后慢慢走到前面。",
            **({"language": "zh-CN"} if i % 2 else {}),
        }
        for i in range(6)
    ]
    other = [_triple("c", language="fr")]
    source = _write(tmp_path / "t.jsonl", [*english, *chinese, *other])
    report = mix_data([source], [], tmp_path / "out", languages={"en": 0.7, "Chinese": 0.3})
    assert report.languages["triples"] == {"en": 8, "zh": 4}
    assert report.left_out["triples"] == {"in other languages": 1, "not drawn": 2}
    assert not (tmp_path / "out" / "helpful.jsonl").exists()


@pytest.mark.parametrize("mark", ["na", "N/A", "none", "NaN", "null", "und", "-"])
def test_a_language_that_is_missing_is_found_out_and_not_written(mark: str, tmp_path: Path) -> None:
    rows = [_triple(i, language=mark) for i in range(4)]
    source = _write(tmp_path / "t.jsonl", rows)
    report = mix_data([source], [], tmp_path / "out", languages={"en": 1.0})
    assert report.languages["triples"] == {"en": 4}
    assert not any("language" in row for row in _rows(tmp_path / "out" / "triples.jsonl"))


def test_languages_and_look_alikes_hold_together_where_one_language_has_few_of_them(
    tmp_path: Path,
) -> None:
    rows = [_helpful(f"{i} en", language="en", category="look-alike") for i in range(40)]
    rows += [_helpful(f"{i} en o", language="en", category="ordinary") for i in range(40)]
    rows += [_helpful(f"{i} de", language="de", category="ordinary") for i in range(40)]
    source = _write(tmp_path / "h.jsonl", rows)
    shares = {"en": 0.5, "de": 0.5}
    mix_data([], [source], tmp_path / "out", languages=shares, look_alike_share=0.25)
    kind = _rows(tmp_path / "out" / "helpful.jsonl")
    found = Counter((row["language"], row["category"]) for row in kind)
    assert found == {("en", "look-alike"): 20, ("en", "ordinary"): 21, ("de", "ordinary"): 40}


def test_a_source_gives_at_most_so_many_rows_by_its_name_or_file(
    triples: Path, tmp_path: Path
) -> None:
    rows = [_helpful(i, source={"name": "big" if i < 30 else "small"}) for i in range(33)]
    first = _write(tmp_path / "a.jsonl", rows)
    second = _write(tmp_path / "b.jsonl", [_helpful(f"b{i}") for i in range(9)])
    report = mix_data([triples], [first, second], tmp_path / "out", limit_per_source=5)
    assert report.sources["helpful"] == {"big": 5, "small": 3, str(second): 5}
    assert report.triples == 5
    assert report.left_out["helpful"] == {"over the limit of their source": 29}


def test_divisions_keep_their_sums_and_bounds() -> None:
    generator = random.Random(3)
    checked = 0
    for _ in range(500):
        many = generator.randint(1, 4)
        supply = [[generator.randint(0, 30), generator.randint(0, 30)] for _ in range(many)]
        parts = [generator.randint(1, 9) for _ in range(many)]
        shares = [Fraction(part, sum(parts)) for part in parts]
        share = Fraction(generator.randint(0, 10), 10)
        most = largest(supply, shares, share)
        for total in range(most + 1):
            found = allot(total, supply, shares, share)
            if found is None:
                continue
            checked += 1
            assert sum(map(sum, found)) == total
            assert sum(cell[1] for cell in found) == half_up(total * share)
            for cell, have, part in zip(found, supply, shares, strict=True):
                assert all(0 <= number <= there for number, there in zip(cell, have, strict=True))
                assert abs(sum(cell) - total * part) < 1
        more = range(most + 1, sum(map(sum, supply)) + 1)
        assert not any(allot(total, supply, shares, share) for total in more)
    assert checked > 3000


# --- duplicates --------------------------------------------------------------------------------


def test_a_prompt_is_taken_once_whatever_its_case_and_blanks(tmp_path: Path) -> None:
    row = _triple("x")
    others = [{**row, "prompt": prompt} for prompt in (
        "how do i skip  queue X?", " How do I skip queue x? \n", "How do I skip queue ｘ?",
    )]  # fmt: skip
    source = _write(tmp_path / "t.jsonl", [row, *others, _triple("y")])
    report = mix_data([source], [], tmp_path / "out")
    assert [each["prompt"] for each in _rows(tmp_path / "out" / "triples.jsonl")] == [
        row["prompt"],
        _triple("y")["prompt"],
    ]
    assert report.left_out["triples"] == {"prompts that came before": 3}


def test_a_question_is_taken_once_whatever_the_system_message(tmp_path: Path) -> None:
    user = {"role": "user", "content": "How do I skip a queue?"}
    prompts = [[user], [{"role": "system", "content": "Be kind."}, user], user["content"]]
    rows = [_triple(1, prompt=prompt) for prompt in prompts]
    report = mix_data([_write(tmp_path / "t.jsonl", rows)], [], tmp_path / "out")
    assert (report.triples, report.left_out["triples"]) == (1, {"prompts that came before": 2})


def _talk(*turns: str) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": turns[0]}]
    for turn in turns[1:]:
        messages += [{"role": "assistant", "content": "I see."}, {"role": "user", "content": turn}]
    return messages


def test_conversations_are_the_same_if_all_that_the_user_says_is(tmp_path: Path) -> None:
    ending = "Can you say that again in plain words?"
    prompts = [
        _talk("How do tides come about?", ending),
        _talk("HOW do tides  come about?", ending.upper()),
        _talk("How does rain come about?", ending),
    ]
    rows = [_helpful(i, prompt=prompt) for i, prompt in enumerate(prompts)]
    mix_data([], [_write(tmp_path / "h.jsonl", rows)], tmp_path / "out")
    kept = [row["prompt"] for row in _rows(tmp_path / "out" / "helpful.jsonl")]
    assert kept == [prompts[0], prompts[2]]


@pytest.mark.parametrize("side", ["triples", "helpful"])
def test_a_question_that_ends_a_conversation_of_the_other_kind_is_kept_out_of_both(
    side: str, tmp_path: Path
) -> None:
    question = _triple(1)["prompt"]
    spoken = _talk("Good morning.", question.upper())
    harmful = [_triple(1, prompt=spoken if side == "triples" else question), _triple(2)]
    kind = [_helpful(1, prompt=question if side == "triples" else spoken), _helpful(2)]
    sources = _write(tmp_path / "t.jsonl", harmful), _write(tmp_path / "h.jsonl", kind)
    report = mix_data([sources[0]], [sources[1]], tmp_path / "out")
    assert (report.triples, report.helpful) == (1, 1)
    assert report.left_out["helpful"] == {"prompts both harmful and helpful": 1}


def test_an_earlier_turn_that_is_refused_elsewhere_is_no_contradiction(
    triples: Path, tmp_path: Path
) -> None:
    prompt = _talk(_triple(1)["prompt"], "How do I bake a loaf then?")
    report = mix_data(
        [triples], [_write(tmp_path / "h.jsonl", [_helpful(1, prompt=prompt)])], tmp_path / "out"
    )
    assert (report.triples, report.helpful) == (10, 1)


def test_half_of_a_surrogate_in_a_prompt_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    text = json.dumps(_triple("y")) + "\n" + json.dumps(_triple("\ud800 x")) + "\n"
    path.write_text(text, "utf-8")
    report = mix_data([path], [], tmp_path / "out")
    assert report.triples + report.unusable["triples"] == 2
    assert len(_rows(tmp_path / "out" / "triples.jsonl")) == report.triples


# --- held-out questions ------------------------------------------------------------------------


def test_held_out_questions_are_left_out_of_both_kinds_as_the_check_finds_them(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    rows = _rows(helpful)
    rows += [
        _helpful("s", prompt=[{"role": "system", "content": "Be kind."}, *_talk("What is it?")]),
        _helpful("c", prompt=_talk("What is it?", "And now?")),
        _helpful("t", prompt=_talk("Good morning.", rows[3]["prompt"])),
    ]
    _write(helpful, rows)
    questions = [_triple(4)["prompt"].upper(), rows[3]["prompt"], "what  is it?"]
    held = _write(tmp_path / "held.jsonl", [{"question": each} for each in questions])
    found = check_data([triples, helpful], held_out=held)
    assert found.leaks is not None
    assert found.leaks["exact"]["count"] == 3
    report = mix_data([triples], [helpful], tmp_path / "out", held_out=held)
    assert (report.triples, report.helpful) == (9, 99)
    assert report.left_out == {
        "triples": {"held-out questions": 1},
        "helpful": {"held-out questions": 4},
    }
    again = check_data([tmp_path / "out"], held_out=held)
    assert again.leaks is not None
    assert again.leaks["exact"]["count"] == 0
    said = json.loads((tmp_path / "out" / "mix.json").read_text("utf-8"))
    assert said["settings"]["held_out"] == str(held)


def test_the_column_of_the_held_out_questions_may_have_any_name(
    triples: Path, tmp_path: Path
) -> None:
    held = _write(tmp_path / "held.jsonl", [{"Frage": _triple(4)["prompt"]}])
    columns = {"held-out.question": "Frage"}
    report = mix_data([triples], [], tmp_path / "out", held_out=held, columns=columns)
    assert report.triples == 9
    with pytest.raises(DataError, match=r"columns are: Frage.*--column held-out\.question=NAME"):
        mix_data([triples], [], tmp_path / "out", held_out=held)
    with pytest.raises(DataError, match=r"--column prompt.*derta data import"):
        mix_data([triples], [], tmp_path / "out", columns={"prompt": "q"})
    with pytest.raises(DataError, match=r"no held-out questions are named.*--held-out"):
        mix_data([triples], [], tmp_path / "out", columns=columns)


def test_held_out_questions_are_neither_the_data_nor_overwritten(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="the held-out questions are one of the files of data"):
        mix_data([triples], [helpful], tmp_path / "out", held_out=triples)
    (tmp_path / "o").mkdir()
    held = _write(tmp_path / "o" / "triples.jsonl", [{"question": "a"}])
    with pytest.raises(DataError, match="would be replaced"):
        mix_data([triples], [helpful], tmp_path / "o", held_out=held)


def test_data_of_which_nothing_is_left_is_an_error_that_says_why(
    triples: Path, tmp_path: Path
) -> None:
    held = _write(tmp_path / "held.jsonl", _rows(triples))
    with pytest.raises(DataError, match=r"none of the triples is left \(held-out questions 10\)"):
        mix_data([triples], [], tmp_path / "out", held_out=held)
    assert not (tmp_path / "out").exists()


def test_the_command_leaves_held_out_questions_out(
    triples: Path, helpful: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = _write(tmp_path / "held.jsonl", [{"Frage": _triple(4)["prompt"]}])
    files = ["--triples", str(triples), "--helpful", str(helpful), "-o", str(tmp_path / "out")]
    given = ["--held-out", str(held), "--column", "held-out.question=Frage"]
    assert main(["data", "mix", *files, *given]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "triples left out: 1 1 held-out questions" in said


def test_a_prompt_that_is_harmful_and_helpful_is_kept_out_of_both(
    triples: Path, tmp_path: Path
) -> None:
    both = {"prompt": _triple(3)["prompt"].upper(), "completion": "Just walk in."}
    source = _write(tmp_path / "h.jsonl", [both, _helpful(1)])
    report = mix_data([triples], [source], tmp_path / "out")
    harmful, kind = _mixed(tmp_path / "out")
    assert "t3" not in [row["id"] for row in harmful]
    assert [row["prompt"] for row in kind] == [_helpful(1)["prompt"]]
    assert report.left_out == {
        "triples": {"prompts both harmful and helpful": 1},
        "helpful": {"prompts both harmful and helpful": 1},
    }


# --- seeds -------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_rows_and_another_one_others(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        mix_data([triples], [helpful], tmp_path / name, ratio="1:1", seed=seed)
        drawn.append((tmp_path / name / "helpful.jsonl").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_rows_are_drawn_by_their_prompts_and_not_by_their_places(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    rows = _rows(helpful)
    random.Random(5).shuffle(rows)
    shuffled = _write(tmp_path / "s.jsonl", rows)
    found = []
    for name, source in (("a", helpful), ("b", shuffled)):
        mix_data([triples], [source], tmp_path / name, ratio="1:1")
        found.append({row["prompt"] for row in _mixed(tmp_path / name)[1]})
    assert found[0] == found[1]
    # In the order of their own file.
    order = [row["prompt"] for row in rows]
    places = [order.index(row["prompt"]) for row in _mixed(tmp_path / "b")[1]]
    assert places == sorted(places)


def test_a_smaller_mix_is_part_of_a_larger_one(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    found = []
    for ratio in ("1:1", "3:1"):
        mix_data([triples], [helpful], tmp_path / "out", ratio=ratio)
        found.append({row["prompt"] for row in _mixed(tmp_path / "out")[1]})
    assert found[0] < found[1]


# --- what is written ---------------------------------------------------------------------------


def test_all_columns_are_kept_and_a_row_without_a_source_gets_its_files_name(
    tmp_path: Path,
) -> None:
    origin = {"name": "mine", "row": 4}
    rows = [_triple(1, source=origin, topic="queues", note=[1, {"a": None}]), _triple(2, é="ü")]
    mix_data([_write(tmp_path / "t.jsonl", rows)], [], tmp_path / "out")
    assert _rows(tmp_path / "out" / "triples.jsonl") == [
        rows[0],
        {**rows[1], "source": {"name": "t.jsonl"}},
    ]


def test_dates_and_missing_numbers_of_tables_are_written_as_json_has_them(tmp_path: Path) -> None:
    day, nothing = datetime.date(2026, 11, 22), float("nan")
    table = pyarrow.Table.from_pylist([_triple(1, day=day, score=nothing)])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    mix_data([tmp_path / "t.parquet"], [], tmp_path / "out")
    text = (tmp_path / "out" / "triples.jsonl").read_text("utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["day"] == "2026-11-22"
    assert json.loads(text)["score"] is None


def test_rows_that_can_not_be_used_are_counted_and_named(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    with triples.open("a", encoding="utf-8") as file:
        file.write('{"prompt": "a", "chosen": "b"}\nno JSON\n')
    report = mix_data([triples], [helpful], tmp_path / "out")
    assert (report.triples, report.unusable) == (10, {"triples": 2, "helpful": 0})
    assert any(f"{triples}:11 (rejected)" in problem for problem in report.problems)
    assert any(f"{triples}:12" in problem for problem in report.problems)


def test_what_was_asked_and_made_stands_beside_the_files(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    mix_data([triples], [helpful], tmp_path / "out", ratio="2:1", seed=4)
    said = json.loads((tmp_path / "out" / "mix.json").read_text("utf-8"))
    assert said["settings"]["ratio"] == "2"
    assert said["settings"]["seed"] == 4
    assert (said["triples"], said["helpful"], said["ratio"]) == (10, 40, 2.0)
    assert said["characters"]["rejected"] == sum(len(_triple(i)["rejected"]) for i in range(10))


def test_a_new_folder_is_private_and_ignored_by_git_and_can_be_mixed_again(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    for seed in (1, 2):
        mix_data([triples], [helpful], tmp_path / "out", ratio="1:1", seed=seed)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".gitignore",
        "helpful.jsonl",
        "mix.json",
        "triples.jsonl",
    ]
    assert (tmp_path / "out" / ".gitignore").read_text("utf-8") == "*\n"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    mix_data([triples], [], old)
    assert sorted(path.name for path in old.iterdir()) == ["mix.json", "triples.jsonl"]
    assert stat.S_IMODE(old.stat().st_mode) == 0o755


def test_an_empty_cell_says_nothing_and_finished_may_be_text(tmp_path: Path) -> None:
    finished = ["True", "False", "1.0", ""]
    rows = [
        _helpful(i, finished=value, rejected="", category="", language="", source="", note="")
        for i, value in enumerate(finished)
    ]
    with (tmp_path / "h.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    report = mix_data([], [tmp_path / "h.csv"], tmp_path / "out")
    assert (report.helpful, report.unusable["helpful"]) == (4, 0)
    found = _rows(tmp_path / "out" / "helpful.jsonl")
    assert [row.get("finished") for row in found] == [True, False, True, None]
    assert set(found[3]) - {"note"} == {"prompt", "completion", "source"}
    assert not load_helpful(tmp_path / "out" / "helpful.jsonl").problems
    odd = _write(tmp_path / "odd.jsonl", [_helpful(1, finished="perhaps"), _helpful(2)])
    assert mix_data([], [odd], tmp_path / "o").unusable["helpful"] == 1


def test_messages_that_a_table_holds_as_text_are_written_as_messages(tmp_path: Path) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How do I bake?"},
    ]
    said = [{"role": "assistant", "content": "In an oven."}]
    rows = [
        {"prompt": json.dumps(chat), "completion": str(said)},
        {"prompt": str([{"role": "user", "content": "Is it a 'loaf'?"}]), "completion": "Yes."},
    ]
    with (tmp_path / "h.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    mix_data([], [tmp_path / "h.csv"], tmp_path / "out")
    first, second = _rows(tmp_path / "out" / "helpful.jsonl")
    assert (first["prompt"], first["completion"]) == (chat, said)
    assert second["prompt"][0]["content"] == "Is it a 'loaf'?"
    # In JSON lines a text is a text.
    path = _write(tmp_path / "h.jsonl", rows)
    mix_data([], [path], tmp_path / "other")
    assert _rows(tmp_path / "other" / "helpful.jsonl")[0]["prompt"] == rows[0]["prompt"]


def test_the_summary_fits_a_terminal_and_shows_no_text_of_a_row(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    report = mix_data([triples], [helpful], tmp_path / "o", ratio="2:1", refusal_word="table")
    written = io.StringIO()
    render_mix(report, Console(file=written, width=80))
    shown = written.getvalue()
    assert "= 2 : 1" in shown
    assert "skip queue" not in shown
    assert "your bus" not in shown


# --- errors ------------------------------------------------------------------------------------


def test_too_few_rows_is_an_error_with_the_largest_mix(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        mix_data([triples], [helpful], tmp_path / "out", ratio="10:1")
    said = str(caught.value)
    assert "10 triples (two safety rows each) want 200 helpful rows, and 100 can be had" in said
    assert "has 5 triples and 100 helpful rows: --triple-rows 5" in said
    assert not (tmp_path / "out").exists()
    report = mix_data([triples], [helpful], tmp_path / "out", ratio="10:1", triple_rows=5)
    assert (report.triples, report.helpful) == (5, 100)
    with pytest.raises(DataError):  # it was the largest
        mix_data([triples], [helpful], tmp_path / "out", ratio="10:1", triple_rows=6)


def test_the_largest_mix_of_an_error_can_be_made_whatever_was_asked(tmp_path: Path) -> None:
    harmful = [_triple(i, language="en" if i % 3 else "de") for i in range(21)]
    kind = [
        _helpful(i, language="en" if i % 4 else "de", category="look-alike" if i % 5 else "")
        for i in range(50)
    ]
    sources = (
        [_write(tmp_path / "t.jsonl", harmful)],
        [_write(tmp_path / "h.jsonl", kind)],
        tmp_path / "o",
    )
    tried = 0
    for ratio, share in product(("3:1", "2:3", "7:5"), (0.1, 0.8, None)):
        wish: dict[str, Any] = {
            "ratio": ratio,
            "look_alike_share": share,
            "languages": {"en": 0.5, "de": 0.5},
        }
        try:
            mix_data(*sources, **wish)
        except DataError as error:
            words = str(error).split()
            most = int(words[words.index("--triple-rows") + 1].rstrip("."))
            assert mix_data(*sources, **wish, triple_rows=most).triples == most
            with pytest.raises(DataError):
                mix_data(*sources, **wish, triple_rows=most + 1)
            tried += 1
    assert tried > 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ratio": "ten"}, "'ten' is no ratio"),
        ({"ratio": "1:0"}, "is no ratio"),
        ({"ratio": "3:"}, "is no ratio"),
        ({"ratio": -1}, "is no ratio"),
        ({"ratio": "nan"}, "is no ratio"),
        ({"ratio": "1e400000"}, "is no ratio"),
        ({"ratio": "1e-400000"}, "is no ratio"),
        ({"ratio": "inf"}, "is no ratio"),
        ({"ratio": "1000001:1"}, "above 1,000,000"),
        ({"look_alike_share": 1.5}, "1.5 is no share"),
        ({"look_alike_share": float("nan")}, "nan is no share"),
        ({"look_alike_share": float("inf")}, "inf is no share"),
        ({"languages": {"en": float("nan")}}, "the share of en is nan"),
        ({"languages": {"en": 0.5}}, "sum to 0.5"),
        ({"languages": {"fr": 1.0}}, "no mix of the triples has these shares"),
        ({"triple_rows": 0}, "--triple-rows"),
        ({"triple_rows": 11}, "11 triples are asked for, and 10 can be had"),
        ({"limit_per_source": 0}, "--limit-per-source"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_an_option_that_can_not_be_used_is_one_clear_error(
    triples: Path, helpful: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError) as caught:
        mix_data([triples], [helpful], tmp_path / "out", **options)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_language_without_a_row_is_an_error_however_few_rows_there_are(
    tmp_path: Path, rows: int
) -> None:
    source = _write(tmp_path / "t.jsonl", [_triple(i, language="en") for i in range(rows)])
    with pytest.raises(DataError, match=r"no usable row is in fr \(.*en \d, fr 0\)"):
        mix_data([source], [], tmp_path / "out", languages={"en": 0.5, "fr": 0.5})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("category", "said"),
    [("ordinary", "no usable row is a look-alike"), ("look-alike", "every usable row is a look-")],
)
def test_a_share_of_look_alikes_without_a_row_is_an_error(
    tmp_path: Path, category: str, said: str
) -> None:
    source = _write(tmp_path / "h.jsonl", [_helpful(1, category=category)])
    share = 0.1 if category == "ordinary" else 0.9  # of one row this rounds to what is there
    with pytest.raises(DataError, match=said):
        mix_data([], [source], tmp_path / "out", look_alike_share=share)


def test_a_number_of_triples_without_triples_is_an_error(helpful: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--triple-rows.*no triples"):
        mix_data([], [helpful], tmp_path / "out", triple_rows=5)


def test_options_are_read_as_they_are_typed() -> None:
    assert parse_ratio("10:1") == 10
    assert parse_ratio("1000000") == 10**6
    assert parse_ratio("3/2") == Fraction(3, 2)
    assert parse_ratio(" 3 : 2 ") == Fraction(3, 2)
    assert parse_shares(["en=0.7", "Chinese=.3"]) == {"en": 0.7, "zh": 0.3}
    for options in (["en"], ["en=x"], ["=1"], ["en=2"], ["en=0.5", "English=0.5"], ["en=nan"]):
        with pytest.raises(DataError, match="--language"):
            parse_shares(options)


def test_no_file_is_replaced_that_is_read_or_that_no_mix_made(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    own = _write(folder / "triples.jsonl", [_triple(1)])
    before = own.read_bytes()
    with pytest.raises(DataError, match="would be replaced"):
        mix_data([own], [helpful], folder)
    with pytest.raises(DataError, match="derta didn't make this file"):
        mix_data([triples], [helpful], folder)
    assert own.read_bytes() == before


@pytest.mark.parametrize("name", ["triples.jsonl", "helpful.jsonl", "mix.json"])
def test_a_file_that_was_changed_after_a_mix_is_not_replaced(
    triples: Path, helpful: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "out"
    mix_data([triples], [helpful], folder)
    (folder / name).write_text("mine\n", "utf-8")
    with pytest.raises(DataError, match=rf"{name}: derta didn't make this file") as caught:
        mix_data([triples], [helpful], folder, ratio="1:1")
    assert "another folder" in str(caught.value)
    assert (folder / name).read_text("utf-8") == "mine\n"


def test_a_file_that_comes_while_mixing_is_not_replaced(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def come(done: int, total: int) -> None:
        if done == total:
            (folder / "triples.jsonl").write_text("mine\n", "utf-8")

    with pytest.raises(DataError, match="derta didn't make this file"):
        mix_data([triples], [helpful], folder, progress=come)
    assert [path.name for path in folder.iterdir()] == ["triples.jsonl"]
    assert (folder / "triples.jsonl").read_text("utf-8") == "mine\n"


def test_the_other_kinds_file_of_an_earlier_mix_is_not_deleted(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    mix_data([triples], [helpful], tmp_path / "out")
    with pytest.raises(DataError, match=r"helpful\.jsonl: .*this mix has no helpful"):
        mix_data([triples], [], tmp_path / "out")
    assert len(_mixed(tmp_path / "out")[1]) == 100


@pytest.mark.parametrize(
    ("output", "said"), [("raw", "is"), ("raw/out", "lies in"), (".", "contains")]
)
def test_a_mix_is_not_written_where_it_is_read(
    helpful: Path, tmp_path: Path, output: str, said: str
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    _write(folder / "a.jsonl", [_triple(1)])
    with pytest.raises(DataError, match=f"the output folder {said} the source folder"):
        mix_data([folder], [helpful], tmp_path / output)
    assert [path.name for path in folder.iterdir()] == ["a.jsonl"]


def test_a_missing_file_and_files_of_the_wrong_kind_are_errors(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"missing\.jsonl"):
        mix_data([triples], [tmp_path / "missing.jsonl"], tmp_path / "out")
    with pytest.raises(DataError, match="of 100 rows none can be used"):
        mix_data([helpful], [helpful], tmp_path / "out")
    with pytest.raises(DataError, match="no file is named"):
        mix_data([], [], tmp_path / "out")
    with pytest.raises(DataError, match="needs triples and helpful"):
        mix_data([triples], [], tmp_path / "out", ratio="1:1")


def test_a_file_that_changes_between_its_readings_is_an_error_and_leaves_the_old_mix(
    triples: Path, helpful: Path, tmp_path: Path
) -> None:
    mix_data([triples], [helpful], tmp_path / "out")
    before = (tmp_path / "out" / "triples.jsonl").read_bytes()

    def change(done: int, total: int) -> None:
        assert total == 400
        if done == 200:  # both were read once
            rows = _rows(helpful)
            _write(helpful, [*rows[1:], rows[0]])

    with pytest.raises(DataError, match="changed between its two readings"):
        mix_data([triples], [helpful], tmp_path / "out", progress=change)
    assert (tmp_path / "out" / "triples.jsonl").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [".gitignore"]


def test_memory_grows_by_bytes_a_row_and_not_by_its_texts(tmp_path: Path) -> None:
    text = "x " * 2000  # 4 kB a row

    def peak(rows: int) -> int:
        source = tmp_path / f"{rows}.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for i in range(rows):
                file.write(json.dumps(_helpful(i, completion=text)) + "\n")
        tracemalloc.start()
        try:
            mix_data([], [source], tmp_path / "out", look_alike_share=0.0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # whatever is imported or cached on the way
    small, large = peak(500), peak(4500)
    assert (large - small) / 4000 < 250  # bytes a row, of more than 4,000 that it has


# --- refusal words -----------------------------------------------------------------------------


def test_refusal_words_are_rewritten_only_when_asked_for_and_counted(tmp_path: Path) -> None:
    chosen: list[Any] = [
        "I'm sorry, but I can't help with that.",
        "Sorry, no: I can't help with that.",
        "很抱歉，我不能帮你插队，因为别人也在等。",
        [{"role": "assistant", "content": "I can't help with that.", "name": "a"}],
        "Please ask at the door.",
    ]
    rows = [_triple(i, chosen=text) for i, text in enumerate(chosen)]
    source = _write(tmp_path / "t.jsonl", rows)
    report = mix_data([source], [], tmp_path / "out")
    kept = [row["chosen"] for row in _rows(tmp_path / "out" / "triples.jsonl")]
    assert (kept, report.openings) == (chosen, Counter())
    report = mix_data([source], [], tmp_path / "out", refusal_word="table")
    found = _rows(tmp_path / "out" / "triples.jsonl")
    assert [row["chosen"] for row in found] == [
        "Sorry, but I can't help with that.",
        chosen[1],
        "抱歉，我不能帮你插队，因为别人也在等。",
        [{"role": "assistant", "content": "Sorry, I can't help with that.", "name": "a"}],
        chosen[4],
    ]
    assert [{**row, "chosen": 0, "source": 0} for row in found] == [
        {**row, "chosen": 0, "source": 0} for row in rows
    ]
    assert report.openings == {
        Opening.REWRITTEN: 3,
        Opening.WORD: 1,
        Opening.OTHER: 1,
    }


def test_a_row_in_a_named_language_is_read_in_that_language(tmp_path: Path) -> None:
    text = "Sorry, aber ich kann dir dabei nicht helfen."
    source = _write(tmp_path / "t.jsonl", [_triple(1, chosen=text, language="German")])
    mix_data([source], [], tmp_path / "out", refusal_word="table")
    (row,) = _rows(tmp_path / "out" / "triples.jsonl")
    assert row["chosen"] == "Entschuldigung, aber ich kann dir dabei nicht helfen."
