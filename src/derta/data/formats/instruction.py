"""Helpful data: a request and a good response, as pairs of columns or as a conversation.

A conversation becomes one example, its last turn of the assistant; the turns before it are the
prompt, and turns after it are dropped. Covered: our own helpful examples, Alpaca, Dolly, prompts
and questions with responses and answers, ShareGPT, OpenAI's messages. Not covered: one example for
each turn; tools and pictures; answers that are not text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from derta.data.files import is_to_avoid
from derta.data.formats.base import Format, Kind, Made, Part, Unusable, kept_columns, read_truth
from derta.data.formats.messages import (
    is_messages,
    prompt_of,
    read_messages,
    read_prompt,
    read_response,
    split_response,
    with_context,
    with_system,
)
from derta.data.streams import RawRow

__all__ = [
    "ALPACA",
    "DOLLY",
    "MESSAGES",
    "PROMPT_COMPLETION",
    "PROMPT_RESPONSE",
    "QUESTION_ANSWER",
    "SHAREGPT",
    "finished_column",
]

# --- pairs of columns ------------------------------------------------------------------------


def _matches(question: str, answer: str) -> Callable[[Mapping[str, Any]], bool]:
    def matches(record: Mapping[str, Any]) -> bool:
        values = (record.get(question), record.get(answer))
        return all(isinstance(value, str) or is_messages(value) for value in values)

    return matches


def _reader(
    question: str, answer: str, context: str | None = None
) -> Callable[[RawRow, Kind | None], Made | Part]:
    """Make the reader of two columns, and perhaps a third that goes below the question."""

    def read(row: RawRow, kind: Kind | None) -> Made:  # noqa: ARG001  (it makes one kind only)
        record = row.record
        if is_to_avoid(record):
            raise Unusable("label is false: a response to avoid")
        messages = read_prompt(record.get(question), question)
        if context is not None:
            messages = with_context(messages, record.get(context), context)
        turns, response = read_response(record.get(answer), answer)
        if turns:
            raise Unusable(f"{answer} holds several turns")
        messages = with_system([*_history(record.get("history")), *messages], record.get("system"))
        columns = {"prompt": prompt_of(messages), "completion": response}
        used = {question, answer, "history", "system"} | ({context} if context else set())
        if question == "prompt" and answer == "completion":
            columns.update(_own_columns(record))
        return Made("helpful", {**columns, **kept_columns(record, used)}, row)

    return read


def _history(value: object) -> list[dict[str, str]]:
    """Read the earlier turns of LLaMA-Factory's variant of Alpaca: pairs of texts."""
    turns = []
    for pair in value if isinstance(value, list) else ():
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unusable("history is not a list of pairs")
        for role, content in zip(("user", "assistant"), pair, strict=True):
            turns += read_messages([{"role": role, "content": content}])
    return turns


def finished_column(record: Mapping[str, Any]) -> dict[str, Any]:
    """Read whether a response came to its own end, if the row says so.

    Raises:
        Unusable: it says something else.
    """
    finished = read_truth(record.get("finished"))
    if finished is not None:
        return {"finished": finished}
    if record.get("finished") not in (None, ""):
        raise Unusable("finished is neither true nor false")
    return {}


def _own_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Read what only our own helpful examples have; in CSV all of it is text, or empty."""
    columns = finished_column(record)
    if record.get("rejected") not in (None, ""):
        columns["rejected"] = read_response(record["rejected"], "rejected")[1]
    return columns


_HELPFUL: frozenset[Kind] = frozenset(("helpful",))

PROMPT_COMPLETION = Format(
    name="prompt-completion",
    # TRL's prompt-completion type (huggingface.co/docs/trl, "Dataset formats and types").
    description="helpful examples; our own format, too",
    columns=("prompt", "completion"),
    makes=_HELPFUL,
    matches=_matches("prompt", "completion"),
    read=_reader("prompt", "completion"),
)
PROMPT_RESPONSE = Format(
    name="prompt-response",
    description="helpful examples",
    columns=("prompt", "response"),
    makes=_HELPFUL,
    matches=_matches("prompt", "response"),
    read=_reader("prompt", "response"),
)
QUESTION_ANSWER = Format(
    name="question-answer",
    description="helpful examples",
    columns=("question", "answer"),
    makes=_HELPFUL,
    matches=_matches("question", "answer"),
    read=_reader("question", "answer"),
)
ALPACA = Format(
    name="alpaca",
    # Taori et al. 2023, github.com/tatsu-lab/stanford_alpaca, "Data Release": instruction, input,
    # output. `system` and `history` as in LLaMA-Factory's data folder.
    description="helpful examples; the input goes below the instruction",
    columns=("instruction", "input", "output"),
    makes=_HELPFUL,
    optional=frozenset(("input",)),
    matches=_matches("instruction", "output"),
    read=_reader("instruction", "output", "input"),
)
DOLLY = Format(
    name="dolly",
    # databricks/databricks-dolly-15k on the hub: instruction, context, response, category.
    description="helpful examples; the context goes below the instruction",
    columns=("instruction", "context", "response"),
    makes=_HELPFUL,
    optional=frozenset(("context",)),
    matches=_matches("instruction", "response"),
    read=_reader("instruction", "response", "context"),
)

# --- conversations ---------------------------------------------------------------------------

_CONVERSATIONS = ("messages", "conversations", "conversation")


def _conversation(record: Mapping[str, Any], key: str) -> str | None:
    """Find the column with messages that have `key` (role, or from)."""
    for name in _CONVERSATIONS:
        value = record.get(name)
        if isinstance(value, str) and is_messages(value):
            if f'"{key}"' in value or f"'{key}'" in value:
                return name
        elif isinstance(value, list) and is_messages(value) and key in value[0]:
            return name
    return None


def _conversation_format(name: str, key: str, columns: tuple[str, ...]) -> Format:
    def read(row: RawRow, kind: Kind | None) -> Made:  # noqa: ARG001  (it makes one kind only)
        column = _conversation(row.record, key)
        if column is None:
            raise Unusable("there is no conversation in the row")
        turns, response = split_response(read_messages(row.record[column]))
        prompt = prompt_of(with_system(turns, row.record.get("system")))
        others = kept_columns(row.record, {*_CONVERSATIONS, "system"})
        return Made("helpful", {"prompt": prompt, "completion": response, **others}, row)

    return Format(
        name=name,
        description="helpful examples, of each conversation the last response",
        columns=columns,
        makes=_HELPFUL,
        matches=lambda record: _conversation(record, key) is not None,
        read=read,
    )


# OpenAI's fine-tuning guide and TRL's language modelling type: a list of role and content.
MESSAGES = _conversation_format("messages", "role", ("messages [role, content]",))
# The shape of the ShareGPT conversations that Vicuna was trained on (github.com/lm-sys/FastChat).
SHAREGPT = _conversation_format("sharegpt", "from", ("conversations [from, value]",))
