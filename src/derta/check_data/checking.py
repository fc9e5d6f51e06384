"""`derta data check`: read the data once, draw a sample, read that, and say what is there.

Everything that costs little is counted over all rows (`chunks`, `repeats`); what needs a judge, a
model of languages or a tokenizer is measured on a random sample of each kind of rows (`judged`,
`near`), and says so. Memory: some 170 bytes a row, and half a kilobyte a sampled one. Not
covered: whether harmful questions are harmful, and whether answers are true.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from derta.check_data.chunks import KINDS, Chunk, ChunkFacts
from derta.check_data.data_report import DataReport
from derta.check_data.drawing import Draw
from derta.check_data.judged import (
    Batch,
    Example,
    Reading,
    SampleFacts,
    example_of,
    joined,
    prepare,
    read_batch,
)
from derta.check_data.near import cluster, find_matches, sign
from derta.check_data.repeats import AllRows, find_same_questions
from derta.check_data.sources import SAMPLE, Opening, Source, find_sources
from derta.check_data.summary import Leak, Measured, ModelWord, Near, summarise
from derta.check_data.workers import InOrder, open_workers
from derta.data.encode import ChatEncoder, RefusalWords, find_refusal_id
from derta.data.encoded import SMALL_BYTES, cores
from derta.data.held_out import (
    HELD_OUT_FIELD,
    HeldOut,
    read_held_out,
    require_apart,
    split_columns,
)
from derta.data.languages import LANGUAGES, refusal_token_word
from derta.data.models import load_tokenizer
from derta.data.prompts import hash_text
from derta.errors import DataError, InputProblem, TokenizerError
from derta.train.recipe import Recipe
from derta.train.source import refusal_words, row_limits

__all__ = ["SAMPLE_ROWS", "Stages", "check_data"]

Report = Callable[[int, int], None]
"""Takes (done, total)."""
Stages = Callable[[str], AbstractContextManager[Report]]
"""Opens a stage by its title and yields what reports its progress: `derta.terminal.stage`."""

SAMPLE_ROWS = 50_000
_BATCH_ROWS = 200
_MOST_NAMES = 1_000
"""Different names of a group (sources, a kind's categories, reasons) that are counted apart."""
_OTHERS = "(others)"
_NAMED_BY_DATA = frozenset({"source", "category", "unreadable", "skipped"})
"""Counts whose names come from the data; those of the others are ours, and few."""
_LANGUAGE_SHARE = 0.01
"""The refusal word of a language is tried if so large a share of the safe responses is in it."""
_SHOWN_MATCHES = 5


def check_data(
    sources: Sequence[str | Path],
    *,
    held_out: str | Path | None = None,
    recipe: Recipe | None = None,
    model: str | None = None,
    tokenizer: Any = None,
    full: bool = False,
    sample: int = SAMPLE_ROWS,
    seed: int = 0,
    processes: int | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    load_hub: Any = None,
    progress: Stages | None = None,
) -> DataReport:
    """Say what is in the data and what is wrong with it.

    Args:
        sources: files, folders, data sets of the hub, or "sample".
        held_out: questions that training must not see; None: none, or for "sample" its test split.
        recipe: gives the model, the limits on lengths and the refusal word.
        model: whose tokenizer counts lengths; it wins over the recipe's.
        tokenizer: a transformers tokenizer, instead of loading the model's.
        full: read all rows instead of a sample.
        sample: rows of each kind that are read by the judge, at most.
        seed: of the sample.
        processes: None: as many as there are cores, or one for small files.
        format: the sources' published format; None: ours, or the one that is recognised.
        columns: which column is which field, where the names are others; "held-out.question" is
            that of the held-out questions.
        split: of data sets of the hub.
        load_hub: loads data sets of the hub; None: the `datasets` library.
        progress: opens a bar for each stage; None: none.

    Raises:
        DataError: a source as a whole can't be read, or no row is usable, or the held-out questions
            are one of the sources.
        ModelError, TokenizerError: the model's tokenizer can't be had.
        ValueError: `sample` is not positive.
    """
    if sample < 1:
        raise ValueError(f"a sample of {sample} rows says nothing")
    stages = progress or _no_stage
    own_columns, held_column = split_columns(columns or {})
    if held_column is not None and held_out is None:
        problem, remedy = "no held-out questions are named", "Name their file with --held-out"
        raise DataError.of(f"--column {HELD_OUT_FIELD}={held_column}", problem, remedy)
    found = find_sources(sources, Opening(format, own_columns, split, load_hub))
    if held_out is None and SAMPLE in map(str, sources):
        held_out = SAMPLE
    held = None
    if held_out is not None:
        require_apart(held_out, [source.name for source in found])
        held = read_held_out(held_out, load_hub, held_column)
    name, encoder = _find_encoder(recipe, model, tokenizer)
    reading = Reading()
    if recipe is not None:
        wanted = refusal_words(recipe) or RefusalWords(recipe.refusal_word)
        reading = Reading(wanted, row_limits(recipe))
    if processes is None:
        small = sum(source.size for source in found) <= SMALL_BYTES
        processes = 1 if small and all(source.size for source in found) else cores()
    with ExitStack() as stack:
        draws = [stack.enter_context(Draw(None if full else sample)) for _ in KINDS]
        work = stack.enter_context(open_workers(processes, prepare, encoder))
        with stages("Reading") as report:
            counted = _count_all(found, draws, seed, work, report)
        with stages("Judging a sample") as report:
            read = _read_sample(draws, counted.rows.paths, reading, work, report)
        near = _find_near(read, draws, counted.rows.paths)
        leak = None if held is None else _find_leak(held, counted.rows, read, draws)
    words = [] if encoder is None else _try_words(encoder, reading.words, read)
    return summarise(
        Measured(
            sources=[source.name for source in found],
            named_again=[name for source in found for name in source.named_again],
            held_out=None if held is None else held.name,
            model=name,
            has_tokens=encoder is not None,
            limits=reading.limits,
            sample_size=None if full else sample,
            seed=seed,
            counts=counted.counts,
            places=counted.places,
            lengths=counted.lengths,
            rows=counted.rows,
            read=read,
            words=words,
            near=near,
            leak=leak,
        )
    )


@contextlib.contextmanager
def _no_stage(_: str) -> Iterator[Report]:
    yield _ignore


def _ignore(done: int, total: int) -> None:
    """Report to nobody."""


def _find_encoder(
    recipe: Recipe | None, model: str | None, tokenizer: Any
) -> tuple[str | None, ChatEncoder | None]:
    if model is None and recipe is not None:
        model = recipe.model
    if tokenizer is None and model is None:
        return None, None
    if tokenizer is None:
        assert model is not None
        tokenizer = load_tokenizer(model, "chat" if recipe is None else recipe.prompt_format)
    return model or type(tokenizer).__name__, ChatEncoder(tokenizer)


# --- all rows ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Counted:
    rows: AllRows
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    lengths: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    places: dict[tuple[str, str], list[str]] = field(default_factory=dict)


def _count_all(
    sources: Sequence[Source], draws: Sequence[Draw], seed: int, work: InOrder, report: Report
) -> _Counted:
    """Count all rows and draw the sample.

    Raises:
        DataError: no row is usable.
    """
    paths: dict[str, int] = {}

    def chunks() -> Iterator[Chunk]:
        for source in sources:
            for chunk in source.chunks():
                yield replace(
                    chunk,
                    path_index=paths.setdefault(chunk.path, len(paths)),
                    seed=seed,
                    thresholds=(draws[0].threshold, draws[1].threshold),
                )

    counted = _Counted(AllRows.joined([], []))
    kept: list[ChunkFacts] = []
    done, total = 0, sum(source.size for source in sources)
    for facts in work(ChunkFacts.of, chunks()):
        _add_named(counted.counts, facts.counts)
        counted.lengths.update(facts.lengths)
        for key, places in facts.places.items():
            first = counted.places.setdefault(key, [])
            first += places[: max(0, _SHOWN_MATCHES - len(first))]
        for draw, candidates in zip(draws, facts.candidates, strict=True):
            draw.add(facts.path_index, candidates)
        facts.counts, facts.lengths, facts.places = Counter(), Counter(), {}
        facts.candidates = ([], [])
        kept.append(facts)
        done += facts.size
        report(min(done, total), total)
    counted.rows = AllRows.joined(list(paths), kept)
    if not len(counted.rows):
        raise DataError(_why_none(counted, sources))
    return counted


def _add_named(counts: Counter[tuple[str, ...]], added: Counter[tuple[str, ...]]) -> None:
    """Add counts, but not more than so many different names of a group that the data names."""
    names = Counter(key[:-1] for key in counts if key[0] in _NAMED_BY_DATA)
    for key, count in added.items():
        group = key[:-1]
        if key[0] in _NAMED_BY_DATA and key not in counts:
            if names[group] >= _MOST_NAMES:
                counts[(*group, _OTHERS)] += count
                continue
            names[group] += 1
        counts[key] += count


def _why_none(counted: _Counted, sources: Sequence[Source]) -> list[InputProblem]:
    """Say why no row is usable."""
    reasons = [key[1] for key, _ in counted.counts.most_common() if key[0] == "unreadable"]
    reasons += [key[1] for key, _ in counted.counts.most_common() if key[0] == "skipped"]
    name = ", ".join(source.name for source in sources)
    why = "; ".join(reasons[:3]) or "there are none"
    remedy = "See docs/data-format.md for the two formats, or make files of it: derta data import"
    return [InputProblem(name, f"no row can be used ({why})", remedy)]


# --- the sample ----------------------------------------------------------------------------------


def _read_sample(
    draws: Sequence[Draw], paths: Sequence[str], reading: Reading, work: InOrder, report: Report
) -> SampleFacts:
    total = sum(map(len, draws))

    def batches() -> Iterator[Batch]:
        for kind, draw in zip(KINDS, draws, strict=True):
            for rows in draw.batches(_BATCH_ROWS):
                named = ((paths[path], number, content) for path, number, content in rows)
                yield Batch(kind, tuple(named), reading)

    def parts() -> Iterator[SampleFacts]:
        done = 0
        for facts in work(read_batch, batches()):
            done += len(facts.questions)
            report(done, total)
            yield facts

    return joined(parts(), total)


def _example(draws: Sequence[Draw], paths: Sequence[str], index: int) -> Example:
    """Show the row that is `index`th of the triples' and then the helpful rows' sample."""
    triples = len(draws[0])
    kind = int(index >= triples)
    path, number, content = draws[kind].at(index - triples * kind)
    return example_of(f"{paths[path]}:{number}", content, KINDS[kind])


def _find_near(read: SampleFacts, draws: Sequence[Draw], paths: Sequence[str]) -> Near:
    _, first = np.unique(read.questions, return_index=True)
    distinct = np.sort(first)
    groups = cluster(read.signatures, distinct)
    members = sum(map(len, groups))
    shown = groups[0][:_SHOWN_MATCHES] if groups else ()
    examples = tuple(_example(draws, paths, int(row)) for row in shown)
    return Near(len(distinct), members, [len(group) for group in groups], examples)


def _find_leak(held: HeldOut, rows: AllRows, read: SampleFacts, draws: Sequence[Draw]) -> Leak:
    hashes = [hash_text(question) for question in held.questions]
    exact = find_same_questions(rows, hashes)
    same = {index for index, _ in exact}
    # Of a held-out conversation the data may have the last turn alone.
    ends = [
        index
        for index, question in enumerate(held.questions)
        if index not in same and held.compared[index] != question
    ]
    found = find_same_questions(rows, (hash_text(held.compared[index]) for index in ends))
    exact += [(ends[place], row) for place, row in found]
    same = {index for index, _ in exact}
    others = [index for index in range(len(hashes)) if index not in same]
    matches = find_matches(sign(held.compared[index] for index in others), read.signatures)
    near = [(others[place], row) for place, row in matches.items()]
    return Leak(
        questions=len(hashes),
        compared=len(read.questions),
        exact=len(exact),
        near=len(near),
        exact_examples=tuple(
            Example(f"{rows.place(row)} = {held.places[index]}", held.compared[index][:200])
            for index, row in _first(exact)
        ),
        near_examples=tuple(
            replace(example, place=f"{example.place} ~ {held.places[index]}")
            for index, row in _first(near)
            for example in [_example(draws, rows.paths, row)]
        ),
    )


def _first(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Choose the pairs (held-out question, row) that come first in the data."""
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))[:_SHOWN_MATCHES]


def _try_words(
    encoder: ChatEncoder, wanted: RefusalWords | None, read: SampleFacts
) -> list[ModelWord]:
    """Try whether refusal words are one token: the recipe's, or those of the data's languages."""
    words = ["Sorry"] if wanted is None else [wanted.default]
    words += [] if wanted is None else (wanted.by_language or {}).values()
    needed = len(words)
    if wanted is None or wanted.by_language is None:
        spoken: Counter[str] = Counter()
        for key, count in read.counts.items():
            if key[0] == "opening":
                spoken[key[1]] += count
        often = _LANGUAGE_SHARE * spoken.total()
        languages = [code for code, count in spoken.most_common() if count >= often]
        # The default is what its own language refuses with, whatever the table says.
        own = (code for code, entry in LANGUAGES.items() if words[0] in entry.refusal_words)
        others = LANGUAGES.keys() - {next(own, "en")}
        words += [refusal_token_word(code) for code in languages if code in others]
        # Without a recipe there is no word for each language, but there could be.
        needed = needed if wanted is None else len(words)
    tried: dict[str, ModelWord] = {}
    for index, word in enumerate(words):
        try:
            find_refusal_id(encoder, word)
        except TokenizerError as error:
            tried.setdefault(word, ModelWord(word, str(error), index < needed))
        else:
            tried.setdefault(word, ModelWord(word, None, index < needed))
    return list(tried.values())
