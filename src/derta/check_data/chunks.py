"""Pieces of the data, and what is counted in one over all of its rows.

A chunk is lines of a file, or rows that were read and converted elsewhere; a process counts it and
returns small arrays and counters, so that memory holds no texts. Covered: what
needs no model and no judge (`derta.check_data.judged` has the rest, on a sample). Not covered:
where chunks come from (`derta.check_data.sources`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from derta.check_data.texts import holds, looks_cut_off, measure_text, whole_prompt
from derta.data.files import parse_helpful, parse_rows, parse_triple
from derta.data.prompts import Asked, asked
from derta.errors import InputProblem
from derta.triple import HelpfulExample, Triple

__all__ = [
    "KINDS",
    "Candidate",
    "Chunk",
    "ChunkFacts",
    "Hashes",
    "Kind",
    "mixed",
    "parse_either",
    "reason_of",
    "sample_keys",
]

Kind = Literal["triples", "helpful"]
KINDS: tuple[Kind, ...] = ("triples", "helpful")
Hashes = NDArray[np.uint64]

_LONGEST_NAME = 60
"""Characters of a source's or a category's name that are kept."""
_SHOWN_PLACES = 5
"""Places of a problem that are kept of each chunk."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of one file."""

    path: str
    path_index: int
    """Of the path among all of the data."""
    kind: Kind
    """What a row is taken for that has the columns of neither kind."""
    first: int = 1
    """The number of the first of `lines`."""
    lines: bytes = b""
    """Whole lines of JSON."""
    rows: tuple[tuple[int, dict[str, Any]] | InputProblem, ...] = ()
    """Rows that are read already, after the lines: number and record of ours, or why a row could
    not even be read."""
    skipped: tuple[str, ...] = ()
    """For each row that a format's converter leaves out, why."""
    size: int = 0
    """Bytes of the file, for progress."""
    seed: int = 0
    """Of the sample."""
    thresholds: tuple[int, int] = (2**64 - 1, 2**64 - 1)
    """A row of each kind with a larger key can't be in the sample any more."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that may be in the sample."""

    key: int
    number: int
    content: bytes
    """Its record as JSON."""


@dataclass(slots=True)
class ChunkFacts:
    """What was counted in a chunk."""

    path: str
    path_index: int
    size: int = 0
    kinds: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    """Index in `KINDS` of each row; this and the next ones: (rows,)."""
    numbers: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    """Each row's line in the file, or its number where the format has no lines."""
    questions: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Hash of what the user says (`derta.data.prompts`)."""
    endings: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Hash of the turn that asks: the last one if it says enough, else of all of them."""
    prompts: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Hash of the whole prompt."""
    good: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Hash of the response to be learnt: `chosen` or `completion`."""
    bad: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Hash of `rejected`; 0 where there is none."""
    turns: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Hash of each user turn of the rows that have several: (turns,)."""
    turn_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Which of the chunk's usable rows each of `turns` stands in."""
    lengths: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """(field, "words" or "characters", length) -> rows."""
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """("source", name), ("category", name), ("cut off", field), ("responses", field),
    ("unreadable", reason), ("unreadable rows",), ("skipped", reason), ("held", kind)."""
    places: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """The first places of ("unreadable", reason), ("held", kind), ("cut off", field)."""
    candidates: tuple[list[Candidate], list[Candidate]] = field(default_factory=lambda: ([], []))

    @classmethod
    def of(cls, chunk: Chunk) -> ChunkFacts:
        """Count a chunk."""
        facts = cls(chunk.path, chunk.path_index, chunk.size)
        columns: tuple[list[int], ...] = ([], [], [], [], [], [], [])
        contents: list[bytes | dict[str, Any]] = []
        turns: list[tuple[int, int]] = []
        for reason in chunk.skipped:
            facts.counts["skipped", reason] += 1
        for number, record, row, problems, content in _parsed(chunk):
            for problem in problems:
                facts._note_problem(problem)
            if row is None:
                facts.counts["unreadable rows",] += 1
                continue
            kind, prompt, good, bad = facts._count(row, record, number)
            # A lone question is its prompt: its hash is there already.
            lone = len(row.prompt.messages) == 1
            said = Asked(prompt, prompt, ()) if lone else asked(row.prompt)
            values = (kind, said.question, said.ending, prompt, good, bad, number)
            for column, value in zip(columns, values, strict=True):
                column.append(value)
            turns += ((turn, len(contents)) for turn in said.turns)
            contents.append(content if content is not None else record)
        kinds, questions, endings, prompts, goods, bads, numbers = columns
        facts.kinds = np.array(kinds, np.uint8)
        facts.numbers = np.array(numbers, np.uint32)
        facts.questions = np.array(questions, np.uint64)
        facts.endings = np.array(endings, np.uint64)
        facts.prompts = np.array(prompts, np.uint64)
        facts.good = np.array(goods, np.uint64)
        facts.bad = np.array(bads, np.uint64)
        facts.turns = np.array([turn for turn, _ in turns], np.uint64)
        facts.turn_rows = np.array([index for _, index in turns], np.int64)
        facts._offer(chunk, contents)
        return facts

    def note(self, what: str, name: str, place: str) -> None:
        """Keep the place of something, if it is among the first."""
        places = self.places.setdefault((what, name), [])
        if len(places) < _SHOWN_PLACES:
            places.append(place)

    def _note_problem(self, problem: InputProblem) -> None:
        reason = reason_of(problem)
        self.counts["unreadable", reason] += 1
        self.note("unreadable", reason, _place_of(problem))

    def _count(
        self, row: Triple | HelpfulExample, record: dict[str, Any], number: int
    ) -> tuple[int, int, int, int]:
        """Count a row; return its kind and the hashes of its prompt and its responses."""
        prompt = whole_prompt(row.prompt)
        responses: tuple[tuple[str, str], ...]
        if isinstance(row, Triple):
            kind = 0
            responses = (("chosen", row.safe_response), ("rejected", row.harmful_response))
        else:
            kind = 1
            responses = (("completion", row.response),)
            if row.rejected is not None:
                responses = (*responses, ("rejected", row.rejected))
        name: Kind = KINDS[kind]
        prompt_hash = self._length(name, "prompt", prompt)
        finished = record.get("finished") is not False
        hashes = [0, 0]
        for index, (key, text) in enumerate(responses):
            hashes[index] = self._length(name, key, text)
            label = f"{name}.{key}"
            if finished or key != "completion":
                self.counts["responses", label] += 1
                if looks_cut_off(text):
                    self.counts["cut off", label] += 1
                    self.note("cut off", label, f"{self.path}:{number}")
        if any(holds(prompt, text) for _, text in responses):
            self.counts["held", name] += 1
            self.note("held", name, f"{self.path}:{number}")
        self.counts["source", source_name(record, self.path)] += 1
        category = record.get("category")
        if isinstance(category, str) and category.strip():
            self.counts["category", name, category.strip()[:_LONGEST_NAME]] += 1
        return kind, prompt_hash, hashes[0], hashes[1]

    def _length(self, kind: Kind, key: str, text: str) -> int:
        fingerprint, words = measure_text(text)
        label = f"{kind}.{key}"
        self.lengths[label, "words", words] += 1
        self.lengths[label, "characters", len(text)] += 1
        return fingerprint

    def _offer(self, chunk: Chunk, contents: list[bytes | dict[str, Any]]) -> None:
        """List the rows that may still be in the sample."""
        keys = sample_keys(chunk.seed, chunk.path_index, self.numbers)
        limits = np.array(chunk.thresholds, np.uint64)
        for row in np.flatnonzero(keys <= limits[self.kinds]):
            content = contents[row]
            if not isinstance(content, bytes):
                content = json.dumps(content).encode("utf-8")
            candidate = Candidate(int(keys[row]), int(self.numbers[row]), content)
            self.candidates[self.kinds[row]].append(candidate)


def parse_either(
    record: dict[str, Any], found: list[Any], kind: Kind = "triples"
) -> Triple | HelpfulExample | None:
    """Make a triple or a helpful example of a record, by its columns; note what is wrong.

    Args:
        record: of one of our two formats.
        found: what is wrong is added, as `parse_triple` does.
        kind: what a record is taken for that has the columns of neither.
    """
    if "completion" in record and "chosen" not in record:
        kind = "helpful"
    elif "chosen" in record:
        kind = "triples"
    return parse_triple(record, found) if kind == "triples" else parse_helpful(record, found)


def _parsed(
    chunk: Chunk,
) -> Iterator[
    tuple[int, dict[str, Any], Triple | HelpfulExample | None, list[InputProblem], bytes | None]
]:
    """Yield number, record, row or None, problems and line of each row."""

    def parse(record: Any, found: list[Any]) -> Any:
        return parse_either(record, found, chunk.kind)

    lines = chunk.lines.split(b"\n")
    for parsed in parse_rows(chunk.path, enumerate(lines, chunk.first), parse):
        line = lines[parsed.line - chunk.first]
        yield parsed.line, parsed.record, parsed.row, parsed.problems, line
    for each in chunk.rows:
        if isinstance(each, InputProblem):
            yield 0, {}, None, [each], None
            continue
        number, record = each
        found: list[Any] = []
        row = parse_either(record, found, chunk.kind)
        problems = [InputProblem(chunk.path, e.problem, e.remedy, number, e.key) for e in found]
        yield number, record, None if found else row, problems, None


_DETAIL = re.compile(r"(?: \(the row has: .*| roles are: .*|: .*)$", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'")
_ROW = re.compile(r"row \d+")


def reason_of(problem: InputProblem) -> str:
    """Name a problem without what differs from row to row."""
    said = re.sub(r"(?<![\w-])\d+", "N", _QUOTED.sub("'...'", _DETAIL.sub("", problem.problem)))
    key = re.sub(r"\[\d+\]|^row \d+(?:, )?", "", problem.key or "")
    return f"{key}: {said}" if key else said


def _place_of(problem: InputProblem) -> str:
    if problem.line is not None:
        return f"{problem.path}:{problem.line}"
    row = _ROW.match(problem.key or "")
    return f"{problem.path} {row[0]}" if row else problem.path


def source_name(record: dict[str, Any], path: str) -> str:
    """Name where a row comes from: its `source` column, else the file."""
    source = record.get("source")
    if isinstance(source, dict):
        source = source.get("name")
    if isinstance(source, str) and source.strip():
        return source.strip()[:_LONGEST_NAME]
    return path


# --- numbers of 64 bits -------------------------------------------------------------------------

_MASK = 2**64 - 1
_ODD = 0x9E3779B97F4A7C15


def sample_keys(seed: int, path_index: int, numbers: NDArray[np.uint32]) -> Hashes:
    """Draw a number for each row; those with the smallest ones are the sample.

    It depends on seed, file and line only: not on the processes, nor on the order in which they
    finish.
    """
    start = (seed * 0xD1342543DE82EF95 + path_index * 0xAF251AF3B0F025B5 + 1) & _MASK
    return _scattered(numbers.astype(np.uint64) * np.uint64(_ODD) + np.uint64(start))


def mixed(first: Hashes, second: Hashes) -> Hashes:
    """Join two hashes, row by row, to one that depends on their order."""
    return _scattered(first * np.uint64(_ODD) + second)


def _scattered(values: Hashes) -> Hashes:
    """Spread close numbers over all 64 bits (a finaliser of multiplications and shifts)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
