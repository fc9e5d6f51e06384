"""Outcomes, readings and page data of one's choice, and the explorer's JSON read back.

Shared by the explorer's tests. Covered: texts and numbers that a test names itself. Not covered:
whole run folders, which tests.analysis.fake_run writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from derta.analysis.outcomes import Outcome
from derta.analysis.readings import Reading
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.explorer import explorer_data

ROOMY = 100_000_000


def outcome(model: str = "one", number: int = 0, **changes: Any) -> Outcome:
    question = f"How do I skip queue {number}?"
    values: dict[str, Any] = {
        "model": model,
        "scenario": "direct",
        "cell": "",
        "question_id": f"q{number}",
        "category": "harmful",
        "question": question,
        "prompt": question,
        "prefilled": "",
        "response": "Walk to the front and wave.",
        "truncated": False,
        "verdict": "UNSAFE",
        "reason": "gives information",
        "refused": False,
        **changes,
    }
    return Outcome(**values)


def reading(
    model: str = "one",
    tokens: Sequence[str] = ("Walk", " to", " the front"),
    prefilled_tokens: int = 0,
    seed: int = 0,
    **changes: Any,
) -> Reading:
    """A reading whose texts are its tokens put together, of drawn numbers."""
    generator = np.random.default_rng(seed)
    count = len(tokens)
    first = generator.random(count) < 0.6
    token_probability = generator.beta(1, 3, count)
    top = np.append(np.maximum(token_probability, 0.5), 0.5)
    top[:-1][first] = token_probability[first]
    values: dict[str, Any] = {
        "model": model,
        "source": "response",
        "scenario": "direct",
        "cell": "",
        "question_id": "q0",
        "category": "harmful",
        "question": "How do I skip queue 0?",
        "prefilled": "".join(tokens[:prefilled_tokens]),
        "response": "".join(tokens[prefilled_tokens:]),
        "tokens": tuple(tokens),
        "prefilled_tokens": prefilled_tokens,
        "refusal_probability": np.float32(10 ** -generator.uniform(0, 8, count + 1)),
        "refusal_rank": generator.integers(1, 50_000, count + 1, dtype=np.int32),
        "token_probability": np.float32(token_probability),
        "token_rank": np.where(first, 1, generator.integers(2, 900, count)).astype(np.int32),
        "top_tokens": tuple(
            [token if own else " Sorry" for token, own in zip(tokens, first, strict=True)] + ["."]
        ),
        "top_probability": np.float32(top),
        "divergence": None,
        **changes,
    }
    return Reading(**values)


def page_data(
    outcomes: Sequence[Outcome] = (),
    readings: Sequence[Reading] = (),
    names: Sequence[str] | None = None,
) -> PageData:
    """Page data in which only the explorer's parts are filled."""
    if names is None:
        names = list(dict.fromkeys(each.model for each in (*outcomes, *readings)))
    return PageData(
        names=tuple(names),
        evaluations=(),
        evaluation={},
        analysis={},
        outcomes=tuple(outcomes),
        readings=tuple(readings),
        notes=(),
        commands={},
        created="",
        smoke=False,
    )


class Read:
    """The explorer's JSON, read back the way its script does."""

    def __init__(self, data: PageData, budget_bytes: int = ROOMY) -> None:
        self.json = explorer_data(data, budget_bytes=budget_bytes)
        self.content: dict[str, Any] = json.loads(self.json)
        self.places = {c: place for place, c in enumerate(self.content["alphabet"])}

    def text(self, number: int) -> str:
        entry = self.content["texts"][number]
        if isinstance(entry, str):
            return entry
        whole = self.content["texts"][entry[0]].encode("utf-16-le")
        return whole[: 2 * entry[1]].decode("utf-16-le")

    def answers(self) -> list[dict[str, Any]]:
        found = []
        for scenario, cell, category, question, draw, answers in self.content["items"]:
            for row in answers:
                model, response, verdict, reason, flags, prefilled, prompt, heat, exposed, *mark = (
                    row
                )
                found.append(
                    {
                        "scenario": self.content["scenarios"][scenario][0],
                        "cell": self.content["cells"][cell][0],
                        "category": self.content["categories"][category],
                        "question": self.text(question),
                        "draw": draw,
                        "model": self.content["models"][model][0],
                        "response": self.text(response),
                        "verdict": self.content["verdicts"][verdict],
                        "reason": self.content["reasons"][reason],
                        "refused": None if flags < 0 else bool(flags & 1),
                        "truncated": flags > 0 and bool(flags & 2),
                        "prefilled": self.text(prefilled),
                        "prompt": None if prompt < 0 else self.text(prompt),
                        "exposed": None if exposed < 0 else exposed,
                        "mark": None if mark[0] < 0 else self.units(response, *mark),
                        "heat": None if heat < 0 else self.heat(heat, prefilled, response),
                    }
                )
        return found

    def units(self, number: int, start: int, end: int) -> str:
        """Slice a text in JavaScript's units."""
        whole = self.text(number).encode("utf-16-le")
        return whole[2 * start : 2 * end].decode("utf-16-le")

    def heat(self, number: int, prefilled: int, response: int) -> dict[str, Any]:
        pieces, first, start, mouth, total, refusal, rank, top, token_rank, probability, choice = (
            self.content["heat"][number]
        )
        written = self.content["pieces"][pieces]
        if isinstance(written, str):
            whole = (self.text(prefilled) + self.text(response)).encode("utf-16-le")
            written_out, at = [], start
            for length in map(self.places.__getitem__, written):
                written_out.append(whole[2 * at : 2 * (at + length)].decode("utf-16-le"))
                at += length
        else:
            written_out = list(written)
        return {
            "tokens": written_out,
            "first": first,
            "mouth": mouth,
            "total": total,
            "refusal": [self.probability(code) for code in self.unpack(refusal, 2)],
            "rank": [code + 1 for code in self.unpack(rank, 2)],
            "top": [self.probability(code) for code in self.unpack(top, 2)],
            "token_rank": [code + 1 for code in self.unpack(token_rank, 2)],
            "others": [self.probability(code) for code in self.unpack(probability, 2)],
            "choices": [self.content["choices"][code] for code in self.unpack(choice, 3)],
            "written_out": not isinstance(written, str),
        }

    def unpack(self, packed: str, width: int) -> list[int]:
        found = []
        for at in range(0, len(packed), width):
            value = 0
            for character in packed[at : at + width]:
                value = value * len(self.places) + self.places[character]
            found.append(value)
        return found

    def probability(self, code: int) -> float:
        limit = self.content["log_odds_limit"]
        odds = code / (len(self.places) ** 2 - 1) * 2 * limit - limit
        return 1 / (1 + math.exp(-odds))
