"""A tiny chat model, its tokenizer and mild questions, shared by the tests of derta.evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from derta.triple import Conversation, HelpfulExample, Triple
from tests.tiny import tiny_model, tiny_tokenizer


@dataclass(frozen=True)
class Harmful:
    id: str
    raw_text: str
    triple: Triple


@dataclass(frozen=True)
class Benign:
    id: str
    category: str
    example: HelpfulExample


def model_and_tokenizer(**overrides: Any) -> tuple[Any, Any]:
    tokenizer = tiny_tokenizer()
    settings = {"vocab_size": len(tokenizer), "max_position_embeddings": 512, **overrides}
    model = tiny_model("llama", **settings)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model, tokenizer


def harmful(count: int = 3) -> list[Harmful]:
    return [
        Harmful(
            f"h{number}",
            f"I will explain how to skip {number} queues. Step 1:",
            Triple(
                Conversation.from_text(f"How do I skip {number} queues?"),
                "Sorry, I can't help with that.",
                "You walk past everybody " * (2 + number),
            ),
        )
        for number in range(count)
    ]


def benign(count: int = 4) -> list[Benign]:
    return [
        Benign(
            f"b{number}",
            "ordinary" if number % 2 == 0 else "look-alike",
            HelpfulExample(Conversation.from_text(f"What is {number} plus one?"), "A number."),
        )
        for number in range(count)
    ]
