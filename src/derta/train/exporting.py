"""A recipe's training data for other trainers: `derta data export`.

    tokens     the plain rows of the recipe's method, as input_ids, labels, attention_mask
    dpo        prompt, chosen, rejected as chat messages; `dpo-text`: as text in the chat template
    messages   conversations that end in the safe or the helpful response
    text       the same as text in the chat template

Rows are those that `derta train` would train on: the same examples, the same draws of k and of the
kept positions, in the order of its epochs. Covered: one file a call, beside it a JSON file that
says how it was made. Not covered: what labels can't say (weights that differ, margins: an error),
packed rows. Texts are whole: the recipe's lengths in tokens cut `tokens` only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derta import __version__
from derta.data.encode import ChatEncoder
from derta.data.epoch import EpochSampler, TrainingExamples
from derta.data.export_formats import (
    EXPORTS,
    ExportFormat,
    ResponseTexts,
    check_ending,
    labelled_row,
    record_file,
)
from derta.data.made_files import hash_file, is_there, read_report
from derta.data.models import load_tokenizer
from derta.errors import DataError, InputProblem, RecipeError
from derta.files import digest, write_atomically
from derta.rows import Method, TargetKind
from derta.terminal import safe
from derta.train.export_texts import TextCounts, text_records
from derta.train.recipe import DPO, Recipe, dump_recipe
from derta.train.source import (
    SAMPLE,
    TrainingData,
    load_refusal_tokens,
    load_training_data,
    row_settings,
)
from derta.triple import Conversation

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ExportReport", "export_data", "render_export"]

Progress = Callable[[int, int], None]
"""Called with (done, total) examples."""


@dataclass(slots=True)
class ExportReport:
    """What was exported; all of it stands in the file beside the export, too."""

    path: str
    to: str
    records: int = 0
    records_by_kind: dict[str, int] = field(default_factory=dict)
    """tokens: by the kind of the row's targets. Else: triple and helpful."""
    targets_by_kind: dict[str, int] = field(default_factory=dict)
    """tokens: labels that are trained, by kind."""
    refusal_tokens: dict[str, int] = field(default_factory=dict)
    """Text -> id of the tokens that the labels of refusal rows hold."""
    longest: int | None = None
    """tokens: of the longest record."""
    notes: list[str] = field(default_factory=list)
    """What the file can't say."""


def export_data(
    recipe: Recipe,
    output: str | Path,
    *,
    to: str = "tokens",
    epochs: int = 1,
    tokenizer: Any = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a recipe's training data for another trainer.

    The same call writes the same bytes. `output` is replaced when all is written, and
    `output`.json beside it says what made it.

    Args:
        recipe: names the data, the model whose tokenizer is used, the method and the rows.
        output: ends in .jsonl or .parquet.
        to: one of `EXPORTS`.
        epochs: tokens only: so many epochs, one after the other, each with its own draws.
        tokenizer: a transformers tokenizer; None loads the recipe's model's.
        progress: called with (done, total) examples.

    Raises:
        DataError: rows of the data can't be used, or the output can't be written by its name.
        RecipeError: the format can't say what the recipe trains; the message says what to change.
        ModelError, TokenizerError: the tokenizer can't serve.
    """
    path = Path(output)
    chosen = _known(to)
    check_ending(path)
    without = _inexpressible(recipe) if chosen == "tokens" else frozenset()
    if epochs < 1 or (epochs > 1 and chosen != "tokens"):
        raise RecipeError(
            f"epochs: {epochs} can't be used. Only tokens differ between epochs (the draws of k), "
            "and there it is 1 or more"
        )
    _see_that_nothing_is_replaced(path, recipe)
    if tokenizer is None:
        tokenizer = load_tokenizer(recipe.model, recipe.prompt_format)
    encoder = ChatEncoder(tokenizer)
    data = load_training_data(recipe, encoder)
    report, counts = ExportReport(str(path), chosen), TextCounts()
    if chosen == "tokens":
        refusal = load_refusal_tokens(recipe, encoder, data.languages)
        examples = TrainingExamples(data.examples, row_settings(recipe, refusal, tokenizer))
        records = _token_records(examples, epochs, without, report)
    else:
        end = encoder.response_ids(Conversation.from_text("?"), "a")[-1]
        texts = ResponseTexts(tokenizer, tokenizer.decode([end]))
        records = text_records(chosen, data, recipe, texts, counts)
    total = len(data.examples) * epochs
    with record_file(path, chosen) as write:
        for done, made in enumerate(records, start=1):
            for record in made:
                write(record)
                report.records += 1
            if progress is not None:
                progress(done, total)
        if not report.records:
            problem = f"no row of the data can be exported to {chosen}"
            raise DataError([InputProblem(str(path), problem, "Look at `derta data check`")])
    report.records_by_kind |= _ordered(counts.by_kind)
    report.notes += _notes(chosen, recipe, report, data, counts)
    report.refusal_tokens = {
        str(tokenizer.decode([each])): each for each in report.refusal_tokens.values()
    }
    _write_beside(path, recipe, epochs, data, tokenizer, report)
    return report


def render_export(report: ExportReport, console: Console) -> None:
    """Print what was exported and what the file can't say."""
    console.print(safe(f"{report.records:,} records for {report.to} are in {report.path}"))
    for name, counts in (
        ("records", report.records_by_kind),
        ("trained labels", report.targets_by_kind),
    ):
        if counts:
            listed = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
            console.print(safe(f"  {name}: {listed}"))
    for note in report.notes:
        console.print(safe(f"  {note}"))
    console.print(safe(f"How it was made: {report.path}.json"))


def _known(to: str) -> ExportFormat:
    for name in EXPORTS:
        if name == to:
            return name
    raise RecipeError(f"to: {to!r} is no format of exports. Known are {', '.join(EXPORTS)}")


def _see_that_nothing_is_replaced(path: Path, recipe: Recipe) -> None:
    """See that the output is none of the files that it is made of, and no stranger's file."""
    for name in (recipe.data.triples, recipe.data.helpful):
        if name is not None and name != SAMPLE and path.resolve() == Path(name).resolve():
            problem = "the recipe's data would be replaced"
            raise DataError([InputProblem(str(path), problem, "Name another file with --output")])
    beside = path.with_name(f"{path.name}.json")
    # Somebody may have deleted an export and left what stands beside it.
    found = next((each for each in (path, beside) if is_there(each)), None)
    if found is not None and not _is_an_export(path, beside):
        problem = "it is there already, and is no export that nobody has changed"
        raise DataError([InputProblem(str(found), problem, "Name another file with --output")])


def _is_an_export(path: Path, beside: Path) -> bool:
    """Say whether an export wrote what is there of it."""
    sha256 = read_report(beside).get("sha256")
    if sha256 is None or not is_there(path):
        return sha256 is not None
    try:
        return bool(hash_file(path) == sha256)
    except OSError:
        return False


# --- tokens ------------------------------------------------------------------------------------


def _inexpressible(recipe: Recipe) -> frozenset[TargetKind]:
    """See that labels say what the recipe trains; return the kinds with weight 0.

    Raises:
        RecipeError: it trains on pairs, or its loss has weights that differ or a margin.
    """
    if recipe.method == DPO:
        raise RecipeError(
            "method: dpo trains on pairs, which have no labels. Export to dpo, or set method=derta"
        )
    weights = recipe.rows.weights
    used = {
        TargetKind.HELPFUL: (recipe.data.helpful is not None, "helpful", weights.helpful),
        TargetKind.SAFE_RESPONSE: (
            recipe.method != Method.RTO,
            "safe_response",
            weights.safe_response,
        ),
        TargetKind.REFUSAL_TRANSITION: (
            recipe.method in (Method.RTO, Method.DERTA),
            "refusal_transition",
            weights.refusal_transition,
        ),
    }
    trained = {name: weight for is_used, name, weight in used.values() if is_used and weight}
    changes = []
    if not trained:
        raise RecipeError("rows.weights: all targets of this recipe have weight 0. Raise one")
    if len(set(trained.values())) > 1:
        changes += [f"rows.weights.{name}=1.0" for name, weight in trained.items() if weight != 1]
    if recipe.applied_margin and "helpful" in trained:
        changes.append("rows.helpful_margin=0.0")
    if changes:
        raise RecipeError(
            "to: tokens: labels can't carry what this recipe sets under rows.weights or "
            "rows.helpful_margin, so another trainer would train by another loss. Train with "
            f"derta, or export another recipe: add {' '.join(changes)}"
        )
    return frozenset(kind for kind, (is_used, _, weight) in used.items() if is_used and not weight)


def _token_records(
    examples: TrainingExamples,
    epochs: int,
    without: frozenset[TargetKind],
    report: ExportReport,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of each example, in the order that derta trains them in."""
    records: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    longest = 0
    # A step of one example: the order has no filler at its end.
    sampler = EpochSampler(len(examples), 1, examples.settings.seed)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for key in sampler:
            made = []
            for row in examples[key]:
                record = labelled_row(row, without)
                if record is None:
                    continue
                made.append(record)
                longest = max(longest, len(record["input_ids"]))
                counted = [kind.name.lower() for kind in row.target_kinds if kind not in without]
                targets.update(counted)
                records[counted[0]] += 1
                for target, kind in zip(row.target_ids, row.target_kinds, strict=True):
                    if kind is TargetKind.REFUSAL_TRANSITION:
                        report.refusal_tokens[str(target)] = target
            yield made
    report.records_by_kind, report.targets_by_kind = _ordered(records), _ordered(targets)
    report.longest = longest


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts)}


# --- what is said of it ------------------------------------------------------------------------


def _notes(
    to: ExportFormat,
    recipe: Recipe,
    report: ExportReport,
    data: TrainingData,
    counts: TextCounts,
) -> Iterator[str]:
    if data.left_out:
        yield f"{data.left_out:,} over-long rows were left out (rows.overlong: skip)."
    if counts.without_rejected:
        yield f"{counts.without_rejected:,} helpful rows without a rejected make no pair."
    if counts.unfinished and to != "text":
        yield (
            f"{counts.unfinished:,} rows were cut off (finished is false). A trainer ends their "
            "turn all the same, and so teaches to stop in mid-sentence: filter them out there."
        )
    if to == "tokens":
        yield (
            f"The longest record has {report.longest:,} tokens: set the trainer's length limit to "
            "that or none. Train one epoch on the file; more epochs are --epochs."
        )
    elif to in ("messages", "text") and recipe.method != Method.VANILLA:
        yield (
            f"This is the usual safety training: {recipe.method} can't be said in texts, only in "
            "tokens."
        )


def _write_beside(
    path: Path,
    recipe: Recipe,
    epochs: int,
    data: TrainingData,
    tokenizer: Any,
    report: ExportReport,
) -> None:
    """Write what made the file; nothing in it changes when it is made again."""
    said = {key: value for key, value in asdict(report).items() if key != "path"}
    content = {
        "derta": __version__,
        "file": path.name,
        "sha256": hash_file(path),
        **said,
        "epochs": epochs,
        "method": str(recipe.method),
        "seed": recipe.seed,
        "model": recipe.model,
        "tokenizer": getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__,
        "recipe_hash": digest(dump_recipe(recipe)),
        "recipe": recipe.model_dump(mode="json"),
        "data": data.hashes,
        "left_out": data.left_out,
    }
    beside = path.with_name(f"{path.name}.json")
    write_atomically(beside, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
