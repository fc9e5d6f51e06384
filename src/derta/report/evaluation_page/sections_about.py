"""Sections about the report itself: what is missing, how it was measured, what is not in it.

Covered: errors and unreadable answers counted apart, scenarios that were left out and why, judge,
seed, settings, questions and versions. Not covered: the judge's errors on these answers; its known
error is on labelled ones (docs/judge.md).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from derta.evaluate.titles import TITLES
from derta.report.evaluation_page.collect import FROM_READINGS, PageData
from derta.report.evaluation_page.copyable import Cell
from derta.report.evaluation_page.layout import Shelf, name_cell, see
from derta.report.evaluation_page.printed import Key
from derta.report.evaluation_page.sections_cost import METHOD_TITLES
from derta.report.markup import Child, Markup, element
from derta.report.parts import details, section

__all__ = ["OFFLINE_ERROR", "absent_section", "measured_section", "missing_section"]

OFFLINE_ERROR = (
    "The offline judge is a set of rules about form. On 265 labelled answers that it was scored on "
    "once, its precision of UNSAFE was 0.784 (95\N{NO-BREAK SPACE}% interval 0.701 to 0.850) and "
    "its recall 0.883 (0.807 to 0.932): rates over many answers are more right than single "
    "verdicts. docs/judge.md says what it misreads."
)
_OTHER_JUDGE = (
    "How far to trust this judge is not known here; docs/judge.md says how to hold a judge against "
    "labelled answers."
)
_PEOPLE = (
    " People judged a part of these very answers: how far to trust it here is said under “What "
    "people say”."
)
_TITLES = {
    "attacks": "attacks on the model",
    "differences": "differences between two models",
    "depth": "how deep the refusal reaches",
    "position": "where refusals begin",
    "knowledge": "probability and rank of the refusal token by position",
    "detection": "telling harm from harmless text (ROC)",
    "stops": "where a model would stop, rightly and wrongly",
    "divergence": "how deep the change goes",
    "exposure": "how much got out before the refusal",
    "trade-off": "safety against what it costs",
    "ablation": "training methods beside each other",
}


# --- what is missing -------------------------------------------------------------------------


def missing_section(data: PageData, shelf: Shelf) -> Markup:
    """List answers without a verdict, what was skipped, and points with too few samples."""
    problems = shelf.table(
        "missing-answers",
        "Answers without a verdict: neither safe nor unsafe, and in no share of harmful help. "
        "Errors are in no other share either; unreadable answers are in those of refusals, which "
        "fixed rules find",
        ["Model", "Scenario", "Errors", "Unreadable", "Of all answers"],
        _problem_rows(data),
        left=(0, 1),
    )
    skipped = shelf.table(
        "missing-scenarios",
        "Scenarios that were left out",
        ["Model", "Scenario", "Why"],
        _skipped_rows(data),
        left=(0, 1, 2),
    )
    depths = shelf.table(
        "missing-depths",
        "Depths that too few answers reach: not drawn",
        ["Model", "Scenario", "Tokens put into its mouth", "Answers"],
        _left_out_rows(data),
        left=(0, 1),
    )
    unread = shelf.table(
        "missing-exposure",
        "Answers whose words of substance can’t be counted, because the rules don’t read their "
        "language",
        ["Model", "Answers"],
        _uncounted_rows(data),
    )
    parts = [part for part in (problems, skipped, depths, unread) if part is not None]
    if not parts:
        return section("missing", "What is missing", see("Nothing: every answer has a verdict."))
    return section(
        "missing",
        "What is missing",
        see("What failed or was left out is counted here and never as safe."),
        parts,
    )


def _problem_rows(data: PageData) -> Iterator[list[Cell]]:
    for name in data.names:
        model = data.printer.find("evaluation", "models", name) or {}
        for scenario, entry in (model.get("scenarios") or {}).items():
            if entry["all"]["errors"] or entry["all"]["unreadable"]:
                keys: tuple[Key, ...] = ("evaluation", "models", name, "scenarios", scenario, "all")
                counts = [
                    data.printer.count(*keys, kind) for kind in ("errors", "unreadable", "n_all")
                ]
                yield [name_cell(data, name), Cell.of(TITLES.get(scenario, scenario)), *counts]
        for scenario, found in (model.get("false_refusals") or {}).items():
            for category, entry in found.items():
                if entry["errors"]:
                    keys = ("evaluation", "models", name, "false_refusals", scenario, category)
                    title = f"{TITLES.get(scenario, scenario)}, {category}"
                    yield [
                        name_cell(data, name),
                        Cell.of(title),
                        data.printer.count(*keys, "errors"),
                        Cell.of("not judged"),
                        Cell.of(""),
                    ]


def _skipped_rows(data: PageData) -> Iterator[list[Cell]]:
    for index, each in enumerate(data.evaluation["skipped"]):
        scenario = str(each["scenario"])
        yield [
            name_cell(data, each["model"]) if each["model"] in data.names else Cell.of("?"),
            Cell.of(TITLES.get(scenario, scenario)),
            data.printer.text("evaluation", "skipped", index, "reason"),
        ]


def _left_out_rows(data: PageData) -> Iterator[list[Cell]]:
    for name in data.names:
        model = data.printer.find("evaluation", "models", name) or {}
        for scenario, entry in (model.get("scenarios") or {}).items():
            for index in range(len(entry.get("curve", {}).get("left_out", []))):
                keys: tuple[Key, ...] = (
                    *("evaluation", "models", name, "scenarios", scenario),
                    *("curve", "left_out", index),
                )
                yield [
                    name_cell(data, name),
                    Cell.of(TITLES.get(scenario, scenario)),
                    data.printer.count(*keys, "k"),
                    data.printer.count(*keys, "n_all"),
                ]


def _uncounted_rows(data: PageData) -> Iterator[list[Cell]]:
    for name in data.names:
        keys: tuple[Key, ...] = ("analysis", "exposure", name, "all", "left_out")
        if data.printer.find(*keys):
            yield [name_cell(data, name), data.printer.count(*keys)]


# --- how it was measured ---------------------------------------------------------------------


def measured_section(data: PageData, shelf: Shelf) -> Markup:
    """Say on what, by whom and with which settings it was measured, and how to do it again."""
    evaluation = data.evaluation
    judge = str(evaluation["judge"])
    said: list[Child] = [
        "Verdicts are by the judge ",
        data.printer.text("evaluation", "judge").shown,
        ". ",
        OFFLINE_ERROR if judge == "offline" else "" if data.people else _OTHER_JUDGE,
        _PEOPLE if data.people else "",
    ]
    attacker = evaluation.get("attacker")
    scripted = attacker == "scripted" and "pair" in evaluation["scenarios"]
    return section(
        "measured",
        "How it was measured",
        element("p", said),
        element(
            "p",
            "Answers are decoded greedily, but for the scenario that draws. Intervals cover the "
            "choice of questions alone: not the seed of the training, the judge’s errors, or an "
            "attacker with more time. Where a question has several answers, they count for as "
            "many as they are worth: fewer, the more they agree.",
        ),
        element("p", "PAIR’s attacker is a script, weaker than a model’s.") if scripted else None,
        element("h3", "Do it again"),
        element("pre", element("code", _all_commands(data))),
        element("h3", "Models"),
        shelf.table(
            "measured-models",
            "Models as they were named, and the fingerprints of their weights",
            ["Model", "Named", "Kind", "Trained by", "Fingerprint", "Seconds"],
            _model_rows(data),
            left=(0, 1, 2, 3, 4),
        ),
        element("h3", "Questions"),
        shelf.table(
            "measured-questions",
            "Questions, and the hash of their content",
            ["Set", "Rows", "SHA-256"],
            _question_rows(data),
            left=(0, 2),
        ),
        details(
            "All settings",
            shelf.table(
                "measured-settings",
                "Settings and versions",
                ["Setting", "Value"],
                _setting_rows(data),
                left=(0, 1),
            ),
        ),
    )


def _all_commands(data: PageData) -> str:
    """List every command once, in the order in which they are run."""
    lines = [line for command in data.commands.values() for line in command.split("\n") if line]
    page = data.commands.get("page", "")
    return "\n".join([*dict.fromkeys(line for line in lines if line != page), page])


def _model_rows(data: PageData) -> Iterator[list[Cell]]:
    for index, subject in enumerate(data.evaluation["subjects"]):
        keys: tuple[Key, ...] = ("evaluation", "subjects", index)
        method = data.methods.get(subject["name"])
        yield [
            name_cell(data, subject["name"]),
            data.printer.text(*keys, "reference"),
            data.printer.text(*keys, "kind"),
            Cell.of(METHOD_TITLES.get(method, method) if method else "not known"),
            data.printer.text(*keys, "fingerprint"),
            data.printer.number(*keys, "seconds", decimals=1),
        ]


def _question_rows(data: PageData) -> Iterator[list[Cell]]:
    for index in range(len(data.evaluation["questions"])):
        keys: tuple[Key, ...] = ("evaluation", "questions", index)
        yield [
            data.printer.text(*keys, "name"),
            data.printer.count(*keys, "rows"),
            data.printer.text(*keys, "sha256"),
        ]


def _setting_rows(data: PageData) -> Iterator[list[Cell]]:
    for key in ("created", "derta_version", "budget", "judge", "attacker", "seed", "machine"):
        for keys in _leaves(data.evaluation.get(key), (key,)):
            yield [_key_cell(keys), data.printer.text("evaluation", *keys)]
    for keys in _leaves(data.evaluation["settings"], ("settings",)):
        yield [_key_cell(keys[1:]), data.printer.text("evaluation", *keys)]


def _key_cell(keys: Sequence[Key]) -> Cell:
    return Cell.of(".".join(map(str, keys)).replace("_version", " version"))


def _leaves(value: Any, keys: tuple[Key, ...]) -> Iterator[tuple[Key, ...]]:
    """List the paths of all settings; one that isn't there has none."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, (*keys, str(key)))
    elif value is not None:
        yield keys


# --- what is not in it -----------------------------------------------------------------------


def absent_section(data: PageData, shown: Sequence[str]) -> Markup | None:
    """Name the sections that there are no figures for, and the command that would add each.

    Args:
        data: the page's.
        shown: identifiers of the sections on the page.
    """
    items = [
        element("li", title, ": ", _remedy(data, identifier))
        for identifier, title in _TITLES.items()
        if identifier not in shown
    ]
    if not items:
        return None
    return section("absent", "Not in this report", element("ul", items))


def _remedy(data: PageData, identifier: str) -> list[Child]:
    if identifier in FROM_READINGS:
        return [element("code", command) for command in _lines(data.commands[identifier])]
    if identifier == "differences":
        return ["name two models in one evaluation"]
    if identifier == "ablation":
        return ["needs models trained by different methods, in run folders of derta; ",
                *_codes(data.commands["knowledge"])]  # fmt: skip
    if identifier in ("position", "exposure"):
        reason = "no refusal is known" if identifier == "position" else "not counted yet"
        return [f"{reason}; the same command adds it to older files: ",
                *_codes(data.commands[identifier])]  # fmt: skip
    scenarios = {"depth": ["prefill"], "attacks": ["paper", "benign"]}.get(
        identifier, ["paper", "benign", "helpfulness"]
    )
    references = [str(each.get("reference", each["name"])) for each in data.evaluation["subjects"]]
    command = ["derta", "evaluate", *references, "--scenarios", *scenarios]
    return [element("code", shlex.join(command))]


def _codes(command: str) -> list[Child]:
    return [element("code", line) for line in _lines(command)]


def _lines(command: str) -> list[str]:
    return [line for line in command.split("\n") if line]
