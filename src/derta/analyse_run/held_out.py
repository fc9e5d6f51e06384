"""The texts that every model of an evaluation reads: held-out harmful and benign responses.

Covered: the sample set's test split, as `derta.evaluate.measure` reads it, where the evaluation
asked the sample set's questions; the harmful responses of a user's own file, if it still lies there
unchanged. Not covered: question sets of the hub, which are not asked for again; benign responses
to a user's own questions, which such files don't have.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derta.analysis.readings import Source
from derta.data.questions import load_questions, read_column_options
from derta.errors import DertaError
from derta.evaluate.measure import TestSet
from derta.triple import Conversation

__all__ = ["HeldOut", "held_out_texts"]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A response that is read and not generated."""

    source: Source
    question_id: str
    category: str
    prompt: Conversation
    response: str


def held_out_texts(evaluation: Mapping[str, Any]) -> tuple[list[HeldOut], list[str]]:
    """Find the texts that every model reads; of a smoke run, as few as it asked questions.

    Args:
        evaluation: the content of evaluation.json.

    Returns:
        Harmful responses, then benign ones; and what is missing, in words.
    """
    settings = evaluation["settings"]
    smoke = evaluation.get("budget") == "smoke"
    asked = [str(each["name"]) for each in evaluation["questions"]]
    texts: list[HeldOut] = []
    notes: list[str] = []
    if asked[0] == "sample":
        test = TestSet.sample("test", settings.get("questions") if smoke else None)
        texts += [
            HeldOut("harmful", row.id, "harmful", row.triple.prompt, row.triple.harmful_response)
            for row in test.triples
        ]
    else:
        own, problem = _of_file(evaluation)
        texts += own
        if problem:
            notes.append(f"No harmful responses are read that all models share: {problem}")
    if asked[-1] == "sample-benign":
        test = TestSet.sample("test", settings.get("benign_questions") if smoke else None)
        texts += [
            HeldOut("benign", row.id, row.category, row.example.prompt, row.example.response)
            for row in test.helpful
        ]
    else:
        notes.append(
            f"No benign responses are read: {asked[-1]} has questions only. False stops and the "
            "ROC curve need some; evaluate with --benign sample-benign for them"
        )
    return texts, notes


def _of_file(evaluation: Mapping[str, Any]) -> tuple[list[HeldOut], str | None]:
    """Read a user's questions again; the harmful responses of the very same ones, or why not."""
    about, settings = evaluation["questions"][0], evaluation["settings"]
    name = str(about["name"])
    if not Path(name).expanduser().is_file():
        return [], f"{name} is no file that lies here"
    try:
        columns = read_column_options(_column_options(str(evaluation.get("command", ""))), None)
        found = load_questions(
            name,
            columns=columns or None,
            limit=settings.get("questions"),
            seed=int(settings.get("seed", 0)),
        )
    except DertaError as error:
        return [], f"{name} can't be read again ({str(error).splitlines()[0]})"
    if found.content_hash != about.get("sha256"):
        return [], f"{name} has other questions now than were asked"
    texts = [
        HeldOut("harmful", each.id, "harmful", Conversation.from_text(each.text), text)
        for each in found.questions
        if (text := each.harmful_response) is not None
    ]
    return texts, None if texts else f"{name} has no column harmful_response"


def _column_options(command: str) -> list[str]:
    """Find what columns were called in the command that evaluated."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    options = [word.removeprefix("--column=") for word in words if word.startswith("--column=")]
    pairs = itertools.pairwise(words)
    return options + [after for word, after in pairs if word == "--column"]
