"""What a user brings: triples and helpful examples.

Both are the field's standard data formats. A triple (q, r, h) is the preference format
(`prompt`, `chosen`, `rejected`); a helpful example is the prompt-completion format
(`prompt`, `completion`). Reading files is in `derta.data.files`, token ids in `derta.data.encode`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Conversation", "HelpfulExample", "Message", "Triple"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything the model is given before it responds: one user message, or several turns."""

    messages: tuple[Message, ...]

    @classmethod
    def from_text(cls, text: str) -> Conversation:
        """Make a conversation of one user message."""
        return cls((Message("user", text),))

    @property
    def last_text(self) -> str:
        """The text of the last message: the question, as people call it."""
        return self.messages[-1].content


@dataclass(frozen=True, slots=True)
class Triple:
    """A harmful question q, a safe response r and a harmful response h (METHOD: equation 2)."""

    prompt: Conversation
    safe_response: str
    harmful_response: str


@dataclass(frozen=True, slots=True)
class HelpfulExample:
    """A question with a helpful response; `rejected` is only read by DPO."""

    prompt: Conversation
    response: str
    rejected: str | None = None
