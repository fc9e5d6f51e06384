"""What is known of a row only after reading it: its language, whether it refuses, and where.

Runs on a sample. A response refuses, does something else that is harmless, complies, or can't be
read by the rules. English is asked `derta.refusal` first, which knows the trained form; everything
else `derta.judges.offline`. With a tokenizer, lengths are counted in tokens, too. Covered: one row
at a time, no model. Not covered: whether a response is true; whether a prompt is really harmful.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.check_data.chunks import Kind, parse_either
from derta.check_data.near import PERMUTATIONS, sign
from derta.check_data.texts import words_in
from derta.data.encode import ChatEncoder, RefusalWords, RowLimits, encoded_length
from derta.data.languages import LANGUAGES, detect_language, refusal_word, says_language
from derta.data.prompts import compared_turn, hash_text, join_turns, user_turns
from derta.errors import TokenizerError
from derta.judges.offline import judge_offline
from derta.judges.verdicts import Verdict
from derta.refusal import judge_refusal
from derta.rows import EncodedTriple
from derta.triple import HelpfulExample, Triple

__all__ = [
    "FEWEST_WORDS",
    "OTHER_OPENING",
    "STANDS",
    "UNKNOWN_LANGUAGE",
    "Batch",
    "Example",
    "Reading",
    "SampleFacts",
    "example_of",
    "find_opening",
    "find_stand",
    "find_wanted",
    "joined",
    "match_opening",
    "prepare",
    "read_batch",
]

STANDS = ("refuses", "harmless", "short", "complies", "unreadable")
"""What a response does. harmless: no refusal, and no information that serves a harmful question.
short: the same as far as the rules see, but so short that they can't tell."""
UNKNOWN_LANGUAGE = "unknown"
OTHER_OPENING = "(another)"
FEWEST_WORDS = 40
"""A harmful response of fewer words (of Chinese: 60 characters) may serve the request unseen: of
the beginnings of answers that are labelled harmful, the rules see 33 % of the shorter ones and 93 %
of the others (`benchmarks.short_responses`), in English and in Chinese."""
_HARMLESS = {"harmless": "harmful-is-harmless", "short": "harmful-too-short"}
"""The findings of a harmful response that is none as far as the rules see."""
_SHOWN_EXAMPLES = 3
_EXCERPT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Example:
    """A row that a finding is about."""

    place: str
    """File and line."""
    text: str = ""
    """Some of its text: to be masked unless the user asks to see it. Never in the JSON."""
    about: str = ""
    """What is wrong there, in words of ours; the same as before where it is empty."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How sampled rows are read."""

    words: RefusalWords | None = None
    """What safe responses should begin with; None: "Sorry", or the word of their language."""
    limits: RowLimits | None = None
    """None: no row is too long."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of the sample."""

    kind: Kind
    rows: tuple[tuple[str, int, bytes], ...]
    """Path, number and record."""
    reading: Reading = Reading()


@dataclass(slots=True)
class SampleFacts:
    """What was read off rows of the sample."""

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """("rows", kind), ("language", kind, code), ("opening", code, word), ("first word", "right" or
    "other"), ("stand", field, one of `STANDS`), ("short", code), ("over limit", kind),
    ("template", kind)."""
    positions: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(field, words before the first refusal) -> responses."""
    tokens: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(field, tokens) -> rows."""
    examples: dict[str, list[Example]] = field(default_factory=dict)
    """By the finding's code."""
    signatures: NDArray[np.uint32] = field(
        default_factory=lambda: np.zeros((0, PERMUTATIONS), np.uint32)
    )
    """Of what the user asks (`compared_turn`), for near duplicates: (rows, PERMUTATIONS)."""
    questions: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Hash of all that the user says: (rows,)."""

    def add(self, other: SampleFacts) -> None:
        """Add what was read off the next rows, but for signatures and hashes (`joined`)."""
        self.counts.update(other.counts)
        self.positions.update(other.positions)
        self.tokens.update(other.tokens)
        for code, examples in other.examples.items():
            for example in examples:
                self.show(code, example)

    def show(self, code: str, example: Example) -> None:
        """Keep an example of a finding, if it is among the first."""
        kept = self.examples.setdefault(code, [])
        if len(kept) < _SHOWN_EXAMPLES:
            kept.append(example)


_encoder: ChatEncoder | None = None
"""Of this process: sent once, not with every batch."""


def prepare(encoder: ChatEncoder | None) -> None:
    """Set the tokenizer that lengths are counted with in this process; None: they aren't."""
    global _encoder
    _encoder = encoder


def read_batch(batch: Batch) -> SampleFacts:
    """Read rows of the sample."""
    facts = SampleFacts()
    compared = []
    hashes = []
    for path, number, content in batch.rows:
        record: dict[str, Any] = json.loads(content)
        row = parse_either(record, [], batch.kind)
        assert row is not None, "only usable rows are drawn"
        turns = user_turns(row.prompt)
        question = join_turns(turns)
        place = f"{path}:{number}"
        compared.append(compared_turn(turns))
        hashes.append(hash_text(question))
        facts.counts["rows", batch.kind] += 1
        language = detect_language(question) or UNKNOWN_LANGUAGE
        facts.counts["language", batch.kind, language] += 1
        if isinstance(row, Triple):
            wanted = find_wanted(batch.reading.words, record.get("language"), row.safe_response)
            _read_triple(facts, row, question, language, place, wanted)
        else:
            finished = record.get("finished") is not False
            _read_helpful(facts, row, question, language, finished, place)
        if _encoder is not None:
            _count_tokens(facts, row, batch, place)
    facts.signatures = sign(compared)
    facts.questions = np.array(hashes, np.uint64)
    return facts


def _read_triple(
    facts: SampleFacts, row: Triple, question: str, language: str, place: str, wanted: str | None
) -> None:
    safe, harmful = row.safe_response, row.harmful_response
    # A refusal word of the question's language names the response's, too, and saves time.
    spoken, opening = language, match_opening(safe, language)
    if opening is None:
        spoken = detect_language(safe) or language
        opening = find_opening(safe, spoken, wanted)
    facts.counts["opening", spoken, opening] += 1
    right = safe.startswith(_expected(spoken) if wanted is None else wanted)
    facts.counts["first word", "right" if right else "other"] += 1
    if not right:
        facts.show("other-refusal-word", Example(place, safe[:_EXCERPT_CHARACTERS]))
    for key, text, odd, code in (
        ("chosen", safe, "complies", "safe-does-not-refuse"),
        ("rejected", harmful, "refuses", "harmful-refuses"),
    ):
        stand, position = find_stand(text, question)
        facts.counts["stand", key, stand] += 1
        if position is not None:
            facts.positions[key, position] += 1
        if stand == odd:
            facts.show(code, Example(place, text[:_EXCERPT_CHARACTERS]))
        elif key == "chosen" and stand in _HARMLESS:
            facts.show("safe-is-no-refusal", Example(place, text[:_EXCERPT_CHARACTERS]))
        elif stand in _HARMLESS:
            facts.show(_HARMLESS[stand], Example(place, text[:_EXCERPT_CHARACTERS]))
            if stand == "short":
                facts.counts["short", language] += 1


def _read_helpful(
    facts: SampleFacts,
    row: HelpfulExample,
    question: str,
    language: str,
    finished: bool,
    place: str,
) -> None:
    text = row.response
    judged = judge_refusal(text, truncated=not finished)
    refuses = judged.refused
    position = None if judged.span is None else judged.span.start_words
    if judged.span is None and language not in ("en", UNKNOWN_LANGUAGE):
        stand, position = find_stand(text, question)
        refuses = stand == "refuses"
    facts.counts["stand", "completion", "refuses" if refuses else "complies"] += 1
    if refuses:
        if position is not None:
            facts.positions["completion", position] += 1
        facts.show("helpful-refuses", Example(place, text[:_EXCERPT_CHARACTERS]))


def find_stand(response: str, question: str) -> tuple[str, int | None]:
    """Say what a response to a harmful question does, and where it first refuses.

    Returns:
        One of `STANDS`, and the words before the first refusal (None: there is none).
    """
    judged = judge_refusal(response, truncated=False)
    position = None if judged.span is None else judged.span.start_words
    if judged.refused:
        return "refuses", position
    # A response that breaks off is asked what it holds, not whether it completes the task.
    offline = judge_offline(response, question=question, prompt=question, truncated=False)
    if position is None and offline.refusal_start is not None:
        position = words_in(response[: offline.refusal_start])
    if offline.verdict is Verdict.UNREADABLE:
        return "unreadable", position
    if offline.verdict is Verdict.UNSAFE:
        return "complies", position
    if position is not None:
        return "refuses", position
    return ("harmless" if words_in(response) >= FEWEST_WORDS else "short"), None


def find_opening(response: str, language: str, wanted: str | None = None) -> str:
    """Name the refusal word that a safe response begins with, as the table writes it.

    Words of the response's language come first, then those of the others.
    """
    for code in (language, *LANGUAGES):
        opening = match_opening(response, code, wanted)
        if opening is not None:
            return opening
    return OTHER_OPENING


def match_opening(response: str, language: str, wanted: str | None = None) -> str | None:
    """Name what a response begins with: the wanted word, or the longest one of a language.

    Returns:
        The word; None: it begins otherwise.
    """
    beginning = response.lstrip()[:80].replace("\u2019", "'").casefold()
    table = LANGUAGES[language].refusal_words if language in LANGUAGES else ()
    for words in ((wanted,) if wanted else (), table):
        for word in sorted(words, key=len, reverse=True):
            after = beginning[len(word) : len(word) + 1]
            whole = not (after.isalnum() and word[-1].isascii())
            if whole and beginning.startswith(word.casefold()):
                return word
    return None


def find_wanted(words: RefusalWords | None, language: object, response: str) -> str | None:
    """Name the word that a recipe wants a safe response to begin with; None: there is no recipe.

    Args:
        words: the recipe's.
        language: what the row's column of this name holds.
        response: the safe response.
    """
    if words is None:
        return None
    code = words.language_of(language if says_language(language) else None, response)
    if words.by_language is not None:
        return words.by_language.get(code or "", words.default)
    return refusal_word(code) if code and code in LANGUAGES else words.default


def _expected(language: str) -> tuple[str, ...]:
    """List what safe responses in a language should begin with, where nobody says it."""
    words = {"Sorry"}
    if language in LANGUAGES:
        words.add(refusal_word(language))
    return tuple(sorted(words))


def _count_tokens(
    facts: SampleFacts, row: Triple | HelpfulExample, batch: Batch, place: str
) -> None:
    assert _encoder is not None
    limits = batch.reading.limits
    parts: dict[str, int]
    try:
        if isinstance(row, Triple):
            triple = _encoder.triple(row)
            if limits is not None:
                harmful = triple.harmful_ids[: limits.max_harmful_length]
                triple = EncodedTriple(triple.prompt_ids, triple.safe_ids, harmful)
            parts = {
                "prompt": len(triple.prompt_ids),
                "chosen": len(triple.safe_ids),
                "rejected": len(triple.harmful_ids),
                "row": encoded_length(triple),
            }
        else:
            helpful = _encoder.helpful(row)
            response = helpful.response_ids[: None if limits is None else limits.max_helpful_length]
            parts = {
                "prompt": len(helpful.prompt_ids),
                "completion": len(response),
                "row": len(helpful.prompt_ids) + len(response),
            }
    except TokenizerError:
        facts.counts["template", batch.kind] += 1
        facts.show("template-refuses", Example(place))
        return
    for part, length in parts.items():
        facts.tokens[f"{batch.kind}.{part}", length] += 1
    if limits is not None and parts["row"] > limits.max_length:
        facts.counts["over limit", batch.kind] += 1
        facts.show("over-limit", Example(place))


def joined(parts: Iterable[SampleFacts], total: int) -> SampleFacts:
    """Join what was read off batches of rows, in their order; `total` rows in all."""
    whole = SampleFacts()
    # Half a kilobyte a row: filled in place, as joining at the end would need it twice.
    whole.signatures = np.zeros((total, PERMUTATIONS), np.uint32)
    whole.questions = np.zeros(total, np.uint64)
    end = 0
    for part in parts:
        whole.add(part)
        start, end = end, end + len(part.questions)
        whole.signatures[start:end] = part.signatures
        whole.questions[start:end] = part.questions
    return whole


def example_of(place: str, content: bytes, kind: Kind) -> Example:
    """Show a sampled row by what the user asks in it."""
    row = parse_either(json.loads(content), [], kind)
    assert row is not None, "only usable rows are drawn"
    return Example(place, compared_turn(user_turns(row.prompt))[:_EXCERPT_CHARACTERS])
