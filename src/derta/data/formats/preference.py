"""Preference pairs: a prompt with a better and a worse response.

Covered: `preference` (our own triples, too) and `hh-rlhf`. Not covered: pairs of texts without a
prompt whose common beginning would have to be guessed; whether the worse response is harmful, which
these data don't say (`derta data check` looks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from derta.data.formats.base import Format, Kind, Made, Unusable, kept_columns, pair_record
from derta.data.formats.messages import (
    Messages,
    check_turns,
    is_messages,
    is_transcript,
    prompt_of,
    read_messages,
    read_prompt,
    read_response,
    read_transcript,
    with_context,
    with_system,
)
from derta.data.streams import RawRow

__all__ = ["HH_RLHF", "PREFERENCE"]

_PROMPTS = ("prompt", "question", "instruction")


def _is_response(value: object) -> bool:
    return isinstance(value, str) or is_messages(value)


def _is_preference(record: Mapping[str, Any]) -> bool:
    pair = [record.get("chosen"), record.get("rejected")]
    if not all(_is_response(value) for value in pair):
        return False
    if any(_is_response(record.get(name)) for name in _PROMPTS):
        return True
    return all(isinstance(value, list) and len(value) > 1 for value in pair)


def _read_preference(row: RawRow, kind: Kind | None) -> Made:
    """Read a preference pair.

    Relied on: TRL's documentation, "Dataset formats and types" (huggingface.co/docs/trl, the
    preference type: standard, conversational, with explicit and implicit prompt);
    HuggingFaceH4/ultrafeedback_binarized (prompt, prompt_id, chosen, rejected, messages,
    score_chosen, score_rejected: chosen and rejected are whole conversations);
    Intel/orca_dpo_pairs (system, question, chosen, rejected); Dahoas/full-hh-rlhf (prompt as a
    transcript that ends in "Assistant:", response, chosen, rejected).
    """
    record = row.record
    chosen_turns, chosen = read_response(record.get("chosen"), "chosen")
    rejected_turns, rejected = read_response(record.get("rejected"), "rejected")
    if chosen_turns and rejected_turns and chosen_turns != rejected_turns:
        raise Unusable("chosen and rejected don't share their prompt")
    turns = chosen_turns or rejected_turns
    column = next((name for name in _PROMPTS if record.get(name) is not None), None)
    used = {"messages", "response", "system"}
    if column is not None:
        used.add(column)
    # Conversations that go on after the prompt begin with the assistant; others repeat the prompt.
    if not turns or turns[0]["role"] == "assistant":
        if column is None:
            raise Unusable("prompt is missing")
        turns = [*read_prompt(record[column], column), *turns]
        if column == "instruction":
            turns = with_context(turns, record.get("input"), "input")
            used.add("input")
    elif column is not None and is_messages(record[column]):
        turns = _with_beginning(read_messages(record[column]), turns)
    prompt = prompt_of(with_system(turns, record.get("system")))
    made, columns = pair_record(kind, prompt, chosen, rejected, kept_columns(record, used))
    return Made(made, columns, row)


def _with_beginning(prompt: Messages, turns: Messages) -> Messages:
    """Put before the turns what only the prompt column has of the conversation: a system message.

    The two overlap: the end of the prompt is the beginning of the turns. Where they don't, the
    turns count.
    """
    for shared in range(min(len(prompt), len(turns)), 0, -1):
        if prompt[-shared:] == turns[:shared]:
            return [*prompt[:-shared], *turns]
    return turns


def _is_hh_rlhf(record: Mapping[str, Any]) -> bool:
    return is_transcript(record.get("chosen")) and is_transcript(record.get("rejected"))


def _read_hh_rlhf(row: RawRow, kind: Kind | None) -> Made:
    r"""Read a pair of transcripts that differ in the last turn.

    Relied on: the data card of Anthropic/hh-rlhf on the hub (a line has the texts chosen and
    rejected; Bai et al. 2022, arXiv 2204.05862), and public code that splits them at
    "\n\nHuman:" and "\n\nAssistant:". Its red-team-attempts are another format, not read here.
    """
    pair = []
    for name in ("chosen", "rejected"):
        text = row.record.get(name)
        if not isinstance(text, str) or not is_transcript(text):
            raise Unusable(f"{name} is not a transcript of Human and Assistant")
        turns = read_transcript(text)
        if turns[-1]["role"] != "assistant":
            raise Unusable(f"{name} doesn't end in the assistant's turn")
        pair.append(turns)
    chosen, rejected = pair
    if chosen[:-1] != rejected[:-1]:
        raise Unusable("chosen and rejected don't share their prompt")
    check_turns(chosen)
    prompt = prompt_of(chosen[:-1])
    responses = (chosen[-1]["content"], rejected[-1]["content"])
    made, columns = pair_record(kind, prompt, *responses, kept_columns(row.record))
    return Made(made, columns, row)


PREFERENCE = Format(
    name="preference",
    description="triples (or, if asked for, helpful examples with a worse response)",
    columns=("prompt", "chosen", "rejected"),
    makes=frozenset(("triple", "helpful")),
    matches=_is_preference,
    read=_read_preference,
    # Sets of pairs often repeat the better conversation, for those who only want that.
    over=frozenset(
        ("messages", "sharegpt", "prompt-response", "question-answer", "alpaca", "dolly")
    ),
)
HH_RLHF = Format(
    name="hh-rlhf",
    description="triples (or, if asked for, helpful examples with a worse response)",
    columns=("chosen", "rejected"),
    makes=frozenset(("triple", "helpful")),
    matches=_is_hh_rlhf,
    read=_read_hh_rlhf,
    over=frozenset(("preference", "prompt-response")),
    reads_system=False,
)
