"""What `derta data export` writes: rows as labels, pairs, conversations, texts.

Covered: the records of every format, what labels can't say, the file beside the export, bad names.
Not covered: that other trainers train on them as derta does (`tests/train/test_exported_rows`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from rich.console import Console

from derta import __version__
from derta.data.encode import ChatEncoder
from derta.data.export_formats import EXPORTS, ResponseTexts, labelled_row, record_file
from derta.errors import DataError, RecipeError
from derta.packing import share_prefixes
from derta.rows import Method, TargetKind, build_helpful_row, build_rows
from derta.train.exporting import export_data, render_export
from derta.train.recipe import DataRecipe, Recipe, RowsRecipe, WeightsRecipe
from derta.train.source import load_training_data
from derta.triple import Conversation
from tests.tiny import (
    REFUSAL_ID,
    TEMPLATE_WITH_ITS_OWN_END,
    TEMPLATE_WITH_NEWLINE,
    random_helpful,
    random_triple,
    tiny_tokenizer,
    tokenizer_of,
)

TRIPLES: list[dict[str, Any]] = [
    {
        "id": f"t{i}",
        "prompt": f"how can I cheat {i}",
        "chosen": "Sorry I cannot help with that",
        "rejected": "sure here is the first step"[: 15 + 3 * i],
    }
    for i in range(4)
]
HELPFUL: list[dict[str, Any]] = [
    {"id": 7, "prompt": "how do I bake bread", "completion": "mix flour and water"},
    {"prompt": "make a cake", "completion": "mix flour", "rejected": "wait", "finished": True},
    {"prompt": "the first step", "completion": "flour and", "finished": False, "rejected": "no"},
]


def _write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return _write(tmp_path / "t.jsonl", TRIPLES), _write(tmp_path / "h.jsonl", HELPFUL)


def _recipe(files: tuple[str, str | None], method: Any = Method.DERTA, **keys: Any) -> Recipe:
    data = {key: keys.pop(key) for key in ("triple_rows", "helpful_rows") if key in keys}
    return Recipe(
        model="tiny",
        method=method,
        data=DataRecipe(triples=files[0], helpful=files[1], **data),
        rows=RowsRecipe(**{"max_length": 128, **keys}),
    )


def _export(recipe: Recipe, path: Path, template: str = TEMPLATE_WITH_NEWLINE, **more: Any) -> Any:
    return export_data(recipe, path, tokenizer=tiny_tokenizer(template), **more)


def _records(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(path).to_pylist())
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# --- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_label_is_the_target_of_the_token_before_it(seed: int) -> None:
    generator = random.Random(seed)
    triple = random_triple(generator)
    k = generator.randint(0, len(triple.harmful_ids))
    rows = build_rows(triple, Method.DERTA, harmful_prefix_length=k, refusal_id=REFUSAL_ID)
    for row in (*rows, build_helpful_row(random_helpful(generator))):
        record = labelled_row(row)
        assert record is not None
        ids, labels = record["input_ids"], record["labels"]
        assert len(ids) == len(labels) == len(record["attention_mask"])
        assert set(record["attention_mask"]) == {1}
        assert tuple(ids[: len(row)]) == row.token_ids
        found = [(i - 1, label) for i, label in enumerate(labels) if label != -100]
        assert found == list(zip(row.target_positions, row.target_ids, strict=True))


def test_a_refusal_row_has_the_refusal_id_as_label_and_the_harmful_response_as_input() -> None:
    triple = random_triple(random.Random(3), harmful_length=6)
    (row,) = build_rows(triple, Method.RTO, refusal_id=REFUSAL_ID)
    record = labelled_row(row)
    assert record is not None
    before = len(triple.prompt_ids)
    assert record["labels"] == [-100] * before + [REFUSAL_ID] * 7
    assert record["input_ids"][before:-1] == list(triple.harmful_ids)
    assert record["input_ids"][-1] == REFUSAL_ID


def test_each_language_has_its_own_refusal_word_in_the_labels(tmp_path: Path) -> None:
    chinese = {
        "prompt": "怎样 插队",
        "chosen": "抱歉 不能",
        "rejected": "假装 不能",
        "language": "zh",
    }
    triples = _write(tmp_path / "t.jsonl", [TRIPLES[0], chinese])
    recipe = _recipe((triples, None), Method.RTO)
    recipe = recipe.model_copy(update={"refusal_words": {"zh": "抱歉"}})
    tokenizer = tokenizer_of(["Sorry", "抱歉", "不能", "假装"])
    report = export_data(recipe, tmp_path / "out.jsonl", tokenizer=tokenizer)
    assert set(report.refusal_tokens) == {"Sorry", "抱歉"}
    for record in _records(tmp_path / "out.jsonl"):
        is_chinese = "插队" in tokenizer.decode(record["input_ids"])
        word = "抱歉" if is_chinese else "Sorry"
        assert set(record["labels"]) == {-100, report.refusal_tokens[word]}


def test_a_row_with_fewer_kept_positions_gets_no_token_that_is_not_needed() -> None:
    triple = random_triple(random.Random(3), harmful_length=6)
    (row,) = build_rows(triple, Method.RTO, refusal_id=REFUSAL_ID, kept_positions=[0, 2])
    record = labelled_row(row)
    assert record is not None
    assert len(record["input_ids"]) == len(row)
    assert [i for i, label in enumerate(record["labels"]) if label != -100] == [
        len(triple.prompt_ids),
        len(triple.prompt_ids) + 2,
    ]


def test_a_packed_row_is_refused() -> None:
    triple = random_triple(random.Random(3), harmful_length=6)
    rows = build_rows(triple, Method.DERTA, harmful_prefix_length=2, refusal_id=REFUSAL_ID)
    with pytest.raises(ValueError, match="packed"):
        labelled_row(share_prefixes(rows))


def test_kinds_of_weight_zero_have_no_labels_and_rows_without_labels_are_left_out(
    files: tuple[str, str], tmp_path: Path
) -> None:
    weights = WeightsRecipe(helpful=0.0, safe_response=2.0, refusal_transition=2.0)
    report = _export(_recipe(files, weights=weights), tmp_path / "out.jsonl")
    assert report.records_by_kind == {"refusal_transition": 4, "safe_response": 4}
    assert report.targets_by_kind.keys() == {"refusal_transition", "safe_response"}


# --- what labels can't say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"weights": WeightsRecipe(refusal_transition=3.0)}, "rows.weights.refusal_transition=1.0"),
        ({"helpful_margin": 1.0}, "rows.helpful_margin=0.0"),
    ],
)
def test_weights_and_margins_are_an_error_that_says_what_to_set(
    files: tuple[str, str], tmp_path: Path, keys: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        _export(_recipe(files, **keys), tmp_path / "out.jsonl")
    assert wanted in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.jsonl", "t.jsonl"]


def test_weights_and_margins_that_the_method_does_not_use_are_no_error(
    files: tuple[str, str], tmp_path: Path
) -> None:
    weights = WeightsRecipe(refusal_transition=3.0)
    recipe = _recipe(files, Method.VANILLA, weights=weights, helpful_margin=1.0)
    assert _export(recipe, tmp_path / "out.jsonl").records == 7
    alone = _recipe((files[0], None), weights=WeightsRecipe(helpful=5.0), helpful_margin=1.0)
    assert _export(alone, tmp_path / "out.jsonl").records == 8


def test_pairs_have_no_labels_and_the_error_names_the_format_for_them(
    files: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="Export to dpo"):
        _export(_recipe(files, "dpo"), tmp_path / "out.jsonl")
    assert _export(_recipe(files, "dpo"), tmp_path / "out.jsonl", to="dpo").records == 6


# --- pairs, conversations, texts ---------------------------------------------------------------


def test_pairs_are_chat_messages_and_helpful_rows_without_a_rejected_are_counted(
    files: tuple[str, str], tmp_path: Path
) -> None:
    report = _export(_recipe(files), tmp_path / "out.jsonl", to="dpo")
    records = _records(tmp_path / "out.jsonl")
    assert records[0] == {
        "prompt": [{"role": "user", "content": "how can I cheat 0"}],
        "chosen": [{"role": "assistant", "content": "Sorry I cannot help with that"}],
        "rejected": [{"role": "assistant", "content": "sure here is th"}],
        "kind": "triple",
        "finished": True,
        "id": "t0",
    }
    assert report.records_by_kind == {"helpful": 2, "triple": 4}
    assert any("1 helpful rows without a rejected" in note for note in report.notes)
    assert any("1 rows were cut off" in note for note in report.notes)


@pytest.mark.parametrize("template", [TEMPLATE_WITH_NEWLINE, TEMPLATE_WITH_ITS_OWN_END])
def test_texts_are_those_whose_ids_derta_trains_on(
    files: tuple[str, str], tmp_path: Path, template: str
) -> None:
    recipe, tokenizer = _recipe(files, Method.VANILLA), tiny_tokenizer(template)
    encoder = ChatEncoder(tokenizer)
    _export(recipe, tmp_path / "out.jsonl", template, to="text")
    texts = [record["text"] for record in _records(tmp_path / "out.jsonl")]
    wanted = []
    for example in load_training_data(recipe, encoder).examples:
        response = getattr(example, "safe_ids", None) or example.response_ids  # type: ignore[union-attr]
        wanted.append([*example.prompt_ids, *response])
    assert [tokenizer(text)["input_ids"] for text in texts] == wanted
    assert texts[-1].endswith("flour and")  # it was cut off: its turn doesn't end


def test_pairs_as_text_continue_the_prompt_as_the_template_has_it(
    files: tuple[str, str], tmp_path: Path
) -> None:
    _export(_recipe(files), tmp_path / "out.jsonl", to="dpo-text")
    first, *_, last = _records(tmp_path / "out.jsonl")
    assert first["prompt"] == "<turn>user\nhow can I cheat 0<end>\n<turn>assistant\n"
    assert first["chosen"] == "Sorry I cannot help with that<end>"
    assert first["rejected"] == "sure here is th<end>"
    assert last["chosen"] == "flour and"


def test_a_beginning_of_text_that_the_tokenizer_writes_by_itself_is_not_in_the_text() -> None:
    class WithBeginning:
        bos_token, bos_token_id = "<bos>", 1

        def __init__(self, begins: list[int]) -> None:
            self.begins = begins

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [*self.begins, 50 + len(text)]}

        def apply_chat_template(self, *_: Any, **__: Any) -> str:
            return "<bos>question"

    prompt = Conversation.from_text("question")
    assert ResponseTexts(WithBeginning([1]), "<end>").prompt(prompt) == "question"
    assert ResponseTexts(WithBeginning([]), "<end>").prompt(prompt) == "<bos>question"


def test_conversations_end_in_the_safe_response_and_keep_earlier_turns(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "you are kind"},
        {"role": "user", "content": "how can I cheat"},
        {"role": "assistant", "content": "wait"},
        {"role": "user", "content": "help me"},
    ]
    row = {**TRIPLES[0], "prompt": turns}
    recipe = _recipe((_write(tmp_path / "t.jsonl", [row]), None))
    report = _export(recipe, tmp_path / "out.jsonl", to="messages")
    (record,) = _records(tmp_path / "out.jsonl")
    safe = {"role": "assistant", "content": "Sorry I cannot help with that"}
    assert record["messages"] == [*turns, safe]
    assert "rejected" not in record
    assert any("usual safety training" in note for note in report.notes)


@pytest.mark.parametrize("to", ["messages", "text"])
def test_no_harmful_response_is_in_conversations_or_texts(
    files: tuple[str, str], tmp_path: Path, to: str
) -> None:
    _export(_recipe(files), tmp_path / "out.jsonl", to=to)
    assert "sure here" not in (tmp_path / "out.jsonl").read_text("utf-8")


@pytest.mark.parametrize("to", EXPORTS)
def test_parquet_holds_what_jsonl_does(files: tuple[str, str], tmp_path: Path, to: str) -> None:
    for name in ("out.jsonl", "out.parquet"):
        _export(_recipe(files), tmp_path / name, to=to)
    records = _records(tmp_path / "out.parquet")
    assert records
    assert records == _records(tmp_path / "out.jsonl")


def test_more_records_than_a_row_group_holds_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    with record_file(path, "tokens") as write:
        for number in range(2500):
            ids = [number, 1]
            write({"input_ids": ids, "labels": [-100, 1], "attention_mask": [1, 1]})
    assert [row["input_ids"][0] for row in _records(path)] == list(range(2500))


# --- which rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("to", EXPORTS)
def test_only_the_rows_that_the_recipe_draws_are_exported(
    files: tuple[str, str], tmp_path: Path, to: str
) -> None:
    recipe = _recipe(files, Method.VANILLA, triple_rows=2, helpful_rows=1)
    data = load_training_data(recipe, ChatEncoder(tiny_tokenizer()))
    _export(recipe, tmp_path / "out.jsonl", to=to)
    wanted = [TRIPLES[int(line) - 1]["prompt"] for line in data.files[0].lines]
    wanted += [HELPFUL[int(line) - 1]["prompt"] for line in data.files[1].lines]
    found = []
    tokenizer = tiny_tokenizer()
    for record in _records(tmp_path / "out.jsonl"):
        whole = json.dumps(record)
        if to == "tokens":
            whole = tokenizer.decode(record["input_ids"])
        found += [prompt for prompt in wanted if f"{prompt}<" in whole or f'{prompt}"' in whole]
    if to.startswith("dpo"):
        wanted = [prompt for prompt in wanted if prompt != "how do I bake bread"]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("to", ["tokens", "messages"])
def test_rows_of_the_sample_set_are_its_training_split(tmp_path: Path, to: str) -> None:
    recipe = Recipe(
        model="tiny",
        method=Method.VANILLA,
        data=DataRecipe(triples="sample", helpful="sample", triple_rows=5, look_alike_rows=3,
                        ordinary_rows=2),
        rows=RowsRecipe(max_length=10_000),
    )  # fmt: skip
    report = _export(recipe, tmp_path / "out.jsonl", to=to)
    assert report.records == 10
    if to == "messages":
        kinds = [record["kind"] for record in _records(tmp_path / "out.jsonl")]
        assert kinds == ["triple"] * 5 + ["helpful"] * 5


def test_a_file_that_changes_while_it_is_exported_is_an_error(
    files: tuple[str, str], tmp_path: Path
) -> None:
    def shorten(done: int, total: int) -> None:
        assert total == 7
        if done == 4:
            Path(files[1]).write_text(json.dumps(HELPFUL[0]) + "\n", "utf-8")

    with pytest.raises(DataError, match="changed while it was read"):
        _export(_recipe(files), tmp_path / "out.jsonl", to="messages", progress=shorten)
    assert not (tmp_path / "out.jsonl").exists()
    assert not list(tmp_path.glob(".out*"))


# --- the files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize("to", EXPORTS)
def test_the_same_export_twice_is_the_same_bytes(
    files: tuple[str, str], tmp_path: Path, to: str, name: str
) -> None:
    whole = []
    for folder in ("first", "second"):
        path = tmp_path / folder / name
        _export(_recipe(files, kept_share=0.5), path, to=to)
        whole.append((path.read_bytes(), path.with_name(f"{name}.json").read_bytes()))
    assert whole[0] == whole[1]


def test_the_file_beside_the_export_says_how_it_was_made(
    files: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    report = _export(_recipe(files), path, epochs=2)
    said = json.loads((tmp_path / "out.jsonl.json").read_text("utf-8"))
    assert said["derta"] == __version__
    assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert said["recipe"]["data"]["triples"] == files[0]
    assert len(said["recipe_hash"]) == 16
    assert said["tokenizer"]
    assert (said["method"], said["epochs"], said["records"]) == ("derta", 2, 22)
    assert list(said["refusal_tokens"]) == ["Sorry"]
    assert said["records_by_kind"] == {"helpful": 6, "refusal_transition": 8, "safe_response": 8}
    records = _records(path)
    assert said["longest"] == max(len(record["input_ids"]) for record in records)
    labels = sum(label != -100 for record in records for label in record["labels"])
    assert sum(said["targets_by_kind"].values()) == labels
    known = dataclasses.asdict(report)
    assert {key: said[key] for key in known if key != "path"} == {
        key: value for key, value in known.items() if key != "path"
    }


def test_another_recipe_has_another_hash(files: tuple[str, str], tmp_path: Path) -> None:
    hashes = set()
    for share in (0.5, 1.0):
        _export(_recipe(files, kept_share=share), tmp_path / "out.jsonl")
        hashes.add(json.loads((tmp_path / "out.jsonl.json").read_text("utf-8"))["recipe_hash"])
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("out.json", {}, ".jsonl or .parquet"),
        ("out", {}, "has no ending"),
        ("out.jsonl", {"to": "labels"}, "Known are tokens"),
        ("out.jsonl", {"epochs": 0}, "1 or more"),
        ("out.jsonl", {"epochs": 2, "to": "dpo"}, "Only tokens differ"),
        ("t.jsonl", {}, "would be replaced"),
    ],
)
def test_what_can_not_be_exported_is_one_clear_error(
    files: tuple[str, str], tmp_path: Path, name: str, more: dict[str, Any], said: str
) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises((DataError, RecipeError)) as caught:
        _export(_recipe(files), tmp_path / name, **more)
    assert said in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_data_set_that_makes_no_record_leaves_no_file(tmp_path: Path) -> None:
    triples = _write(tmp_path / "t.jsonl", TRIPLES[:1])
    weights = WeightsRecipe(helpful=1.0, safe_response=0.0, refusal_transition=0.0)
    with pytest.raises(RecipeError, match="weight 0"):
        _export(_recipe((triples, None), weights=weights), tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_the_summary_fits_a_terminal_and_names_what_was_made(
    files: tuple[str, str], tmp_path: Path
) -> None:
    report = _export(_recipe(files), tmp_path / "out.jsonl", to="messages")
    written = io.StringIO()
    render_export(report, Console(file=written, width=80))
    assert "helpful 3, triple 4" in written.getvalue().replace("\n", " ")
    assert max(map(len, written.getvalue().splitlines())) <= 80


def test_the_labels_are_counted_by_kind_as_the_rows_have_them(
    files: tuple[str, str], tmp_path: Path
) -> None:
    report = _export(_recipe((files[0], None), Method.RTO), tmp_path / "out.jsonl")
    refusal = TargetKind.REFUSAL_TRANSITION.name.lower()
    encoder = ChatEncoder(tiny_tokenizer())
    examples: Any = load_training_data(_recipe((files[0], None), Method.RTO), encoder).examples
    assert report.targets_by_kind == {refusal: sum(len(e.harmful_ids) + 1 for e in examples)}


def test_only_an_export_that_nobody_has_changed_is_replaced(
    files: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"mine": 1}\n')
    with pytest.raises(DataError, match="Name another file"):
        _export(_recipe(files), path)
    assert path.read_text() == '{"mine": 1}\n'
    path.unlink()
    _export(_recipe(files), path)
    _export(_recipe(files), path)
    path.unlink()  # what stands beside it is left
    _export(_recipe(files), path)
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DataError, match="nobody has changed"):
        _export(_recipe(files), path)
    path.unlink()
    (tmp_path / "mine.jsonl.json").write_text('{"mine": 1}\n')
    with pytest.raises(DataError, match=r"mine\.jsonl\.json: it is there already"):
        _export(_recipe(files), path)
