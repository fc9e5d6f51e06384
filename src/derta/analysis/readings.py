"""What a model thinks of every token of a text, as plain data, and the file that keeps it.

Covered: writing and reading Parquet, and the folder in which an evaluation's readings lie, one
folder a model. Not covered: where readings come from (`derta.analysis.token_reading`), which texts
are read (`derta.analyse_run`), what is computed of them (`derta.analysis.analyse`).

Shapes:  S tokens of a text. Context t is the text after t of them, t = 0 .. S: at t = 0 nothing is
written yet, at t = S all of it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from derta.errors import DataError
from derta.files import digest, whole_file, write_atomically

__all__ = [
    "Reading",
    "Source",
    "analysis_folder",
    "load_readings",
    "model_folder",
    "read_about",
    "read_readings",
    "write_model",
    "write_readings",
]

Source = Literal["harmful", "benign", "response"]
"""A held-out harmful or benign response that every model reads; or the model's own output."""

_READINGS = "readings.parquet"
_ABOUT = "reading.json"
_RESERVED = ("analysis.json", "notice.txt")
"""Files that stand beside the models' folders."""
_REMEDY = "Delete it and run `derta analyse` again"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One text, token by token, as one model sees it."""

    model: str
    source: Source
    scenario: str
    """Of the outcome; "" where every model reads the text."""
    cell: str
    """Likewise."""
    question_id: str
    category: str
    """`harmful`, `ordinary` or `look-alike`."""
    question: str
    prefilled: str
    """What was put into the model's mouth; "" where every model reads the text."""
    response: str
    """The newly generated text alone, or the whole held-out response."""
    tokens: tuple[str, ...]
    """(S,) pieces of prefilled + response, that concatenate to the text as far as the tokenizer
    allows; bytes that are no character: U+FFFD."""
    prefilled_tokens: int
    """So many of them were put into the model's mouth."""
    refusal_probability: NDArray[np.float32]
    """(S + 1,) P(any refusal token) at context t."""
    refusal_rank: NDArray[np.int32]
    """(S + 1,) 1 = the model's likeliest token; of several refusal tokens the best."""
    token_probability: NDArray[np.float32]
    """(S,) of the token that stands there, at its context."""
    token_rank: NDArray[np.int32]
    """(S,) likewise."""
    top_tokens: tuple[str, ...]
    """(S + 1,) the model's own next choice at context t."""
    top_probability: NDArray[np.float32]
    """(S + 1,) likewise."""
    divergence: NDArray[np.float32] | None
    """(S + 1,) KL(model || reference) in nats; None for the reference itself, or where the
    vocabularies differ."""


_TEXTS = (
    "model", "source", "scenario", "cell", "question_id", "category", "question", "prefilled",
    "response",
)  # fmt: skip
_TEXT_LISTS = ("tokens", "top_tokens")
_PROBABILITIES = ("refusal_probability", "token_probability", "top_probability")
_RANKS = ("refusal_rank", "token_rank")
_AT_TOKENS = ("tokens", "token_probability", "token_rank")
"""These have S values; the other lists one more."""


# --- one file ---------------------------------------------------------------------------------


def write_readings(path: Path, readings: Iterable[Reading]) -> None:
    """Write readings as Parquet; the file is complete or, after a crash, as it was before.

    Halves of surrogates, which no file can hold, become U+FFFD.

    Raises:
        ValueError: a reading's arrays don't fit its tokens.
    """
    import pyarrow  # type: ignore[import-untyped]  # ships no types
    from pyarrow import parquet

    columns: dict[str, list[Any]] = {field.name: [] for field in fields(Reading)}
    for reading in readings:
        _check(reading)
        for name, values in columns.items():
            value = getattr(reading, name)
            if name in _TEXTS:
                value = _writable(value)
            elif name in _TEXT_LISTS:
                value = [_writable(text) for text in value]
            values.append(value)
    schema = _schema()
    table = pyarrow.table(
        {name: pyarrow.array(values, schema.field(name).type) for name, values in columns.items()},
        schema=schema,
    )
    with whole_file(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd")


def read_readings(path: Path) -> list[Reading]:
    """Read what `write_readings` wrote.

    Raises:
        DataError: the file is missing, damaged, or no file of readings.
    """
    import pyarrow
    from pyarrow import parquet

    damage = (OSError, ValueError, TypeError, KeyError, MemoryError, pyarrow.ArrowException)
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read().cast(_schema())
        columns = {name: table.column(name) for name in table.column_names}
        return [_reading(columns, row) for row in range(table.num_rows)]
    except damage as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError.of(path, f"can't be read as token readings ({reason})", _REMEDY) from error


def _schema() -> Any:
    import pyarrow

    text, numbers = pyarrow.string(), pyarrow.float32()
    types: dict[str, Any] = dict.fromkeys(_TEXTS, text)
    types |= dict.fromkeys(_TEXT_LISTS, pyarrow.list_(text))
    types |= dict.fromkeys((*_PROBABILITIES, "divergence"), pyarrow.list_(numbers))
    types |= dict.fromkeys(_RANKS, pyarrow.list_(pyarrow.int32()))
    types["prefilled_tokens"] = pyarrow.int32()
    return pyarrow.schema([(field.name, types[field.name]) for field in fields(Reading)])


def _reading(columns: Mapping[str, Any], row: int) -> Reading:
    values: dict[str, Any] = {}
    for name, column in columns.items():
        scalar = column[row]
        if name in _PROBABILITIES or name in _RANKS or (name == "divergence" and scalar.is_valid):
            dtype = np.int32 if name in _RANKS else np.float32
            values[name] = np.array(scalar.values.to_numpy(zero_copy_only=False), dtype)
        elif name in _TEXT_LISTS:
            values[name] = tuple(scalar.as_py())
        else:
            values[name] = scalar.as_py()
    if values["source"] not in get_args(Source):
        raise ValueError(f"source is {values['source']!r}")
    reading = Reading(**values)
    _check(reading)
    return reading


def _check(reading: Reading) -> None:
    """Hold a reading's lengths together.

    Raises:
        ValueError: one has another length than the tokens ask for.
    """
    count = len(reading.tokens)
    for name in (*_TEXT_LISTS, *_PROBABILITIES, *_RANKS, "divergence"):
        values = getattr(reading, name)
        expected = count if name in _AT_TOKENS else count + 1
        if values is not None and len(values) != expected:
            raise ValueError(
                f"{reading.question_id}: {name} has {len(values)} values for {count} tokens"
            )
    if not 0 <= reading.prefilled_tokens <= count:
        raise ValueError(f"{reading.question_id}: {reading.prefilled_tokens} of {count} tokens")


def _writable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# --- the folder -------------------------------------------------------------------------------


def analysis_folder(folder: Path) -> Path:
    """Name the folder in an evaluation's folder that holds the analysis."""
    return folder / "analysis"


def model_folder(folder: Path, name: str) -> Path:
    """Name the folder that holds a model's readings; a name that is no plain path gets a hash.

    Args:
        folder: of the evaluation.
        name: the model's, as evaluation.json has it.
    """
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:60]
    # Some file systems tell capital letters from small ones and some don't.
    plain = bool(name) and readable == name == name.lower() and name not in _RESERVED
    if not plain:
        readable = "-".join(part for part in (readable, digest(name)[:8]) if part)
    return analysis_folder(folder) / readable


def write_model(folder: Path, about: Mapping[str, Any], readings: Iterable[Reading]) -> None:
    """Write all readings of a model, then what they are: that file says that it is done.

    Args:
        folder: of the evaluation.
        about: JSON-ready, the content of reading.json: name, fingerprint, key and so on.
        readings: of this model.
    """
    place = model_folder(folder, about["name"])
    # What is said of the old readings must not stand beside the new ones.
    (place / _ABOUT).unlink(missing_ok=True)
    write_readings(place / _READINGS, readings)
    write_atomically(place / _ABOUT, json.dumps(dict(about), indent=1) + "\n")


def read_about(folder: Path, name: str) -> dict[str, Any] | None:
    """Read what a model's readings are; None: there are none, or they are not finished."""
    return _about(model_folder(folder, name))


def load_readings(folder: Path) -> list[Reading]:
    """Read all finished readings of an evaluation's folder.

    Those of a model that evaluation.json has no more, or whose weights it names by another
    fingerprint, are out of date and left out.

    Args:
        folder: of the evaluation, with evaluation.json; without one all readings count.

    Returns:
        By model, in the order of evaluation.json's subjects; [] if there are none.

    Raises:
        DataError: a file is damaged.
    """
    found = []
    for path in sorted(analysis_folder(folder).glob(f"*/{_ABOUT}")):
        about = _about(path.parent)
        if about is not None:
            found.append((str(about["name"]), str(about.get("fingerprint")), path.parent))
    subjects = _subjects(folder)
    if subjects is not None:
        places = {each: place for place, each in enumerate(subjects)}
        found = [each for each in found if each[:2] in places]
        found.sort(key=lambda each: places[each[:2]])
    return [reading for *_, place in found for reading in read_readings(place / _READINGS)]


def _about(place: Path) -> dict[str, Any] | None:
    try:
        about = json.loads((place / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    finished = isinstance(about, dict) and "name" in about and (place / _READINGS).exists()
    return about if finished else None


def _subjects(folder: Path) -> list[tuple[str, str]] | None:
    """List (name, fingerprint) of the models that were evaluated; None: nothing says it."""
    path = folder / "evaluation.json"
    if not path.exists():
        return None
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["subjects"]
        return [(str(row["name"]), str(row.get("fingerprint"))) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        problem = f"can't be read as an evaluation ({error})"
        raise DataError.of(path, problem, "Run `derta evaluate` again") from error
