"""The examples that a recipe names: read, checked, cut to length and encoded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from derta.data.encode import ChatEncoder
from derta.data.epoch import RowSettings
from derta.data.files import Loaded, load_helpful, load_triples, overlong_problems
from derta.data.sample import sample_file, sample_helpful, sample_triples
from derta.errors import DataError, InputProblem
from derta.rows import EncodedHelpful, EncodedTriple
from derta.train.recipe import Recipe
from derta.triple import HelpfulExample, Triple

__all__ = ["TrainingData", "encode_row", "encoded_length", "load_training_data", "row_settings"]

SAMPLE = "sample"


@dataclass(slots=True)
class TrainingData:
    """Encoded examples and where they come from."""

    examples: list[EncodedTriple | EncodedHelpful] = field(default_factory=list)
    hashes: dict[str, dict[str, str | int]] = field(default_factory=dict)
    """File -> {"sha256", "rows"}."""
    places: dict[tuple[str, int], int] = field(default_factory=dict)
    """(file, line) -> index in `examples`; lines of the sample set count the training rows."""
    left_out: int = 0
    """Over-long rows that `overlong: skip` left out."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Rows of one file, with their lines for the messages."""

    path: str
    sha256: str
    rows: list[tuple[int, Triple | HelpfulExample, bool]]
    """(line, row, whether its response ends where the model ended it)."""


def load_training_data(recipe: Recipe, encoder: ChatEncoder) -> TrainingData:
    """Load and encode what `recipe.data` names, triples first.

    Raises:
        DataError: rows can't be used or are over-long; those of all files are listed together.
    """
    data = TrainingData()
    problems: list[InputProblem] = []
    for source in _sources(recipe, problems):
        lengths = []
        used = 0
        for line, row, finished in source.rows:
            example = encode_row(row, finished, recipe, encoder)
            length = encoded_length(example)
            lengths.append((line, length))
            if length > recipe.rows.max_length:
                if recipe.rows.overlong == "skip":
                    data.left_out += 1
                    continue
                example = encode_row(row, finished, recipe, encoder, recipe.rows.max_length)
                if encoded_length(example) > recipe.rows.max_length:
                    # Cutting the response can't help where the prompt alone is too long.
                    problems.extend(
                        overlong_problems(source.path, [(line, length)], recipe.rows.max_length)
                    )
                    continue
            data.places[source.path, line] = len(data.examples)
            data.examples.append(example)
            used += 1
        if recipe.rows.overlong == "error":
            problems.extend(overlong_problems(source.path, lengths, recipe.rows.max_length))
        data.hashes[source.path] = {"sha256": source.sha256, "rows": used}
    if problems:
        unique = dict.fromkeys(problems)
        raise DataError(sorted(unique, key=lambda each: (each.path, each.line or 0)))
    if not data.examples:
        raise DataError(
            [
                InputProblem(
                    recipe.data.triples,
                    f"no row is left after {data.left_out} over-long ones",
                    "Raise rows.max_length",
                )
            ]
        )
    return data


def row_settings(recipe: Recipe, refusal_id: int) -> RowSettings:
    """Read from a recipe how its examples become rows."""
    return RowSettings(
        method=recipe.method,
        refusal_id=refusal_id,
        seed=recipe.seed,
        kept_share=recipe.rows.kept_share,
        share_without_prefix=recipe.rows.share_without_prefix,
        prefixes_per_triple=recipe.rows.prefixes_per_triple,
        short_harmful_share=recipe.rows.short_harmful_share,
        short_helpful_share=recipe.rows.short_helpful_share,
        short_length=recipe.rows.short_length,
    )


def encoded_length(example: EncodedTriple | EncodedHelpful) -> int:
    """Count the tokens of prompt and responses together, as `rows.max_length` does."""
    if isinstance(example, EncodedHelpful):
        return len(example.prompt_ids) + len(example.response_ids)
    return len(example.prompt_ids) + len(example.harmful_ids) + len(example.safe_ids)


def encode_row(
    row: Triple | HelpfulExample,
    finished: bool,
    recipe: Recipe,
    encoder: ChatEncoder,
    max_length: int | None = None,
) -> EncodedTriple | EncodedHelpful:
    """Encode a row, its harmful or helpful response cut as the recipe says."""
    if isinstance(row, Triple):
        harmful = recipe.rows.max_harmful_length
        triple = encoder.triple(row, max_length)
        return EncodedTriple(triple.prompt_ids, triple.safe_ids, triple.harmful_ids[:harmful])
    helpful = encoder.helpful(row, max_length, finished=finished)
    response = helpful.response_ids[: recipe.rows.max_helpful_length]
    return EncodedHelpful(helpful.prompt_ids, response)


def _sources(recipe: Recipe, problems: list[InputProblem]) -> list[_Source]:
    found = []
    for name, is_triples in ((recipe.data.triples, True), (recipe.data.helpful, False)):
        if name is None:
            continue
        if name == SAMPLE:
            found.append(_sample(recipe, triples=is_triples))
            continue
        try:
            loaded: Loaded[Triple] | Loaded[HelpfulExample]
            loaded = load_triples(name) if is_triples else load_helpful(name)
        except DataError as error:
            problems.extend(error.problems)
            continue
        problems.extend(loaded.problems)
        finished = [columns.get("finished") is not False for columns in loaded.columns]
        rows: list[tuple[int, Triple | HelpfulExample, bool]] = list(
            zip(loaded.lines, loaded.rows, finished, strict=True)
        )
        found.append(_Source(name, _sha256(Path(name).read_bytes()), rows))
    return found


def _sample(recipe: Recipe, *, triples: bool) -> _Source:
    """Take the training split of the sample set, as many rows of each category as asked for."""
    name = "triples.jsonl" if triples else "helpful.jsonl"
    rows: list[tuple[int, Triple | HelpfulExample, bool]] = []
    if triples:
        rows = [(i, sample.triple, True) for i, sample in enumerate(sample_triples("train"), 1)]
    else:
        wanted = {
            "ordinary": recipe.data.ordinary_rows,
            "look-alike": recipe.data.look_alike_rows,
        }
        numbered = list(enumerate(sample_helpful("train"), 1))
        for category, count in wanted.items():
            chosen = [(i, s) for i, s in numbered if s.category == category][:count]
            rows += [(i, sample.example, sample.finished) for i, sample in chosen]
    return _Source(f"{SAMPLE}/{name}", _sha256(sample_file(name)), rows)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
