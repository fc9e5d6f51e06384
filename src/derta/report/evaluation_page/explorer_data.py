"""What the explorer shows, as JSON: every response, side by side by question, and token readings.

An *item* is one question in one setting of one scenario (and one draw of it), with an answer of
each model. The texts that every model reads are scenarios of their own. What the page has no room
for is left out in fixed steps, from heat maps to texts to questions, and said. Covered: outcomes
and readings of any number of models. Not covered: drawing it (`explorer.js`), its frame
(`explorer`). Every text goes through `visible_text`: nothing in the JSON acts unseen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from derta.analysis.outcomes import Outcome
from derta.analysis.readings import Reading
from derta.analysis.shares import HARMFUL
from derta.evaluate.titles import TITLES
from derta.files import utf8_text
from derta.refusal import find_refusal
from derta.report.evaluation_page.explorer_heat import HeatRows
from derta.report.evaluation_page.explorer_texts import Numbers, Texts, utf16_length
from derta.report.evaluation_page.explorer_words import (
    READ_BENIGN,
    READ_HARMFUL,
    cell_words,
    scenario_summary,
    scenario_title,
)
from derta.report.evaluation_page.printed import shortened
from derta.report.figures import count_text
from derta.report.markup import visible_text

if TYPE_CHECKING:
    from derta.report.evaluation_page.collect import PageData

__all__ = ["NOT_JUDGED", "Answer", "Item", "Limits", "collect_items", "items_json",
           "responses_json"]  # fmt: skip

NOT_JUDGED = "NOT_JUDGED"
"""In the place of a verdict: a harmless question, or a text that was only read."""

_VERDICTS = ("UNSAFE", "SAFE", "UNREADABLE", "ERROR", NOT_JUDGED)
_LONGEST_REASON = 400
"""An error's reason may hold a whole traceback."""
_REFUSAL_CHARACTERS = 2000
"""No refusal sentence is searched for beyond so many characters of its beginning."""
_REFUSED, _TRUNCATED = 1, 2
_NOTHING = -1


@dataclass(slots=True)
class Answer:
    """What one model has to an item."""

    model: str
    response: str
    prefilled: str = ""
    prompt: str | None = None
    """None: just the question."""
    verdict: str = NOT_JUDGED
    reason: str = ""
    refused: bool | None = None
    """None: the model wrote nothing here."""
    truncated: bool = False
    exposed_words: int | None = None
    refusal_start: int | None = None
    people: str = ""
    """UNSAFE or SAFE, as people say; empty where they don't say."""
    reading: Reading | None = None


@dataclass(slots=True)
class Item:
    """One question in one setting, with the answers of all models that have one."""

    scenario: str
    cell: str
    category: str
    question_id: str
    question: str
    draw: int
    """Of several answers to the same, which; 0 the first."""
    answers: list[Answer] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept; None: all."""

    heat_maps: int | None = None
    """Items of a scenario that have them; their texts are whole."""
    mouth_tokens: int | None = None
    """Of a heat map, the last so many tokens that were put into the mouth."""
    characters: int | None = None
    """Of a text whose item has no heat map."""
    items: int | None = None
    """Of a scenario."""


_STEPS = (
    Limits(),
    Limits(40),
    Limits(40, 200),
    Limits(20, 200),
    Limits(10, 200),
    Limits(10, 200, 20_000),
    Limits(10, 200, 5_000),
    Limits(5, 100, 2_000),
    Limits(5, 100, 1_000),
    Limits(3, 100, 500),
    Limits(3, 100, 250),
    Limits(3, 100, 250, 200),
    Limits(2, 100, 250, 100),
    Limits(1, 50, 250, 40),
    Limits(0, 0, 250, 10),
    Limits(0, 0, 100, 5),
    Limits(0, 0, 40, 1),
)


def responses_json(data: PageData, *, budget_bytes: int) -> str:
    """Write all that the explorer shows, in the first form that is small enough.

    Args:
        data: of the page.
        budget_bytes: of the JSON in UTF-8; the last step may be larger.
    """
    items = collect_items(data.outcomes, data.readings, data.people_verdicts)
    looks = {name: data.looks[name].key for name in data.names}
    text = ""
    for limits in _STEPS:
        text = items_json(items, looks, limits)
        if len(text.encode("utf-8")) <= budget_bytes:
            break
    return text


# --- items -----------------------------------------------------------------------------------


def collect_items(
    outcomes: Sequence[Outcome],
    readings: Sequence[Reading],
    people: Mapping[tuple[str, ...], str] | None = None,
) -> list[Item]:
    """Put the answers to the same question in the same setting side by side.

    Args:
        outcomes: of all models.
        readings: likewise.
        people: what people say, by model, scenario, cell, question_id and response.

    Returns:
        In the order of the table's scenarios, then of the outcomes; texts that all models read
        come last.
    """
    own: dict[tuple[str, ...], Reading] = {}
    items: dict[tuple[Any, ...], Item] = {}
    for reading in readings:
        if reading.source == "response":
            own[_reading_key(reading)] = reading
            continue
        scenario = READ_HARMFUL if reading.source == "harmful" else READ_BENIGN
        key = (scenario, reading.question_id, reading.question, reading.response)
        item = items.get(key)
        if item is None:
            item = Item(
                scenario, "", reading.category, reading.question_id, reading.question, draw=0
            )
            items[key] = item
        item.answers.append(Answer(reading.model, reading.response, reading=reading))
    drawn: Counter[tuple[str, ...]] = Counter()
    for outcome in outcomes:
        place = (outcome.scenario, outcome.cell, outcome.question_id, outcome.question)
        draw = drawn[outcome.model, *place]
        drawn[outcome.model, *place] += 1
        item = items.get((*place, draw))
        if item is None:
            item = Item(
                outcome.scenario,
                outcome.cell,
                outcome.category,
                outcome.question_id,
                outcome.question,
                draw,
            )
            items[(*place, draw)] = item
        # As `derta.review` keeps texts: without halves of surrogates.
        said = (people or {}).get((outcome.model, *place[:3], utf8_text(outcome.response)), "")
        item.answers.append(_answer(outcome, own.get(_reading_key(outcome)), said))
    names = dict.fromkeys([*TITLES, *(item.scenario for item in items.values())])
    for name in (READ_HARMFUL, READ_BENIGN):
        names.pop(name, None)
    places = {name: place for place, name in enumerate([*names, READ_HARMFUL, READ_BENIGN])}
    return sorted(items.values(), key=lambda item: places[item.scenario])


def _reading_key(each: Outcome | Reading) -> tuple[str, ...]:
    # A file of readings has no halves of surrogates.
    texts = (
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for text in (each.prefilled, each.response)
    )
    return (each.model, each.scenario, each.cell, each.question_id, *texts)


def _answer(outcome: Outcome, reading: Reading | None, people: str) -> Answer:
    judged = outcome.category == HARMFUL or outcome.verdict not in ("SAFE", "UNSAFE")
    return Answer(
        model=outcome.model,
        response=outcome.response,
        prefilled=outcome.prefilled,
        prompt=None if outcome.prompt == outcome.question else outcome.prompt,
        verdict=outcome.verdict if judged else NOT_JUDGED,
        reason=outcome.reason[:_LONGEST_REASON] if judged else "",
        refused=None if outcome.verdict == "ERROR" else outcome.refused,
        truncated=outcome.truncated,
        exposed_words=outcome.exposed_words,
        refusal_start=outcome.refusal_start,
        people=people,
        reading=reading,
    )


# --- JSON ------------------------------------------------------------------------------------


def items_json(items: Sequence[Item], looks: Mapping[str, str], limits: Limits) -> str:
    """Write items within limits, as JSON that can't end the script element that it stands in.

    Args:
        items: of `collect_items`.
        looks: model -> the class of its colour, in the order of the page.
        limits: what is kept.
    """
    kept = _kept_items(items, limits.items)
    texts = Texts(limits.characters)
    heat = HeatRows(limits.mouth_tokens)
    with_heat = _chosen(kept, limits.heat_maps)
    model_numbers = {name: number for number, name in enumerate(looks)}
    scenarios, cells, reasons = Numbers[str](), Numbers[str](), Numbers[str]()
    categories = Numbers[str]()
    reasons.add("")
    rows = []
    for item in kept:
        answers = []
        whole = id(item) in with_heat
        for answer in sorted(item.answers, key=lambda a: model_numbers.get(a.model, 0)):
            answers.append(
                [
                    model_numbers.get(answer.model, 0),
                    texts.add(answer.response, whole=whole),
                    _verdict(answer.verdict),
                    reasons.add(visible_text(answer.reason)),
                    _flags(answer),
                    texts.add(answer.prefilled, whole=whole),
                    _NOTHING if answer.prompt is None else texts.add(answer.prompt),
                    heat.add(answer.reading, answer.prefilled, answer.response)
                    if answer.reading is not None and whole
                    else _NOTHING,
                    _NOTHING if answer.exposed_words is None else answer.exposed_words,
                    *_mark(answer, None if whole else limits.characters),
                    *([_verdict(answer.people)] if answer.people else []),
                ]
            )
        rows.append(
            [
                scenarios.add(item.scenario),
                cells.add(item.cell),
                categories.add(item.category),
                texts.add(item.question),
                item.draw,
                answers,
            ]
        )
    content = {
        "models": [[visible_text(name), look, shortened(name)] for name, look in looks.items()],
        "scenarios": [
            [visible_text(name), scenario_title(name), scenario_summary(name)]
            for name in scenarios.values()
        ],
        "cells": [[visible_text(cell), cell_words(cell)] for cell in cells.values()],
        "categories": [visible_text(category) for category in categories.values()],
        "verdicts": list(_VERDICTS),
        "reasons": reasons.values(),
        "texts": texts.rows(),
        "left_out": texts.left_out(),
        "items": rows,
        **heat.tables(),
        "read": sum(answer.reading is not None for item in items for answer in item.answers),
        "notes": _notes(items, kept, heat, texts, limits),
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):04x}", text)


def _verdict(verdict: str) -> int:
    return _VERDICTS.index(verdict if verdict in _VERDICTS else "UNREADABLE")


def _flags(answer: Answer) -> int:
    if answer.refused is None:
        return _NOTHING
    return _REFUSED * answer.refused + _TRUNCATED * answer.truncated


def _mark(answer: Answer, longest: int | None) -> tuple[int, int]:
    """Find the refusal sentence in a response as it is shown: where it begins and ends.

    Returns:
        JavaScript's units; (-1, -1): there is none, or it was cut away.
    """
    start = answer.refusal_start
    text = answer.response
    if start is None and answer.refused:  # an outcomes.jsonl of before it was written down
        span = find_refusal(text[:_REFUSAL_CHARACTERS])
        start = None if span is None else span.start
    if start is None or not 0 <= start < len(text):
        return _NOTHING, _NOTHING
    window = text[start : start + _REFUSAL_CHARACTERS]
    span = find_refusal(window)
    if span is not None and span.start == 0:
        length = span.end
    else:  # in another language: up to the end of the sentence or line
        end = re.search(r"[.!?](?=\s|$)|[\u3002\uff01\uff1f]|\n", window)
        length = len(window) if end is None else end.end()
    end_at = start + length
    if longest is not None:
        end_at = min(end_at, longest)
    if start >= end_at:
        return _NOTHING, _NOTHING
    before = utf16_length(visible_text(text[:start]))
    return before, before + utf16_length(visible_text(text[start:end_at]))


# --- what is kept ----------------------------------------------------------------------------


def _kept_items(items: Sequence[Item], most: int | None) -> list[Item]:
    """Keep at most so many items of each scenario, the same questions in all settings first."""
    if most is None:
        return list(items)
    kept = {id(item) for found in _by_scenario(items).values() for item in found[:most]}
    return [item for item in items if id(item) in kept]


def _chosen(items: Sequence[Item], most: int | None) -> set[int]:
    """Choose the items of each scenario that have heat maps, for all models alike."""
    read = [item for item in items if any(answer.reading for answer in item.answers)]
    return {id(item) for found in _by_scenario(read).values() for item in found[:most]}


def _by_scenario(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Order each scenario's items: those that most models were read on, then a stable draw."""
    found: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        found[item.scenario].append(item)
    return {name: sorted(part, key=_rank) for name, part in found.items()}


def _rank(item: Item) -> tuple[int, str]:
    key = "\0".join((item.question_id, item.question, item.cell, str(item.draw)))
    drawn = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return -sum(answer.reading is not None for answer in item.answers), drawn


def _notes(
    items: Sequence[Item], kept: Sequence[Item], heat: HeatRows, texts: Texts, limits: Limits
) -> list[str]:
    """Say what was left out, one sentence each; none where all is there."""
    notes = []
    read = sum(answer.reading is not None for item in items for answer in item.answers)
    if len(heat.rows) < read:
        notes.append(
            f"To keep the page small, {count_text(len(heat.rows))} of {count_text(read)} heat maps "
            "are on it. The others are in the run's folder, under analysis."
        )
    if heat.shortened:
        notes.append(
            f"In {count_text(heat.shortened)} heat maps only the last {limits.mouth_tokens} tokens "
            "of what was put into the mouth are shown."
        )
    cut = len(texts.left_out())
    if cut:
        notes.append(
            f"{count_text(cut)} texts were cut after {count_text(limits.characters)} characters; "
            "each says how many were left out. All of them are in outcomes.jsonl."
        )
    if len(kept) < len(items):
        notes.append(
            f"{count_text(len(kept))} of {count_text(len(items))} questions and settings are on "
            "this page. All of them are in outcomes.jsonl."
        )
    return notes
