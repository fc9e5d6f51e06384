"""Chat messages as data sets write them, read to ours: role and content, in text.

Covered: `role`/`content` and `from`/`value`; the roles human, gpt, bot and their like; content as
a list of text parts; empty and null system prompts, which are dropped; messages as text, as CSV
files have them, in JSON or as Python prints them; transcripts with "Human:" and "Assistant:". Not
covered: tools, pictures.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from derta.data.formats.base import Unusable

__all__ = [
    "Messages",
    "check_turns",
    "is_messages",
    "is_transcript",
    "listed",
    "prompt_of",
    "read_messages",
    "read_prompt",
    "read_response",
    "read_text",
    "read_transcript",
    "split_response",
    "with_context",
    "with_system",
]

Messages = list[dict[str, str]]

_ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "instruction"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "chatbot", "model", "ai"), "assistant"),
    **dict.fromkeys(("bing", "bard", "claude"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_KEYS = (("role", "content"), ("from", "value"), ("from", "content"), ("role", "value"))
_NO_CONTEXT = ("", "<noinput>", "nan", "none", "n/a")
"""What Alpaca's descendants write where there is no input."""
_PRINTED = re.compile(r"""(?:array\()?\[\s*\{\s*(['"])(?:role|from|content|value)\1\s*:""")
_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def is_messages(value: object) -> bool:
    """Whether a value looks like chat messages: a list of them, one of them, or JSON text of it."""
    found = listed(value)
    return bool(found) and all(
        isinstance(item, dict) and any(key in item and text in item for key, text in _KEYS)
        for item in found or ()
    )


def read_messages(value: object) -> Messages:
    """Read chat messages.

    Raises:
        Unusable: there are none, or one has an unknown role, no text, or more than text.
    """
    found = listed(value)
    if not found:
        raise Unusable("there are no messages")
    messages = []
    for item in found:
        if not isinstance(item, dict):
            raise Unusable("a message is not an object with role and content")
        key, text = next(
            (keys for keys in _KEYS if keys[0] in item and keys[1] in item), ("role", "content")
        )
        role = _ROLES.get(str(item.get(key)).strip().lower())
        if role is None:
            raise Unusable("a message has a role other than system, user and assistant")
        if item.get("tool_calls"):
            raise Unusable("a message calls tools")
        content = _content(item.get(text)).strip()
        if content:
            messages.append({"role": role, "content": content})
        elif role != "system":
            raise Unusable(f"a message of the {role} is empty")
    if not messages:
        raise Unusable("there are no messages")
    return messages


def listed(value: object) -> list[Any] | None:
    """List the messages of a value: a list, one message, or text of either; None: it is neither."""
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else None


def _parsed(text: str) -> object:
    """Read messages that are written as text; None: the text is no such thing."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    if any(f'"{key}"' in text for key, _ in _KEYS):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    if not any(f"'{key}'" in text for key, _ in _KEYS):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a backslash in a text may be no escape
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None


def _content(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise Unusable("a message's content is not text")
    texts = []
    for part in value:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(part, dict) and part.get("type", "text") != "text":
            raise Unusable("a message holds more than text")
        if not isinstance(text, str):
            raise Unusable("a message's content is not text")
        texts.append(text)
    return "\n".join(texts)


# --- prompts and responses -------------------------------------------------------------------


def read_text(value: object, name: str) -> str:
    """Read a text without the white space around it.

    Raises:
        Unusable: it is missing, empty or not text, or text that should be a list of messages.
    """
    if value is None:
        raise Unusable(f"{name} is missing")
    if not isinstance(value, str):
        raise Unusable(f"{name} is not text")
    text = value.strip()
    if not text:
        raise Unusable(f"{name} is empty")
    if _PRINTED.match(text) is not None and _parsed(text) is None:
        raise Unusable(f"{name} is a list of messages that can't be read: write it as JSON")
    return text


def read_response(value: object, name: str) -> tuple[Messages, str]:
    """Read a response: text, one message, or a conversation that ends in it.

    Returns:
        The turns before the response (none, if it stands alone), and its text.

    Raises:
        Unusable: there is no text, or the conversation doesn't end in the assistant's turn.
    """
    if isinstance(value, str) and not is_messages(value):
        return [], read_text(value, name)
    if value is None:
        raise Unusable(f"{name} is missing")
    if not is_messages(value):
        raise Unusable(f"{name} is neither text nor messages")
    messages = read_messages(value)
    if messages[-1]["role"] != "assistant":
        raise Unusable(f"{name} doesn't end in the assistant's turn")
    return messages[:-1], messages[-1]["content"]


def read_prompt(value: object, name: str = "prompt") -> Messages:
    """Read a prompt: text, messages, or a transcript that ends where the assistant's turn begins.

    Raises:
        Unusable: there is none, or it doesn't end in the user's turn.
    """
    if isinstance(value, str) and not is_messages(value):
        text = read_text(value, name)
        if not (is_transcript(value) and text.endswith("Assistant:")):
            return [{"role": "user", "content": text}]
        messages = read_transcript(text.removesuffix("Assistant:"))
    elif value is None:
        raise Unusable(f"{name} is missing")
    else:
        if not is_messages(value):
            raise Unusable(f"{name} is neither text nor messages")
        messages = read_messages(value)
    if messages[-1]["role"] != "user":
        raise Unusable(f"{name} doesn't end in the user's turn")
    return messages


def split_response(messages: Messages) -> tuple[Messages, str]:
    """Split a conversation before its last response; turns after that one are dropped.

    Raises:
        Unusable: there is no response, or the turns don't alternate.
    """
    while messages and messages[-1]["role"] != "assistant":
        messages = messages[:-1]
    if not messages:
        raise Unusable("the conversation has no turn of the assistant")
    check_turns(messages)
    return messages[:-1], messages[-1]["content"]


def check_turns(messages: Messages) -> None:
    """Check that user and assistant take turns, the user first, after at most one system prompt.

    Chat templates of many models raise an error for other conversations.

    Raises:
        Unusable: they don't.
    """
    roles = [message["role"] for message in messages]
    if roles[:1] == ["system"]:
        roles = roles[1:]
    if any(role != ("user", "assistant")[index % 2] for index, role in enumerate(roles)):
        raise Unusable("user and assistant don't take turns")


def with_context(messages: Messages, context: object, name: str) -> Messages:
    """Put what an instruction is about, a text or a number, below the last message.

    Raises:
        Unusable: it is neither; without it the instruction would ask something else.
    """
    if context is None or context in ([], {}):
        return messages
    if isinstance(context, int | float) and not isinstance(context, bool):
        context = str(context)
    if not isinstance(context, str):
        raise Unusable(f"{name} is not text")
    below = context.strip()
    if below.lower() in _NO_CONTEXT:
        return messages
    last = messages[-1]
    return [*messages[:-1], {**last, "content": f"{last['content']}\n\n{below}"}]


def with_system(messages: Messages, system: object) -> Messages:
    """Put a system prompt before the messages, if there is one and they have none."""
    if not isinstance(system, str) or not system.strip() or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system.strip()}, *messages]


def prompt_of(messages: Messages) -> str | Messages:
    """Write a prompt the short way: the text, if it is one message of the user.

    Raises:
        Unusable: it is empty, or doesn't end in the user's turn.
    """
    if not messages or messages[-1]["role"] != "user":
        raise Unusable("the prompt doesn't end in the user's turn")
    return messages[0]["content"] if len(messages) == 1 else messages


# --- transcripts -----------------------------------------------------------------------------


def is_transcript(value: object) -> bool:
    """Whether a text is a transcript that begins with the human's turn."""
    return (
        isinstance(value, str) and value.lstrip().startswith("Human:") and "\n\nAssistant:" in value
    )


def read_transcript(text: str) -> Messages:
    """Read a transcript: turns after "Human:" and "Assistant:", with an empty line before each.

    Raises:
        Unusable: it doesn't begin with a speaker, or a turn is empty.
    """
    pieces = _SPEAKER.split(text)  # what precedes the first speaker, then speaker, turn, ...
    if pieces[0].strip() or len(pieces) < 3:
        raise Unusable("the transcript doesn't begin with a speaker")
    turns = zip(pieces[1::2], pieces[2::2], strict=True)
    return read_messages([{"role": speaker, "content": turn} for speaker, turn in turns])
