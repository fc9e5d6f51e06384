"""The documentation tells the truth about the code: links, commands, examples, counts.

Covers what a machine can check: README.md, CHANGELOG.md, CONTRIBUTING.md, docs/ and the data card
of the sample set. Doesn't cover whether the sentences are right, nor figures of results, which are
filled in from results.json.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.intervals import RESAMPLES
from derta.arguments import make_parser
from derta.data.files import load_helpful, load_triples
from derta.make_triples import load_make_settings
from derta.packing import share_prefixes
from derta.refusal import LOOP_COUNT, MAX_SUBSTANCE_WORDS
from derta.rows import EncodedTriple, Method, TargetKind, build_rows
from derta.train.recipe import load_recipe

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "derta"
SAMPLE = SOURCE / "data" / "sample"
CARD = SAMPLE / "DATA_CARD.md"
PAGES = sorted(
    [
        *(REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
        *(REPOSITORY / "docs").glob("*.md"),
        CARD,
    ]
)
PAGE_NAMES = [path.name for path in PAGES]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
OTHER_PROGRAMS_FLAGS = {"--no-deps"}  # pip's
SPLITS = ("train", "tune", "test")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def fences(path: Path, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(text_of(path)) if language in languages]


def code_lines(path: Path) -> Iterator[str]:
    """Every line of code on a page: indented, fenced or inline, without its comment.

    What stands in ```text is what a command prints.
    """
    text = re.sub(r"\\\n\s*", "", text_of(path))  # a backslash continues a line
    lines = [
        line
        for language, body in FENCE.findall(text)
        if language != "text"
        for line in body.splitlines()
    ]
    outside = FENCE.sub("", text)
    lines += [line for line in outside.splitlines() if line.startswith("    ")]
    lines += INLINE_CODE.findall(outside)
    for line in lines:
        yield re.split(r"\s{3,}|\s+#\s", line.strip())[0]


def derta_commands(path: Path) -> list[str]:
    return [
        line for line in code_lines(path) if re.match(r"derta [a-z]", line) and "..." not in line
    ]


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, part in action.choices.items():
                parts = commands_of(part)
                found |= {f"{name} {below}": each for below, each in parts.items()}
                found |= {} if parts else {name: part}
    return found


def subcommands() -> dict[str, argparse.ArgumentParser]:
    found = commands_of(make_parser())
    assert {"train", "data check"} <= set(found)
    return found


def table_after(text: str, first_header: str) -> dict[str, list[str]]:
    """The markdown table whose first header is `first_header`: first cell -> other cells."""
    rows: dict[str, list[str]] = {}
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            if inside:
                break
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == first_header:
            inside = True
        if inside and not set(cells[0]) <= {"-"}:
            rows[cells[0]] = cells[1:]
    assert rows, f"there is no table that begins with {first_header!r}"
    return rows


def sample_rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(SAMPLE / name).splitlines()]


def headings_of(path: Path) -> set[str]:
    """The names that links give to the headings of a page."""
    titles = re.findall(r"^#+ (.*)", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


# --- links and commands ----------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=PAGE_NAMES)
def test_every_relative_link_leads_to_a_file_and_heading(path: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", text_of(path))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        inside = place.exists() and place.is_relative_to(REPOSITORY)
        if not inside or (heading and heading not in headings_of(place)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("path", PAGES, ids=PAGE_NAMES)
def test_every_derta_command_on_a_page_is_one_that_the_command_line_takes(path: Path) -> None:
    for command in derta_commands(path):
        words = shlex.split(command)[1:]
        # A sentence speaks of a command, or of a group of them.
        if any(f"{name} ".startswith(" ".join(words) + " ") for name in subcommands()):
            continue
        parsed, rest = make_parser().parse_known_args(words)
        overrides = [*getattr(parsed, "overrides", []), *rest]
        assert all("=" in word and not word.startswith("-") for word in overrides), command
        if getattr(parsed, "data_command", None) == "make":
            load_make_settings(overrides)
        else:
            load_recipe("quickstart", overrides)


@pytest.mark.parametrize("path", PAGES, ids=PAGE_NAMES)
def test_every_flag_that_a_page_names_exists(path: Path) -> None:
    known = OTHER_PROGRAMS_FLAGS | options_of(make_parser())
    for parser in subcommands().values():
        known |= options_of(parser)
    named = {
        flag
        for line in code_lines(path)
        if not re.match(r"(?:source|python|git|torchrun|accelerate|vllm|.*pip) ", line)
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)
    }
    assert named <= known


@pytest.mark.parametrize(("marker", "name"), [("sweep", "sweep"), ("sweep, read", "sweep-read")])
def test_the_sweeps_table_is_what_its_runs_gave(marker: str, name: str) -> None:
    specification = importlib.util.spec_from_file_location(
        "publish", REPOSITORY / "tools" / "publish.py"
    )
    assert specification is not None
    assert specification.loader is not None
    publish = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(publish)
    page = text_of(REPOSITORY / "docs" / "results.md")
    table = page.split(f"<!-- table: {marker} -->\n")[1].split("\n<!-- /table")[0]
    assert table == publish.sweep(REPOSITORY / "docs" / f"{name}.jsonl")


def test_the_readme_or_a_guide_shows_every_command() -> None:
    shown = [
        " ".join(command.split()[1:3]) + " " for path in PAGES for command in derta_commands(path)
    ]
    for name in subcommands():
        assert any(words.startswith(f"{name} ") for words in shown), name


@pytest.mark.parametrize("path", PAGES, ids=PAGE_NAMES)
def test_every_make_target_on_a_page_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(REPOSITORY / "Makefile"), re.MULTILINE))
    named = {match[1] for line in code_lines(path) if (match := re.match(r"make ([a-z]+)\b", line))}
    assert named <= targets


@pytest.mark.parametrize("path", PAGES, ids=PAGE_NAMES)
def test_every_recipe_key_on_a_page_exists(path: Path) -> None:
    recipe = load_recipe("quickstart").model_dump()
    for line in code_lines(path):
        for section, key in re.findall(
            r"(?<!derta\.)\b(rows|data|lora)\.([a-z_]+)(?![\w.(])", line
        ):
            if not re.search(rf"{section}\.(?:py|jsonl?|parquet)\b", line):
                assert key in recipe[section], line


@pytest.mark.parametrize("path", PAGES, ids=PAGE_NAMES)
def test_every_place_to_be_filled_in_is_opened_and_closed(path: Path) -> None:
    marks = re.findall(r"<!-- (/?)(.+?) -->", text_of(path))
    opened = [name for closing, name in marks if not closing]
    assert opened == [name for closing, name in marks if closing]
    assert len(set(opened)) == len(opened)


# --- examples --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=PAGE_NAMES)
def test_every_example_of_data_is_read_without_a_problem(path: Path, tmp_path: Path) -> None:
    rows = [json.loads(body) for body in fences(path, "json")]
    rows += [json.loads(line) for body in fences(path, "jsonl") for line in body.splitlines()]
    for row in rows:
        file = tmp_path / "example.jsonl"
        file.write_text(json.dumps(row) + "\n", encoding="utf-8")
        loaded = load_triples(file) if "chosen" in row else load_helpful(file)
        assert not loaded.problems


def test_the_example_of_errors_is_what_the_reader_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = '{"prompt": "a", "chosen": "Sorry, no.", "rejected": "b"}'
    Path("mine.jsonl").write_text(
        "\n".join(
            [
                good,
                '{"prompt": "a", "rejected": "b"}',
                '{"prompt": "a", "chosen": "Sorry" "rejected": "b"}',
                good,
                '{"prompt": "a", "chosen": "b", "rejected": "b"}',
            ]
        ),
        encoding="utf-8",
    )
    said = "".join(f"{problem}\n" for problem in load_triples("mine.jsonl").problems)
    assert fences(REPOSITORY / "docs" / "data-format.md", "text") == [said]


def test_the_tree_in_the_method_page_is_what_the_code_lays_out() -> None:
    names = {10: "q0", 11: "q1", 20: "h0", 21: "h1", 22: "h2", 30: "r0", 31: "r1", 99: "sorry"}
    triple = EncodedTriple(prompt_ids=(10, 11), safe_ids=(30, 31), harmful_ids=(20, 21, 22))
    rows = build_rows(triple, Method.DERTA, harmful_prefix_length=1, refusal_id=99)
    tree = share_prefixes(rows)
    targets = [
        ", ".join(
            names[target]
            for position, target, _ in sorted(
                zip(tree.target_positions, tree.target_ids, tree.target_kinds, strict=True),
                key=lambda found: found[2],
            )
            if position == index
        )
        or "-"
        for index in range(len(tree))
    ]
    page = table_after(text_of(REPOSITORY / "docs" / "method.md"), "index")
    assert page == {
        "index": [str(index) for index in range(len(tree))],
        "token": [names[token] for token in tree.token_ids],
        "position_ids": [str(position) for position in tree.position_ids],
        "expires_at": [str(index) for index in tree.expires_at],
        "targets": targets,
    }


def test_every_function_that_the_method_page_names_is_in_the_file_beside_it() -> None:
    page = REPOSITORY / "docs" / "method.md"
    table = table_after(text_of(page), "part of the objective")
    table.pop("part of the objective")
    assert len(table) >= 10
    for functions, link in table.values():
        source = text_of((page.parent / LINK.findall(link)[0]).resolve())
        for name in INLINE_CODE.findall(functions):
            assert re.search(rf"^ *(?:def|class) {name.rpartition('.')[2]}\b", source, re.MULTILINE)


def test_the_method_page_names_every_method_and_kind_of_target() -> None:
    named = set(INLINE_CODE.findall(text_of(REPOSITORY / "docs" / "method.md")))
    assert named >= {method.value for method in Method}
    assert named >= {kind.name.lower() for kind in TargetKind}


def test_the_measurement_page_has_the_constants_of_the_code() -> None:
    text = " ".join(text_of(REPOSITORY / "docs" / "measurement.md").split())
    constants = {}
    for name in ("tasks.py", "provider.py"):
        for node in ast.parse(text_of(SOURCE / "evaluate" / name)).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                constants[node.targets[0].id] = node.value
    first, *others = ast.literal_eval(constants["DEPTHS"])
    assert first == 0
    assert f"prefill, k = {', '.join(map(str, others))} |" in text
    assert f"at most {ast.literal_eval(constants['DEFAULT_MAX_TOKENS'])} new tokens" in text
    assert f"more than {MAX_SUBSTANCE_WORDS} words" in text
    assert f"{RESAMPLES:,} resamples" in text
    assert LOOP_COUNT == 3
    assert "three copies of four words" in text


# --- the data card ---------------------------------------------------------------------------


def source_of(row: dict[str, Any]) -> str:
    return row.get("category", "harmful")


def every_row() -> list[dict[str, Any]]:
    return [*sample_rows("triples.jsonl"), *sample_rows("helpful.jsonl")]


def counts_in_card(first_header: str) -> dict[str, list[int]]:
    table = table_after(text_of(CARD), first_header)
    table.pop(first_header)
    return {name: [int(cell) for cell in cells] for name, cells in table.items()}


def test_the_data_card_counts_the_rows_of_the_files() -> None:
    found = Counter((source_of(row), row["split"]) for row in every_row())
    for source, numbers in counts_in_card("source").items():
        by_split = [found[source, split] for split in SPLITS]
        assert numbers == [*by_split, sum(by_split)]


def test_the_data_card_counts_the_topics_of_the_files() -> None:
    found = Counter(
        (source, split)
        for source, split, _ in {
            (source_of(row), row["split"], row["topic"]) for row in every_row()
        }
    )
    card = counts_in_card("topics")
    assert set(card) == {source for source, _ in found}
    for source, numbers in card.items():
        assert numbers == [found[source, split] for split in SPLITS]


def test_the_data_card_names_every_topic_that_is_in_two_splits() -> None:
    splits: dict[str, set[str]] = {}
    for row in every_row():
        splits.setdefault(row["topic"], set()).add(row["split"])
    shared = {topic for topic, found in splits.items() if len(found) > 1}
    (listed,) = re.findall(r"different sources \(([^)]*)\)", " ".join(text_of(CARD).split()))
    assert set(listed.split(", ")) == shared


def test_the_data_card_counts_the_finished_responses() -> None:
    found = Counter(row["split"] for row in sample_rows("helpful.jsonl") if row["finished"])
    assert list(counts_in_card("finished").values()) == [[found[split] for split in SPLITS]]


def written_questions() -> Counter[str]:
    """Count the rows of the question lists; a list of both kinds says the kind in each row."""
    found: Counter[str] = Counter()
    for path in (SAMPLE / "sources").glob("*.jsonl"):
        for line in text_of(path).splitlines():
            kind = json.loads(line).get("kind", path.stem)
            found[kind if kind in ("harmful", "ordinary") else "look-alike"] += 1
    return found


def test_the_data_card_accounts_for_every_question_that_was_written() -> None:
    kept = Counter(source_of(row) for row in every_row())
    card = counts_in_card("questions")
    total = card.pop("all")
    for source, (written, refused, too_short, left) in card.items():
        assert written == written_questions()[source]
        assert left == kept[source]
        assert written - refused - too_short == left
    assert total == [sum(column) for column in zip(*card.values(), strict=True)]


def test_the_data_card_names_the_limits_of_the_tool_that_made_the_set() -> None:
    tool = ast.parse(text_of(REPOSITORY / "tools" / "make_sample_set.py"))
    constants: dict[str, int] = {}
    for node in tool.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Tuple, ast.Constant)):
            names = getattr(node.targets[0], "elts", [node.targets[0]])
            values = ast.literal_eval(node.value)
            constants |= zip(
                (name.id for name in names),
                values if isinstance(values, tuple) else (values,),
                strict=True,
            )
    text = " ".join(text_of(CARD).split())
    assert f"{constants['NEW_TOKENS']} new tokens at most" in text
    assert f"under {constants['MEASURED_PREFIX'] + 1} in `tune` and `test`" in text
    assert f"prefills up to {constants['MEASURED_PREFIX']})" in text
