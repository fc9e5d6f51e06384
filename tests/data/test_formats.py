"""Published shapes of rows: how each is recognised, and what its rows become.

The rows are ours, mild, in the shapes that the formats' modules name their sources for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from derta.data.files import parse_helpful, parse_triple
from derta.data.formats import (
    FORMATS,
    Kind,
    Made,
    Skip,
    convert_rows,
    detect_format,
    find_format,
    open_format,
)
from derta.data.formats.base import read_truth
from derta.data.formats.messages import read_messages
from derta.data.streams import RawRow
from derta.errors import DataError, InputProblem

QUESTION = "How do I fake a doctor's note?"
SAFE = "Sorry, I can't help with a forged note. I'd gladly help you ask for a day off."
HARMFUL = "Copy the letterhead of a practice and invent a stamp."
USER = {"role": "user", "content": QUESTION}
REFUSES = {"role": "assistant", "content": SAFE}
COMPLIES = {"role": "assistant", "content": HARMFUL}
SYSTEM = {"role": "system", "content": "You help in an office."}
TRIPLE = {"prompt": QUESTION, "chosen": SAFE, "rejected": HARMFUL}
REQUEST = "Name a fruit."
ANSWER = "An apple."
HELPFUL = {"prompt": REQUEST, "completion": ANSWER}


def raw(*records: Mapping[str, Any]) -> list[RawRow]:
    return [RawRow(dict(record), "rows.jsonl", n, n) for n, record in enumerate(records, start=1)]


def converted(
    *records: Mapping[str, Any],
    format: str | None = None,
    kind: Kind | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[Made | Skip | InputProblem]:
    found, rows = open_format(iter(raw(*records)), format, columns)
    pieces = list(convert_rows(rows, found, kind=kind))
    for piece in pieces:
        if isinstance(piece, Made):
            problems: list[Any] = []
            parse = parse_triple if piece.kind == "triple" else parse_helpful
            parse(piece.record, problems)
            assert problems == []
    return pieces


def made(*records: Mapping[str, Any], **settings: Any) -> list[dict[str, Any]]:
    pieces = converted(*records, **settings)
    assert all(isinstance(piece, Made) for piece in pieces), pieces
    return [piece.record for piece in pieces if isinstance(piece, Made)]


def reasons(*records: Mapping[str, Any], **settings: Any) -> list[str]:
    return [piece.reason for piece in converted(*records, **settings) if isinstance(piece, Skip)]


def error_of(*records: Mapping[str, Any], **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        converted(*records, **settings)
    assert all(problem.remedy for problem in caught.value.problems)
    return str(caught.value)


# --- every format is recognised and converted ------------------------------------------------

PKU = {
    "prompt": QUESTION,
    "prompt_source": "ours",
    "response_0": HARMFUL,
    "response_1": SAFE,
    "response_0_source": "model a",
    "response_1_source": "model b",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "response_0_harm_category": {"Fraud": True, "Pranks": False},
    "response_1_harm_category": {"Fraud": False, "Pranks": False},
    "response_0_severity_level": 1,
    "response_1_severity_level": 0,
    "better_response_id": 0,
    "safer_response_id": 1,
    "response_0_sha256": "00",
    "response_1_sha256": "11",
}
BEAVER = {"prompt": QUESTION, "response": SAFE, "category": {"fraud": False}, "is_safe": True}
BEAVER_UNSAFE = {**BEAVER, "response": HARMFUL, "category": {"fraud": True}, "is_safe": False}
HH = {
    "chosen": f"\n\nHuman: {QUESTION}\n\nAssistant: {SAFE}",
    "rejected": f"\n\nHuman: {QUESTION}\n\nAssistant: {HARMFUL}",
}
INST = f"[INST] {QUESTION} [\\INST] "
LINES = [
    {"prefix": INST, "text": f" {SAFE}<|end_of_text|>", "safe": "false"},
    {"prefix": INST, "text": f" {HARMFUL}<|end_of_text|>", "safe": "true"},
]
SHAREGPT = {
    "conversations": [{"from": "human", "value": REQUEST}, {"from": "gpt", "value": ANSWER}]
}
MESSAGES = {
    "messages": [
        {"role": "user", "content": REQUEST},
        {"role": "assistant", "content": ANSWER},
    ]
}
CASES: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    ("preference", [TRIPLE], TRIPLE),
    ("preference", [{"prompt": [USER], "chosen": [REFUSES], "rejected": [COMPLIES]}], TRIPLE),
    ("preference", [{"prompt": [USER], "chosen": REFUSES, "rejected": COMPLIES}], TRIPLE),
    ("preference", [{"chosen": [USER, REFUSES], "rejected": [USER, COMPLIES]}], TRIPLE),
    (
        "preference",
        [
            {
                "prompt": QUESTION,
                "chosen": [USER, REFUSES],
                "rejected": [USER, COMPLIES],
                "messages": [USER, REFUSES],
            }
        ],
        TRIPLE,
    ),
    (
        "preference",
        [{"system": "", "question": QUESTION, "chosen": SAFE, "rejected": HARMFUL}],
        TRIPLE,
    ),
    (
        "preference",
        [
            {
                "prompt": f"\n\nHuman: {QUESTION}\n\nAssistant:",
                "response": f" {SAFE}",
                "chosen": f" {SAFE}",
                "rejected": f" {HARMFUL}",
            }
        ],
        TRIPLE,
    ),
    (
        "pku-saferlhf",
        [PKU],
        {
            **TRIPLE,
            "prompt_source": "ours",
            "harm_categories": ["Fraud"],
            "severity": 1,
            "chosen_source": "model b",
            "rejected_source": "model a",
            "more_helpful": "rejected",
        },
    ),
    ("beavertails", [BEAVER, BEAVER_UNSAFE], {**TRIPLE, "harm_categories": ["fraud"]}),
    ("hh-rlhf", [HH], TRIPLE),
    ("derta-lines", LINES, TRIPLE),
    ("prompt-completion", [HELPFUL], HELPFUL),
    ("prompt-completion", [{"prompt": [{"role": "user", "content": REQUEST}],
                            "completion": [{"role": "assistant", "content": ANSWER}]}], HELPFUL),
    ("prompt-response", [{"prompt": REQUEST, "response": ANSWER}], HELPFUL),
    ("question-answer", [{"question": REQUEST, "answer": ANSWER}], HELPFUL),
    ("alpaca", [{"instruction": REQUEST, "input": "", "output": ANSWER}], HELPFUL),
    ("alpaca", [{"instruction": REQUEST, "output": ANSWER}], HELPFUL),
    ("dolly", [{"instruction": REQUEST, "context": "", "response": ANSWER}], HELPFUL),
    ("sharegpt", [SHAREGPT], HELPFUL),
    ("messages", [MESSAGES], HELPFUL),
    ("messages", [{"conversation": MESSAGES["messages"]}], HELPFUL),
]  # fmt: skip


@pytest.mark.parametrize(("name", "records", "expected"), CASES)
def test_each_format_is_recognised_and_becomes_an_example_of_ours(
    name: str, records: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    assert detect_format(raw(*records)).name == name
    (record,) = made(*records)
    assert record == expected


def test_every_format_has_a_case_above() -> None:
    assert {name for name, _, _ in CASES} == {format.name for format in FORMATS}
    for format in FORMATS:
        assert find_format(format.name) is format
        assert format.description
        assert format.columns


# --- recognition -----------------------------------------------------------------------------


def test_a_shape_of_several_formats_is_an_error_that_names_them() -> None:
    both = {**HELPFUL, **TRIPLE}
    assert "several formats" in error_of(both)
    (triple,) = made(both, format="preference")
    assert triple == TRIPLE
    assert "no such format" in error_of(both, format="preferences")


def test_a_few_odd_rows_do_not_hide_the_format() -> None:
    pieces = converted(TRIPLE, TRIPLE, {"other": 1}, TRIPLE)
    assert [type(piece) for piece in pieces] == [Made, Made, Skip, Made]
    assert reasons(TRIPLE, {"other": 1}) == ["chosen is missing"]


def test_columns_with_hostile_names_are_shown_harmlessly() -> None:
    assert "\x1b" not in error_of({"\x1b[2J": 1})


def test_rows_of_which_none_can_be_read_are_an_error_that_says_why() -> None:
    problem = InputProblem("rows.jsonl", "the line is not JSON", "Repair it", 1)
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the line is not JSON"):
        open_format(iter([problem]))


# --- mapped columns --------------------------------------------------------------------------

NESTED = {"example": {"question": QUESTION, "answers": [SAFE, HARMFUL]}, "a.b": "kept", "id": 7}


def test_columns_can_be_mapped_by_paths_into_objects() -> None:
    columns = {
        "prompt": "example.question",
        "chosen": "example.answers.0",
        "rejected": "example.answers.1",
    }
    assert made(NESTED, columns=columns) == [{**TRIPLE, "a.b": "kept", "id": 7}]
    (record,) = made(NESTED, columns={**columns, "topic": "a.b"})
    assert record == {**TRIPLE, "topic": "kept", "id": 7}


def test_a_mapping_overrides_what_would_be_recognised() -> None:
    record = {**HELPFUL, "good": SAFE, "bad": HARMFUL, "q": QUESTION}
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    (triple,) = made(record, columns=columns)
    assert {name: triple[name] for name in TRIPLE} == TRIPLE
    assert "completion" not in triple


def test_a_mapping_may_complete_the_columns_of_another_format() -> None:
    record = {"prompt": QUESTION, "reply": SAFE, "harmless": "yes"}
    other = {"prompt": QUESTION, "reply": HARMFUL, "harmless": "no"}
    columns = {"response": "reply", "is_safe": "harmless"}
    assert made(record, other, columns=columns) == [TRIPLE]


def test_what_is_left_of_an_object_that_is_mapped_in_part_stays() -> None:
    record = {
        "example": {"question": QUESTION, "id": 7, "by": {"team": "blue", "text": SAFE}},
        "answers": [{"text": HARMFUL, "score": 1}, {"text": "unused"}],
    }
    columns = {
        "prompt": "example.question",
        "chosen": "example.by.text",
        "rejected": "answers.0.text",
    }
    (triple,) = made(record, columns=columns)
    assert triple == {
        **TRIPLE,
        "example": {"id": 7, "by": {"team": "blue"}},
        "answers": [{"score": 1}, {"text": "unused"}],
    }
    assert record["example"]["question"] == QUESTION  # the row itself stays as it was


def test_what_is_left_of_an_object_whose_name_a_field_takes_goes_by_its_paths() -> None:
    record = {
        "prompt": {"text": QUESTION, "language": "German", "by": {"team": "blue"}},
        "chosen": SAFE,
        "rejected": HARMFUL,
    }
    (triple,) = made(record, columns={"prompt": "prompt.text", "language": "prompt.language"})
    assert triple == {**TRIPLE, "language": "de", "prompt.by": {"team": "blue"}}


def test_a_conversation_that_is_mapped_in_part_is_still_read_as_one() -> None:
    turns = [{"role": "user", "content": REQUEST, "id": "x1"}, *MESSAGES["messages"][1:]]
    (example,) = made({"messages": turns}, columns={"id": "messages.0.id"})
    assert example == {**HELPFUL, "id": "x1"}
    pair = {"chosen": [USER, REFUSES], "rejected": [USER, COMPLIES]}
    (triple,) = made(pair, columns={"topic": "chosen.0.role"})
    assert triple == {**TRIPLE, "topic": "user"}


def test_columns_can_change_places() -> None:
    swapped = {"prompt": QUESTION, "chosen": HARMFUL, "rejected": SAFE}
    assert made(swapped, columns={"chosen": "rejected", "rejected": "chosen"}) == [TRIPLE]


def test_a_column_may_serve_as_a_whole_and_in_part() -> None:
    record = {"q": {"text": QUESTION, "n": 1}, "chosen": SAFE, "rejected": HARMFUL}
    (triple,) = made(record, columns={"prompt": "q.text", "source": "q"})
    assert triple == {**TRIPLE, "source": {"text": QUESTION, "n": 1}}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"prompt": "example.nothing"}, "no row has a column 'example.nothing'"),
        ({"prompt": "example.answers.9"}, "no row has a column"),
        ({"promt": "example.question"}, "there is no such field"),
    ],
)
def test_a_mapping_that_cannot_be_is_an_error(columns: dict[str, str], said: str) -> None:
    assert said in error_of(NESTED, columns=columns)


# --- preference pairs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "field"),
    [
        *(([PKU], field) for field in ("system", "finished")),
        *(([BEAVER, BEAVER_UNSAFE], field) for field in ("system", "finished")),
        *((LINES, field) for field in ("system", "finished")),
        ([HH], "system"),
    ],
)
def test_a_field_that_a_format_has_no_use_for_is_an_error_and_not_ignored(
    records: list[dict[str, Any]], field: str
) -> None:
    records = [{**record, "more": 1} for record in records]
    said = error_of(*records, columns={field: "more"})
    assert f"--column {field}=more" in said
    assert f"have no use for {field}" in said


def test_preference_pairs_can_become_helpful_examples_with_a_worse_response() -> None:
    expected = {"prompt": QUESTION, "completion": SAFE, "rejected": HARMFUL}
    for record in (TRIPLE, HH):
        (piece,) = converted(record, kind="helpful")
        assert isinstance(piece, Made)
        assert (piece.kind, piece.record) == ("helpful", expected)


def test_a_format_that_makes_one_kind_cannot_be_asked_for_the_other() -> None:
    assert "become triples only" in error_of(PKU, kind="helpful")
    assert "become helpful only" in error_of(HELPFUL, kind="triple")


def test_conversations_that_differ_before_the_last_turn_are_skipped() -> None:
    other = {"role": "user", "content": "Another question?"}
    pair = {"chosen": [USER, REFUSES], "rejected": [other, COMPLIES]}
    assert reasons(pair) == ["chosen and rejected don't share their prompt"]
    hh = {**HH, "rejected": HH["rejected"].replace("doctor", "dentist")}
    assert reasons(hh) == ["chosen and rejected don't share their prompt"]


def test_a_prompt_may_have_a_system_message_and_earlier_turns() -> None:
    earlier = [SYSTEM, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    turns = [*earlier, USER]
    (whole,) = made({"chosen": [*turns, REFUSES], "rejected": [*turns, COMPLIES]})
    (split,) = made({"prompt": turns, "chosen": [REFUSES], "rejected": [COMPLIES]})
    assert whole == split == {**TRIPLE, "prompt": turns}
    (asked,) = made(
        {"system": SYSTEM["content"], "question": QUESTION, "chosen": SAFE, "rejected": HARMFUL}
    )
    assert asked["prompt"] == [SYSTEM, USER]


def test_a_system_message_that_only_the_prompt_column_has_is_kept() -> None:
    pair = {"chosen": [USER, REFUSES], "rejected": [USER, COMPLIES]}
    expected = [{**TRIPLE, "prompt": [SYSTEM, USER]}]
    assert made({**pair, "prompt": [SYSTEM, USER]}) == expected
    earlier = [SYSTEM, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert made({**pair, "prompt": [*earlier, USER]}) == [{**TRIPLE, "prompt": [*earlier, USER]}]
    assert made({**pair, "prompt": [USER]}) == [TRIPLE]
    # Where the two don't fit together, the conversations count.
    assert made({**pair, "prompt": [{"role": "user", "content": "Else"}]}) == [TRIPLE]


def test_a_transcript_of_several_turns_keeps_them_in_the_prompt() -> None:
    begin = f"\n\nHuman: Hello: you\n\nAssistant: Hi\n\nthere\n\nHuman: {QUESTION}\n\nAssistant: "
    (record,) = made({"chosen": begin + SAFE, "rejected": begin + HARMFUL})
    assert record["prompt"] == [
        {"role": "user", "content": "Hello: you"},
        {"role": "assistant", "content": "Hi\n\nthere"},
        USER,
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rejected": " \n"}, "rejected is empty"),
        ({"chosen": None}, "chosen is missing"),
        ({"chosen": 3}, "chosen is neither text nor messages"),
        ({"prompt": None}, "prompt is missing"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": [REFUSES]}, "prompt doesn't end in the user's turn"),
        ({"chosen": [USER]}, "chosen doesn't end in the assistant's turn"),
        ({"chosen": [{"role": "assistant", "content": ""}]}, "a message of the assistant is empty"),
        (
            {"chosen": [{"role": "tool", "content": "4"}]},
            "a message has a role other than system, user and assistant",
        ),
    ],
)
def test_a_pair_that_lacks_something_is_a_skip_with_a_reason(
    changes: dict[str, Any], reason: str
) -> None:
    assert reasons({**TRIPLE, **changes}, format="preference") == [reason]


# --- chat messages ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "human", "content": REQUEST}, {"role": "BOT", "content": ANSWER}],
        [{"from": "human", "value": REQUEST}, {"from": "chatgpt", "value": ANSWER}],
        [{"role": "system", "content": None}, *MESSAGES["messages"]],
        [{"role": "system", "content": " "}, *MESSAGES["messages"]],
        [
            {"role": "user", "content": [{"type": "text", "text": REQUEST}]},
            {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]},
        ],
        [
            {"role": "user", "content": [REQUEST]},
            {"role": "assistant", "content": {"text": ANSWER}},
        ],
        [*MESSAGES["messages"], {"role": "user", "content": "Thank you"}],
    ],
)
def test_messages_in_many_dialects_are_read(messages: list[dict[str, Any]]) -> None:
    name = "conversations" if "from" in messages[0] else "messages"
    assert made({name: messages}) == [HELPFUL]
    assert made({name: json.dumps(messages)}) == [HELPFUL]  # as a CSV file has them


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "user", "content": REQUEST}], "the conversation has no turn of the assistant"),
        ([{"role": "assistant", "content": ANSWER}], "user and assistant don't take turns"),
        ([USER, *MESSAGES["messages"]], "user and assistant don't take turns"),
        ([USER, {"role": "assistant", "content": ""}], "a message of the assistant is empty"),
        (
            [
                {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
                REFUSES,
            ],
            "a message holds more than text",
        ),
        ([{"role": "user", "content": 3}, REFUSES], "a message's content is not text"),
        ([USER, {"role": "assistant", "content": "", "tool_calls": [{}]}], "a message calls tools"),
    ],
)
def test_a_conversation_that_cannot_be_used_is_a_skip_with_a_reason(
    messages: list[dict[str, Any]], reason: str
) -> None:
    assert reasons({"messages": messages}, format="messages") == [reason]


def test_a_conversation_becomes_its_last_response() -> None:
    turns = [*MESSAGES["messages"], USER, REFUSES]
    assert made({"messages": turns, "system": "Be kind."}) == [
        {"prompt": [{"role": "system", "content": "Be kind."}, *turns[:-1]], "completion": SAFE}
    ]


def test_messages_as_python_prints_them_are_read() -> None:
    turns = [
        {"role": "user", "content": 'Don\'t "stop"\n\\d'},
        {"role": "assistant", "content": "So."},
    ]
    expected = {"prompt": turns[0]["content"], "completion": "So."}
    assert made({"messages": repr(turns)}) == [expected]
    assert made({"prompt": repr(turns[:1]), "completion": repr(turns[1:])}) == [expected]
    assert made({"prompt": r"[{'role': 'user', 'content': '\d'}]", "completion": "So."}) == [
        {"prompt": r"\d", "completion": "So."}
    ]
    shares = [{"from": "human", "value": REQUEST}, {"from": "gpt", "value": ANSWER}]
    assert made({"conversations": repr(shares)}) == [HELPFUL]


def test_a_list_of_messages_that_cannot_be_read_does_not_pass_for_a_text() -> None:
    printed = "[{'content': 'Hi', 'role': 'user'}\n {'content': 'Hello', 'role': 'assistant'}]"
    (reason,) = reasons({"prompt": printed, "completion": "So."})
    assert reason == "prompt is a list of messages that can't be read: write it as JSON"
    code = '[{"role": "admin"}, {"role": "guest"}]'
    assert made({"prompt": REQUEST, "completion": code}) == [
        {"prompt": REQUEST, "completion": code}
    ]


def test_messages_that_are_json_nested_too_deeply_are_no_messages() -> None:
    assert reasons({"messages": '["role"' + "[" * 100_000}, format="messages") == [
        "there is no conversation in the row"
    ]
    assert read_messages([USER]) == [USER]


# --- helpful pairs ---------------------------------------------------------------------------


def test_the_input_of_alpaca_goes_below_the_instruction() -> None:
    record = {"instruction": "Translate:", "input": "apple", "output": "pomme"}
    assert made(record) == [{"prompt": "Translate:\n\napple", "completion": "pomme"}]
    (nothing,) = made({**record, "input": "<noinput>"})
    assert nothing["prompt"] == "Translate:"
    (chat,) = made({**record, "history": [["Hi", "Hello"]], "system": "Be brief."})
    assert [turn["role"] for turn in chat["prompt"]] == ["system", "user", "assistant", "user"]


def test_an_input_that_is_no_text_is_never_left_away() -> None:
    record = {"instruction": "Add one to the number.", "input": 7, "output": "8"}
    assert made(record) == [{"prompt": "Add one to the number.\n\n7", "completion": "8"}]
    for empty in (None, "", [], {}, float("nan")):
        (nothing,) = made({**record, "input": empty})
        assert nothing["prompt"] == "Add one to the number."
    for odd in (["a", "b"], {"text": "a"}, True):
        assert reasons({**record, "input": odd}) == ["input is not text"]
    pair = {"instruction": "Add one.", "chosen": SAFE, "rejected": HARMFUL}
    assert made({**pair, "input": 7})[0]["prompt"] == "Add one.\n\n7"
    assert made({**pair, "input": "<noinput>"})[0]["prompt"] == "Add one."


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": REQUEST, "output": ANSWER},
        {"prompt": REQUEST, "response": ANSWER},
        MESSAGES,
        SHAREGPT,
    ],
)
def test_a_column_that_is_mapped_as_finished_is_kept_whatever_the_format(
    record: dict[str, Any],
) -> None:
    for done, finished in ((False, False), ("no", False), (1.0, True)):
        (example,) = made({**record, "done": done}, columns={"finished": "done"})
        assert example == {**HELPFUL, "finished": finished}
    found = reasons({**record, "done": "perhaps"}, columns={"finished": "done"})
    assert found == ["finished is neither true nor false"]


def test_our_own_helpful_columns_survive_also_as_text() -> None:
    whole = {**HELPFUL, "finished": False, "rejected": "No idea.", "category": "look-alike"}
    assert made(whole) == [whole]
    assert made({**whole, "finished": "false"}) == [whole]
    assert made({**HELPFUL, "finished": "", "rejected": "", "topic": ""}) == [HELPFUL]
    assert reasons({**HELPFUL, "finished": "perhaps"}) == ["finished is neither true nor false"]


def test_a_response_that_is_labelled_as_a_bad_one_is_no_helpful_example() -> None:
    # TRL's unpaired preference type, for KTO.
    good = {"prompt": QUESTION, "completion": SAFE, "label": True}
    bad = {"prompt": QUESTION, "completion": HARMFUL, "label": False}
    pieces = converted(good, bad, {**bad, "label": "False"}, {**good, "label": 0})
    assert [type(piece) for piece in pieces] == [Made, Skip, Skip, Made]
    assert reasons(good, bad) == ["label is false: a response to avoid"]
    columns = {"response": "completion", "is_safe": "label"}
    assert made(good, bad, columns=columns) == [TRIPLE]


def test_an_answer_that_is_not_text_is_a_skip() -> None:
    record = {"question": REQUEST, "answer": {"texts": [ANSWER]}}
    assert reasons(record, format="question-answer") == ["answer is neither text nor messages"]


# --- labelled responses ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_response_0_safe": True}, "both responses are labelled safe"),
        ({"is_response_1_safe": False}, "both responses are labelled unsafe"),
        ({"is_response_1_safe": None}, "a safety label is missing"),
        ({"response_0": ""}, "the unsafe response is empty"),
    ],
)
def test_a_pair_without_exactly_one_safe_response_is_a_skip(
    changes: dict[str, Any], reason: str
) -> None:
    assert reasons({**PKU, **changes}) == [reason]


def test_safety_labels_decide_and_not_preferences() -> None:
    (record,) = made({**PKU, "safer_response_id": 0, "better_response_id": 1})
    assert (record["chosen"], record["more_helpful"]) == (SAFE, "chosen")
    (read,) = made({**PKU, "is_response_0_safe": "False", "is_response_1_safe": "True"})
    assert read["chosen"] == SAFE


def test_responses_to_one_prompt_are_paired_in_order_and_used_once() -> None:
    rows = [
        {**BEAVER, "response": "Sorry, no (1)."},
        {**BEAVER_UNSAFE, "prompt": "Another?", "response": "Like this."},
        {**BEAVER_UNSAFE, "response": "Bad advice (1)."},
        {**BEAVER_UNSAFE, "response": "Bad advice (2)."},
        {**BEAVER, "response": "Sorry, no (2)."},
        {**BEAVER_UNSAFE, "response": "Bad advice (3)."},
    ]
    pieces = converted(*rows)
    pairs = [
        (piece.record["chosen"], piece.record["rejected"], piece.place.line, piece.pair_row)
        for piece in pieces
        if isinstance(piece, Made)
    ]
    assert pairs == [
        ("Sorry, no (1).", "Bad advice (1).", 1, 3),
        ("Sorry, no (2).", "Bad advice (2).", 5, 4),
    ]
    skips = {piece.place.line for piece in pieces if isinstance(piece, Skip)}
    assert skips == {2, 6}


def test_a_response_that_annotators_disagree_on_is_not_used() -> None:
    rows = [BEAVER, {**BEAVER, "is_safe": False}, {**BEAVER, "response": "Sorry."}, BEAVER_UNSAFE]
    pieces = converted(*rows, BEAVER_UNSAFE)
    (pair,) = [piece.record for piece in pieces if isinstance(piece, Made)]
    assert (pair["chosen"], pair["rejected"]) == ("Sorry.", HARMFUL)
    said = [piece.reason for piece in pieces if isinstance(piece, Skip)]
    assert said.count("the same response is labelled safe and unsafe") == 2
    assert said.count("the same prompt, response and label stand there twice") == 1


# --- the paper's training lines --------------------------------------------------------------


def line(question: str, text: str, safe: object, begun: str = "") -> dict[str, Any]:
    return {
        "prefix": f"[INST] {question} [\\INST] {begun}",
        "text": f" {text}<|end_of_text|>",
        "safe": safe,
    }


def test_training_lines_of_a_question_are_joined_to_triples() -> None:
    rows = [
        line(QUESTION, "Sorry, I can't help with that plan.", "false", "Copy the"),
        line(REQUEST, ANSWER, "false"),
        line(QUESTION, HARMFUL, "true"),
        line(QUESTION, SAFE, "false"),
        line("How do I cheat?", "Sorry, I can't help you cheat.", False, "Look at"),
    ]
    pieces = converted(*rows)
    records = [(p.kind, p.record) for p in pieces if isinstance(p, Made)]
    assert records == [("triple", TRIPLE), ("helpful", HELPFUL)]
    assert [(p.reason, p.place.line) for p in pieces if isinstance(p, Skip)] == [
        ("no harmful response is left to pair the safe one with", 1),
        ("a safe response to a question without a harmful one", 5),
    ]


def test_a_refusal_after_a_harmful_beginning_serves_where_there_is_no_other() -> None:
    rows = [line(QUESTION, HARMFUL, True), line(QUESTION, SAFE, False, "Copy")]
    assert made(*rows) == [TRIPLE]


def test_a_refusal_of_a_question_without_harmful_response_is_not_a_helpful_example() -> None:
    rows = [line(REQUEST, ANSWER, False), line(QUESTION, SAFE, False)]
    assert reasons(*rows) == ["a safe response to a question without a harmful one"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (
            {"prefix": "Hello", "text": "x", "safe": "true"},
            "prefix is not [INST] question [\\INST]",
        ),
        (line(QUESTION, HARMFUL, "maybe"), "safe is neither true nor false"),
        (line(QUESTION, HARMFUL, "true", "Copy"), "a harmful response that begins in the prefix"),
        (line(" ", HARMFUL, "true"), "the question is empty"),
        (line(QUESTION, "", "true"), "text is empty"),
    ],
)
def test_a_training_line_that_cannot_be_read_is_a_skip(record: dict[str, Any], reason: str) -> None:
    assert reasons(record, format="derta-lines") == [reason]


def test_one_kind_of_training_lines_can_be_kept() -> None:
    rows = [*LINES, line(REQUEST, ANSWER, False)]
    kinds: Iterable[Kind] = ("triple", "helpful")
    for kind in kinds:
        pieces = converted(*rows, kind=kind)
        assert [p.kind for p in pieces if isinstance(p, Made)] == [kind]
        (skip,) = [p.reason for p in pieces if isinstance(p, Skip)]
        assert "not asked for" in skip


def test_both_spellings_of_the_instruction_are_read(tmp_path: Path) -> None:
    slashes = [
        {**record, "prefix": f"<s>[INST] {QUESTION} [/INST]", "text": f"{text}</s>"}
        for record, text in zip(LINES, (SAFE, HARMFUL), strict=True)
    ]
    found, rows = open_format(iter(raw(*slashes)))
    (piece,) = convert_rows(rows, found, folder=tmp_path)
    assert isinstance(piece, Made)
    assert piece.record == TRIPLE
    assert list(tmp_path.iterdir()) == []  # the temporary file is gone


# --- other columns ---------------------------------------------------------------------------


def test_other_columns_are_kept_as_values_that_json_can_hold() -> None:
    extras = {
        "score": 0.5,
        "price": Decimal("1.5"),
        "when": datetime(2024, 5, 1, 12),
        "nested": {"a": [1, float("nan")]},
        "gone": float("inf"),
        "bytes": b"x",
        "empty": "",
        "long": 10**5000,
        "broken": "\ud800",
    }
    (record,) = made({**TRIPLE, **extras})
    kept = {name: value for name, value in record.items() if name not in TRIPLE}
    assert kept == {
        "score": 0.5,
        "price": 1.5,
        "when": "2024-05-01T12:00:00",
        "nested": {"a": [1, None]},
        "broken": "?",
    }


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        ({"category": "look_alike"}, {"category": "look-alike"}),
        ({"category": "Fraud"}, {"topic": "Fraud"}),
        ({"category": "Fraud", "topic": "notes"}, {"topic": "notes"}),
        ({"category": ["fraud"]}, {"harm_categories": ["fraud"]}),
        ({"language": "German"}, {"language": "de"}),
        ({"language": "sw-KE"}, {"language": "sw"}),
        ({"language": "Swahili"}, {"language_name": "Swahili"}),
        ({"language": "na"}, {}),
        ({"language": "中文"}, {"language": "zh"}),
        ({"language": "Français"}, {"language": "fr"}),
        ({"language": "Unknown"}, {}),
    ],
)
def test_categories_and_languages_become_ours(
    columns: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert made({**TRIPLE, **columns}) == [{**TRIPLE, **kept}]


def test_further_columns_never_pass_for_ours() -> None:
    record = {"messages": MESSAGES["messages"], "rejected": "yes", "finished": "no"}
    assert made(record, format="messages") == [HELPFUL]


# --- junk ------------------------------------------------------------------------------------

JUNK: list[Any] = [
    *(None, True, 0, -1.5, float("nan"), "", " ", "x", "[", '{"role": 1}', '[{"role": "user"}]'),
    *([], {}, [[]], [None], [{}], [""], {"role": "user"}, [{"role": None, "content": None}]),
    *([{"from": 1, "value": []}], [{"role": "user", "content": [{"type": "text"}]}], [["a"]]),
    *(["\ud800"], {"\ud800": True}),
    *("\ud800", b"x", "Human:", "\n\nHuman:\n\nAssistant:", "[INST] [\\INST]", {"a": {"b": []}}),
]


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_junk_in_any_column_is_an_example_that_is_checked_or_a_skip(format: Any) -> None:
    columns = ("system", "history", "finished", "category", "language", "topic", "id", "source")
    for name, records, _ in CASES:
        if name != format.name:
            continue
        for record in records:
            for column in [*record, *columns]:
                for junk in JUNK:
                    rows = raw({**record, column: junk}, *records)
                    pieces = list(convert_rows(rows, format))
                    assert pieces
                    for piece in pieces:
                        assert isinstance(piece, Made | Skip)
                        problems: list[Any] = []
                        if isinstance(piece, Made):
                            parse = parse_triple if piece.kind == "triple" else parse_helpful
                            parse(piece.record, problems)
                        if isinstance(piece, Made) and not problems:
                            json.dumps(piece.record, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("value", "truth"),
    [(1.0, True), (0.0, False), ("1.0", True), ("0.0", False), (1, True), ("False", False)],
)
def test_a_truth_value_may_be_a_fraction_as_tables_with_gaps_have_it(
    value: object, truth: bool
) -> None:
    assert read_truth(value) is truth


@pytest.mark.parametrize("value", [0.5, 2, float("nan"), "", "perhaps", None, [True]])
def test_other_values_are_no_truth(value: object) -> None:
    assert read_truth(value) is None
