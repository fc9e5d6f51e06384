r"""The training lines of the DeRTa paper's released code: `prefix`, `text`, `safe`.

A `prefix` is "[INST] question [\INST] ", perhaps followed by the beginning of a harmful response;
`text` is the response that follows, with an end-of-text token; `safe` is "true" on the rows whose
text is a harmful response to the whole question (the released trainer turns them into refusal
transitions), and "false" on all others. So three rows of one question hold what a triple holds:

    whole question, safe true       a harmful response
    whole question, safe false      a safe response, or a helpful one to a harmless question
    harmful beginning, safe false   a safe response

Covered: triples by joining these rows, and helpful examples of questions without harmful response.
Not covered: the lengths at which harmful beginnings were cut; derta draws its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain, zip_longest
from typing import Any

from derta.data.formats.base import (
    Format,
    Group,
    Kind,
    Made,
    Part,
    Skip,
    Unusable,
    kept_columns,
    read_truth,
)
from derta.data.formats.messages import read_text
from derta.data.streams import RawRow
from derta.refusal import judge_refusal

__all__ = ["TRAINING_LINES"]

_COLUMNS = ("prefix", "text", "safe")
_INSTRUCTION = re.compile(
    r"\s*(?:<s>|<\|begin_of_text\|>)?\s*\[INST\](?P<question>.*?)\[[\\/]{1,2}INST\](?P<begun>.*)",
    re.DOTALL,
)
_END_OF_TEXT = re.compile(r"(?:<\|(?:end_of_text|eot_id|endoftext|im_end)\|>|</s>)\s*\Z")


def _is_training_line(record: Mapping[str, Any]) -> bool:
    prefix = record.get("prefix")
    there = all(name in record for name in _COLUMNS)
    return there and isinstance(prefix, str) and _INSTRUCTION.match(prefix) is not None


def _read_training_line(row: RawRow, kind: Kind | None) -> Part:  # noqa: ARG001
    """Read one training line.

    Relied on: the description of the released format at the head of this module, which derta's
    reader of questions follows, too (`derta.data.questions`).
    """
    record = row.record
    prefix, harmful = record.get("prefix"), read_truth(record.get("safe"))
    found = _INSTRUCTION.fullmatch(prefix) if isinstance(prefix, str) else None
    if found is None:
        raise Unusable("prefix is not [INST] question [\\INST]")
    if harmful is None:
        raise Unusable("safe is neither true nor false")
    question = read_text(found["question"], "the question")
    text = record.get("text")
    if isinstance(text, str):
        text = _END_OF_TEXT.sub("", text)
    response = read_text(text, "text")
    whole = not found["begun"].strip()
    if harmful and not whole:
        raise Unusable("a harmful response that begins in the prefix")
    columns = {
        "whole": whole,
        "refused": not harmful and judge_refusal(response, truncated=False).refused,
        "columns": kept_columns(record, _COLUMNS),
    }
    return Part(question, "harmful" if harmful else "other", response, columns, row)


def _join(group: Group) -> Iterator[Made | Skip]:
    """Make triples of a question with harmful responses, else helpful examples."""
    harmful_parts = iter(group.parts("harmful"))
    first = next(harmful_parts, None)
    if first is None:
        yield from _helpful(group)
        return
    for harmful, safe in zip_longest(chain([first], harmful_parts), _safe_parts(group)):
        if safe is None:
            yield Skip("no safe response is left to pair the harmful one with", harmful.place)
        elif harmful is None:
            yield Skip("no harmful response is left to pair the safe one with", safe.place)
        elif safe.text == harmful.text:
            yield Skip("the same response stands for harmful and safe", harmful.place)
        else:
            columns = {**safe.record["columns"], **harmful.record["columns"]}
            pair = {"prompt": harmful.key, "chosen": safe.text, "rejected": harmful.text}
            number = harmful.place.line or harmful.place.number
            yield Made("triple", {**pair, **columns}, safe.place, number)


def _safe_parts(group: Group) -> Iterator[Part]:
    """Give the other responses to a question with a harmful one: refusals of it whole first."""
    wanted = ((True, True), (True, False), (False, True), (False, False))
    for refused, whole in wanted:
        for part in group.parts("other"):
            if (part.record["refused"], part.record["whole"]) == (refused, whole):
                yield part


def _helpful(group: Group) -> Iterator[Made | Skip]:
    for part in group.parts("other"):
        if part.record["refused"] or not part.record["whole"]:
            yield Skip("a safe response to a question without a harmful one", part.place)
        else:
            pair = {"prompt": part.key, "completion": part.text}
            yield Made("helpful", {**pair, **part.record["columns"]}, part.place)


TRAINING_LINES = Format(
    name="derta-lines",
    description="triples by joining the lines of a question, and helpful examples of the others",
    columns=_COLUMNS,
    makes=frozenset(("triple", "helpful")),
    matches=_is_training_line,
    read=_read_training_line,
    finish=_join,
    reads_system=False,
)
