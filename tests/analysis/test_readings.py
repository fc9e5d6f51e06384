"""Token readings come back as they were written, or say what is wrong with their file."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derta.analysis.readings import (
    Reading,
    analysis_folder,
    load_readings,
    model_folder,
    read_about,
    read_readings,
    write_model,
    write_readings,
)
from derta.errors import DataError

HOSTILE = '<script>alert(1)</script>\u202e\u200b\x00\u2028 "\\" 嗨 \N{PILE OF POO}\r\n'


def reading(count: int = 3, *, divergence: bool = True, **changes: Any) -> Reading:
    generator = np.random.default_rng(count)

    def shares(length: int) -> Any:
        return generator.random(length, dtype=np.float32)

    def ranks(length: int) -> Any:
        return generator.integers(1, 50_000, length, dtype=np.int32)

    values: dict[str, Any] = {
        "model": "derta",
        "source": "response",
        "scenario": "prefill",
        "cell": "k=5",
        "question_id": "q1",
        "category": "harmful",
        "question": "How do I cheat?",
        "prefilled": "Sure",
        "response": " thing",
        "tokens": tuple(f" {index}" for index in range(count)),
        "prefilled_tokens": min(1, count),
        "refusal_probability": shares(count + 1),
        "refusal_rank": ranks(count + 1),
        "token_probability": shares(count),
        "token_rank": ranks(count),
        "top_tokens": tuple(f"t{index}" for index in range(count + 1)),
        "top_probability": shares(count + 1),
        "divergence": shares(count + 1) if divergence else None,
    }
    return Reading(**{**values, **changes})


def assert_same(found: Reading, expected: Reading) -> None:
    for field in fields(Reading):
        value, wanted = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(wanted, np.ndarray):
            assert value.dtype == wanted.dtype, field.name
            np.testing.assert_array_equal(value, wanted, field.name)
        else:
            assert value == wanted, field.name


# --- one file ---------------------------------------------------------------------------------


def test_readings_come_back_as_they_were_written_bit_for_bit(tmp_path: Path) -> None:
    written = [
        reading(3),
        reading(0, prefilled="", response="", divergence=False),
        reading(2000),
        reading(2, source="harmful", scenario="", cell=""),
        reading(1, response=HOSTILE, tokens=(HOSTILE,), top_tokens=("", HOSTILE)),
    ]
    write_readings(tmp_path / "readings.parquet", written)
    found = read_readings(tmp_path / "readings.parquet")
    assert len(found) == len(written)
    for each, expected in zip(found, written, strict=True):
        assert_same(each, expected)


def test_no_readings_are_a_file_of_none(tmp_path: Path) -> None:
    write_readings(tmp_path / "readings.parquet", [])
    assert read_readings(tmp_path / "readings.parquet") == []


def test_halves_of_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    broken = reading(1, response="a\ud800b", tokens=("a\ud800b",))
    write_readings(tmp_path / "readings.parquet", [broken])
    (found,) = read_readings(tmp_path / "readings.parquet")
    assert found.response == "a\ufffdb"
    assert found.tokens == ("a\ufffdb",)


def test_the_file_is_private_and_one_that_could_not_be_written_leaves_the_old_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "readings.parquet"
    write_readings(path, [reading()])
    assert path.stat().st_mode & 0o077 == 0
    before = path.read_bytes()
    wrong = replace(reading(), token_rank=np.ones(7, np.int32))
    with pytest.raises(ValueError, match="token_rank has 7 values for 3 tokens"):
        write_readings(path, [reading(), wrong])
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["readings.parquet"]


@pytest.mark.parametrize(
    "name", ["tokens", "top_tokens", "refusal_probability", "refusal_rank", "divergence"]
)
def test_arrays_of_another_length_than_the_tokens_are_not_written(
    name: str, tmp_path: Path
) -> None:
    good = reading()
    wrong = replace(good, **{name: getattr(good, name)[:-1]})
    with pytest.raises(ValueError, match="q1"):
        write_readings(tmp_path / "readings.parquet", [wrong])


def test_a_damaged_file_is_an_error_that_names_it_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "readings.parquet"
    write_readings(path, [reading()] * 5)
    whole = path.read_bytes()
    for content in (whole[:-30], b"", b"no parquet at all", whole[:10] + whole[40:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"readings\.parquet.*derta analyse"):
            read_readings(path)


def test_a_parquet_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "other.parquet"
    parquet.write_table(pyarrow.table({"model": ["a"], "tokens": [["b"]]}), path)
    with pytest.raises(DataError, match="token readings"):
        read_readings(path)


def test_a_file_whose_values_do_not_fit_together_is_an_error(tmp_path: Path) -> None:
    from pyarrow import parquet

    path = tmp_path / "readings.parquet"
    write_readings(path, [reading()])
    table = parquet.read_table(path)
    for name, values in (("prefilled_tokens", [9]), ("source", ["somewhere"])):
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        import pyarrow

        changed = table.set_column(place, field, pyarrow.array(values, field.type))
        parquet.write_table(changed, path)
        with pytest.raises(DataError, match="token readings"):
            read_readings(path)


# --- the folder -------------------------------------------------------------------------------


def evaluation(folder: Path, *names: str) -> None:
    subjects = [{"name": name, "fingerprint": f"print of {name}"} for name in names]
    (folder / "evaluation.json").write_text(json.dumps({"subjects": subjects}))


def about(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "fingerprint": f"print of {name}", "key": "k", **changes}


def test_readings_of_all_models_come_in_the_order_of_the_evaluation(tmp_path: Path) -> None:
    evaluation(tmp_path, "vanilla", "derta", "a/b: odd name")
    for name in ("a/b: odd name", "derta", "vanilla"):
        write_model(tmp_path, about(name), [reading(model=name), reading(1, model=name)])
    found = [each.model for each in load_readings(tmp_path)]
    assert found == ["vanilla"] * 2 + ["derta"] * 2 + ["a/b: odd name"] * 2
    assert read_about(tmp_path, "derta") == about("derta")
    assert read_about(tmp_path, "other") is None


def test_readings_of_other_weights_or_of_a_model_that_is_gone_are_left_out(
    tmp_path: Path,
) -> None:
    evaluation(tmp_path, "derta", "new")
    write_model(tmp_path, about("derta", fingerprint="of before"), [reading()])
    write_model(tmp_path, about("gone"), [reading(model="gone")])
    write_model(tmp_path, about("new"), [reading(model="new")])
    assert [each.model for each in load_readings(tmp_path)] == ["new"]


def test_a_model_that_was_not_read_to_the_end_has_no_readings(tmp_path: Path) -> None:
    evaluation(tmp_path, "derta")
    assert load_readings(tmp_path) == []
    write_readings(model_folder(tmp_path, "derta") / "readings.parquet", [reading()])
    assert load_readings(tmp_path) == []
    assert read_about(tmp_path, "derta") is None


def test_what_is_said_of_old_readings_never_stands_beside_new_ones(tmp_path: Path) -> None:
    write_model(tmp_path, about("derta", key="old"), [reading()])
    wrong = replace(reading(), token_rank=np.ones(7, np.int32))
    with pytest.raises(ValueError, match="token_rank"):
        write_model(tmp_path, about("derta", key="new"), [wrong])
    assert read_about(tmp_path, "derta") is None


def test_names_become_folders_of_their_own_inside_the_analysis(tmp_path: Path) -> None:
    names = [
        "derta",
        "Derta",
        "a/b",
        "a-b",
        "..",
        ".",
        "",
        "x" * 300,
        "嗨",
        "嘿",
        "a b",
        "../../up",
    ]
    folders = [model_folder(tmp_path, name) for name in names]
    lowered = {str(folder).lower() for folder in folders}
    assert len(lowered) == len(names)
    for folder in folders:
        assert folder.parent == analysis_folder(tmp_path)
        assert folder.resolve().parent == analysis_folder(tmp_path).resolve()
        assert len(folder.name) < 100
    assert folders[0].name == "derta"


def test_a_damaged_evaluation_is_an_error(tmp_path: Path) -> None:
    write_model(tmp_path, about("derta"), [reading()])
    (tmp_path / "evaluation.json").write_text('{"subjects": [1]}')
    with pytest.raises(DataError, match=r"evaluation\.json"):
        load_readings(tmp_path)
