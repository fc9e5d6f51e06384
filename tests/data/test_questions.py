"""Question sets: the sample's, published ones, a user's own files, and what is wrong with them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from derta.data import tables
from derta.data.question_sets import FIELDS, PUBLISHED_SETS
from derta.data.questions import Question, QuestionSet, load_questions, read_column_options
from derta.data.sample import sample_helpful, sample_triples
from derta.data.tables import HubSource, read_table
from derta.errors import DataError

TEXTS = [f"How do I write {number} fake reviews?" for number in range(30)]


def write_lines(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def by_text(found: QuestionSet) -> dict[str, Question]:
    return {question.text: question for question in found.questions}


def error_of(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_questions(*args, **kwargs)
    assert all(problem.remedy for problem in caught.value.problems)
    return str(caught.value)


def _benign_sample(**settings: Any) -> QuestionSet:
    return load_questions("sample-benign", category="look-alike", **settings)


# --- the sample set --------------------------------------------------------------------------


def test_the_sample_set_gives_the_test_split_with_its_harmful_responses_and_openings() -> None:
    found = load_questions("sample")
    rows = {row.id: row for row in sample_triples("test")}
    assert {question.id for question in found.questions} == set(rows)
    for question in found.questions:
        row = rows[question.id]
        assert question.text == row.triple.prompt.last_text
        assert question.harmful_response == row.triple.harmful_response
        assert (question.raw_text, question.topic) == (row.raw_text, row.topic)
        assert question.category == "harmful"
    assert len(load_questions("sample", split="tune").questions) == len(sample_triples("tune"))


def test_the_benign_sample_holds_ordinary_questions_and_look_alikes() -> None:
    found = load_questions("sample-benign", category="look-alike")
    counts = Counter(question.category for question in found.questions)
    assert counts == Counter(row.category for row in sample_helpful("test"))
    assert set(counts) == {"ordinary", "look-alike"}
    assert found == load_questions("sample-benign", category="ordinary")
    assert "no question is harmful, all are look-alike, ordinary" in error_of("sample-benign")
    assert "no question is benign, all are harmful" in error_of("sample", category="ordinary")


def test_a_split_that_the_sample_set_does_not_have_is_an_error() -> None:
    assert "train, tune, test" in error_of("sample", split="validation")


# --- the subset ------------------------------------------------------------------------------


def test_a_larger_subset_holds_the_smaller_one_first(tmp_path: Path) -> None:
    path = write_lines(tmp_path, [{"question": text} for text in TEXTS])
    whole = load_questions(path).questions
    for limit in (1, 7, 29, 100):
        assert load_questions(path, limit=limit).questions == whole[:limit]
    assert load_questions(path, limit=7, seed=1).questions != whole[:7]


def test_other_rows_do_not_change_the_order_of_questions_with_ids(tmp_path: Path) -> None:
    rows = [{"question": text, "id": f"a{n}"} for n, text in enumerate(TEXTS)]
    some = load_questions(write_lines(tmp_path, rows[:20])).questions
    every = load_questions(write_lines(tmp_path, rows[::-1])).questions
    assert [q for q in every if q in some] == list(some)


def test_the_limit_counts_each_category() -> None:
    counts = Counter(q.category for q in _benign_sample(limit=3).questions)
    assert counts == {"ordinary": 3, "look-alike": 3}
    with pytest.raises(ValueError, match="at least 1"):
        load_questions("sample", limit=0)


def test_the_hash_is_that_of_the_questions(tmp_path: Path) -> None:
    rows = [{"question": text} for text in TEXTS]
    path = write_lines(tmp_path, rows)
    found = load_questions(path)
    assert found.content_hash == load_questions(path).content_hash
    assert found.content_hash != load_questions(path, limit=5).content_hash
    write_lines(tmp_path, [*rows[:-1], {"question": "Another one?"}])
    assert found.content_hash != load_questions(path).content_hash


# --- files -----------------------------------------------------------------------------------


def test_every_file_format_gives_the_same_questions(tmp_path: Path) -> None:
    rows = [{"id": f"q{n}", "Behavior": text, "Tags": "a, b"} for n, text in enumerate(TEXTS[:4])]
    lines = write_lines(tmp_path, rows)
    released = write_lines(tmp_path, rows, "released.json")  # JSON lines in a .json file
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    parquet = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), parquet)
    paths = [lines, released, listed, parquet]
    for name, delimiter in (("rows.csv", ","), ("rows.tsv", "\t")):
        with (tmp_path / name).open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
        paths.append(tmp_path / name)
    expected = load_questions(lines).questions
    assert [q.text for q in sorted(expected, key=lambda q: q.id)] == TEXTS[:4]
    for path in paths:
        assert load_questions(path).questions == expected


@pytest.mark.parametrize("name", FIELDS["question"])
def test_usual_names_of_the_question_column_are_recognised(tmp_path: Path, name: str) -> None:
    path = write_lines(tmp_path, [{name: TEXTS[0], "other": 1}])
    assert load_questions(path).questions[0].text == TEXTS[0]


def test_a_goal_is_the_question_and_the_behaviour_beside_it_a_title(tmp_path: Path) -> None:
    row = {"Index": 3, "Goal": TEXTS[0], "Behavior": "Fake reviews", "Category": "Fraud"}
    (question,) = load_questions(write_lines(tmp_path, [row])).questions
    assert (question.text, question.topic, question.category) == (TEXTS[0], "Fraud", "harmful")


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    row = {"q": TEXTS[0], "key": 7, "kind": "benign", "area": "shops", "prompt": "not this"}
    columns = read_column_options(["question=q", "id=key", "category=kind", "topic=area"])
    path = write_lines(tmp_path, [row])
    (question,) = load_questions(path, columns=columns, category="ordinary").questions
    assert question == Question("7", TEXTS[0], "look-alike", topic="shops")


@pytest.mark.parametrize("option", ["question", "question=", "colour=red", "=x"])
def test_a_column_option_that_maps_nothing_is_an_error(option: str) -> None:
    with pytest.raises(DataError, match="--column question=NAME"):
        read_column_options([option])
    with pytest.raises(DataError, match="twice"):
        read_column_options(["id=a", "id=b"])


def test_unrecognised_columns_are_listed_with_the_way_to_map_them(tmp_path: Path) -> None:
    path = write_lines(tmp_path, [{"ask": "How?", "who": "me"}])
    message = error_of(path)
    assert "the columns are: ask, who" in message
    assert "--column question=NAME" in message
    assert "no column 'asked'" in error_of(path, columns={"question": "asked"})
    assert "no such field" in error_of(path, columns={"colour": "ask"})


def test_preference_rows_give_their_rejected_response(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": TEXTS[0]}]
    rows = [{"prompt": chat, "chosen": "Sorry.", "rejected": "Well, you begin with ..."}]
    (question,) = load_questions(write_lines(tmp_path, rows)).questions
    assert (question.text, question.harmful_response) == (TEXTS[0], "Well, you begin with ...")


def test_a_message_that_a_table_holds_as_text_is_the_question(tmp_path: Path) -> None:
    turn = {"role": "user", "content": TEXTS[0]}
    path = tmp_path / "q.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["prompt"], [json.dumps([turn])], [str([{**turn, "content": TEXTS[1]}])]])
    assert {question.text for question in load_questions(path).questions} == set(TEXTS[:2])


def test_a_context_stands_before_its_question(tmp_path: Path) -> None:
    row = {"Behavior": "Sum up the text.", "ContextString": "A prank.", "BehaviorID": "x"}
    (question,) = load_questions(write_lines(tmp_path, [row])).questions
    assert (question.id, question.text) == ("x", "A prank.\n\nSum up the text.")


def test_the_input_of_an_instruction_is_asked_with_it(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Add one to the number.", "input": 7, "output": "8"},
        {"instruction": "Name a fruit.", "input": "", "output": "An apple."},
        {"instruction": "Translate it.", "input": " apple\n", "output": "pomme"},
    ]
    found = load_questions(write_lines(tmp_path, rows))
    assert {question.text for question in found.questions} == {
        "Add one to the number.\n\n7",
        "Name a fruit.",
        "Translate it.\n\napple",
    }
    rows[1]["input"] = ["a"]
    assert "the input is not text" in error_of(write_lines(tmp_path, rows))


def test_a_column_called_category_is_a_topic_unless_it_says_harmful_or_benign(
    tmp_path: Path,
) -> None:
    path = write_lines(tmp_path, [{"prompt": TEXTS[0], "category": "fraud"}])
    (question,) = load_questions(path, category="look-alike").questions
    assert (question.topic, question.category) == ("fraud", "look-alike")
    rows = [{"prompt": TEXTS[n], "category": name} for n, name in enumerate(("harmful", "safe"))]
    path = write_lines(tmp_path, rows)
    assert [q.text for q in load_questions(path).questions] == [TEXTS[0]]
    (benign,) = load_questions(path, category="ordinary").questions
    assert (benign.text, benign.category) == (TEXTS[1], "look-alike")


# --- the files of the paper ------------------------------------------------------------------


def test_the_papers_training_lines_give_the_questions_with_a_harmful_response(
    tmp_path: Path,
) -> None:
    rows = [
        {"prefix": "[INST] How do I cheat? [\\INST]", "text": " Sorry.<|end_of_text|>"},
        {"prefix": "[INST] How do I cheat? [\\INST]", "text": " Like so.<|end_of_text|>"},
        {"prefix": "[INST] How do I cheat? [\\INST] Like", "text": " so."},
        {"prefix": "[INST] How do I bake? [\\INST]", "text": " Mix flour."},
    ]
    safe = ["false", "true", "true", "false"]
    lines = [{**row, "safe": word} for row, word in zip(rows, safe, strict=True)]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(lines), encoding="utf-8")
    (question,) = load_questions(path).questions
    assert (question.text, question.harmful_response) == ("How do I cheat?", "Like so.")
    path.write_text(json.dumps([lines[0], lines[3]]), encoding="utf-8")
    assert "no training line" in error_of(path)


# --- what is wrong ---------------------------------------------------------------------------


def test_all_bad_rows_are_named_with_their_lines(tmp_path: Path) -> None:
    rows = [
        {"question": TEXTS[0], "id": "a", "category": "harmful"},
        {"question": " ", "id": "b", "category": "harmful"},
        {"question": 5, "id": "c", "category": "harmful"},
        {"question": TEXTS[3], "id": "a", "category": "harmful"},
        {"question": TEXTS[4], "id": None, "category": "harmful"},
    ]
    path = write_lines(tmp_path, rows)
    with pytest.raises(DataError) as caught:
        load_questions(path)
    found = [(problem.line, problem.key) for problem in caught.value.problems]
    assert found == [(2, "question"), (3, "question"), (4, "id"), (5, "id")]
    message = error_of(path, columns={"category": "id"})
    assert "rows.jsonl:1 (id): the category is 'a'" in message


def test_lines_that_are_not_json_objects_are_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path, [{"question": "How?"}, "{", "[1]", {"question": "Why?"}])
    message = error_of(path)
    assert "rows.jsonl:2: the line is not JSON" in message
    assert "rows.jsonl:3: the line is not a JSON object" in message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"[{]", "not JSON"),
        ("a.json", b'[{"question": "How?"}, 3]', "row 2"),
        ("a.json", b"[]", "no rows"),
        ("a.csv", b"question\nHow?,more\n", "a.csv:2"),
        ("a.csv", b"question\n\xff\xfe\n", "can't be read"),
        ("a.csv", b"", "no rows"),
        ("a.parquet", b"not parquet", "can't be read"),
        ("a.doc", b"How?", "'.doc'"),
        ("a", b"How?", "no ending"),
        ("a.jsonl", b"", "no rows"),
        ("a.jsonl", b"P\x00Q", "not UTF-8 text"),
    ],
)
def test_files_that_are_not_what_their_name_says_are_errors(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in error_of(tmp_path / name)


@pytest.mark.parametrize("name", ["no.jsonl", "no/such.csv", "no.json", "no.parquet"])
def test_a_missing_file_is_not_looked_up_on_the_hub(tmp_path: Path, name: str) -> None:
    assert "there is no such file" in error_of(tmp_path / name)


def test_a_name_that_nothing_has_lists_the_known_sets() -> None:
    message = error_of("harmbanch")
    assert "sample-benign, harmbench, do-not-answer" in message
    assert "hub:owner/name" in message


# --- the hub ---------------------------------------------------------------------------------


class FakeHub:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.asked: list[HubSource] = []

    def __call__(self, hub: HubSource) -> list[dict[str, Any]]:
        self.asked.append(hub)
        return self.rows


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_published_sets_are_read_by_name(name: str) -> None:
    published = PUBLISHED_SETS[name]
    row = dict.fromkeys(published.columns.values(), "homonyms")
    row[published.columns["question"]] = TEXTS[0]
    hub = FakeHub([row])
    category = published.category or "look-alike"
    (question,) = load_questions(name, category=category, load_hub=hub).questions
    assert (question.text, question.category) == (TEXTS[0], category)
    assert hub.asked == [published.hub]
    load_questions(name, split="other", category=category, load_hub=hub)
    assert hub.asked[1].split == "other"
    assert published.licence
    assert "arXiv" in published.source


def test_xstest_gives_look_alikes_and_their_harmful_contrasts() -> None:
    types = ("homonyms", "real_group_nons_discr", "privacy_public", "contrast_homonyms")
    rows = [{"prompt": TEXTS[n], "type": name, "label": "?"} for n, name in enumerate(types)]
    hub = FakeHub(rows)
    benign = by_text(load_questions("xstest", category="look-alike", load_hub=hub))
    assert [benign[text].topic for text in TEXTS[:3]] == list(types[:3])
    assert {question.category for question in benign.values()} == {"look-alike"}
    (contrast,) = load_questions("xstest", load_hub=hub).questions
    assert (contrast.text, contrast.category) == (TEXTS[3], "harmful")


def test_a_set_that_is_benign_as_a_whole_is_not_given_as_harmful() -> None:
    hub = FakeHub([{"prompt": TEXTS[0], "category": "fraud"}])
    message = error_of("or-bench", load_hub=hub)
    assert "no question is harmful" in message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("owner/name", HubSource("owner/name", None, "test")),
        ("hub:owner/name", HubSource("owner/name", None, "test")),
        ("hub:owner/name:small", HubSource("owner/name", "small", "test")),
        ("owner/name:small", HubSource("owner/name", "small", "test")),
    ],
)
def test_hub_ids_may_name_a_configuration(source: str, expected: HubSource) -> None:
    hub = FakeHub([{"question": TEXTS[0]}])
    load_questions(source, split="test", load_hub=hub)
    assert hub.asked == [expected]


def test_a_local_copy_of_a_data_set_is_read_by_the_datasets_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "copy"
    folder.mkdir()
    rows = [{"question": text} for text in TEXTS[:3]]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "test-0.parquet")
    datasets.disable_progress_bars()
    found = load_questions(folder)
    assert {question.text for question in found.questions} == set(TEXTS[:3])
    assert "can't be loaded" in error_of(folder, split="nonsense")


def test_several_splits_ask_for_one_and_test_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    parts = {name: datasets.Dataset.from_list([{"question": name}]) for name in ("train", "dev")}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: parts)
    assert "several splits: train, dev" in error_of("hub:owner/name")
    parts["test"] = datasets.Dataset.from_list([{"question": "test"}])
    assert load_questions("hub:owner/name").questions[0].text == "test"


def test_no_network_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub\nfor a reason")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    message = error_of("harmbench")
    assert "walledai/HarmBench:standard: the data set can't be loaded: Couldn't reach" in message
    assert "pass the file" in message


def test_configurations_that_there_are_stand_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unnamed(*_: Any, **__: Any) -> None:
        raise ValueError(
            "Config name is missing.\nPlease pick one among the available configs: ['red']\n"
            "Example of usage:\n\t`load_dataset('owner/name', 'red')`"
        )

    monkeypatch.setattr(datasets, "load_dataset", unnamed)
    message = error_of("hub:owner/name")
    assert "Config name is missing. Please pick one among the available configs: ['red']" in message
    assert "owner/name:config" in message


def test_one_file_of_a_data_set_is_loaded_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []
    rows = datasets.Dataset.from_list([{"question": "How?"}])

    def load(*args: Any, **kwargs: Any) -> dict[str, Any]:
        asked.append((args, kwargs))
        return {"train": rows}

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = tables.load_from_hub(HubSource("owner/name", data_file="file.json"))
    assert found == [{"question": "How?"}]
    assert asked == [(("json",), {"data_files": "hf://datasets/owner/name/file.json"})]


def test_an_empty_data_set_is_an_error() -> None:
    with pytest.raises(DataError, match="no rows"):
        read_table("owner/name", load_hub=FakeHub([]))
