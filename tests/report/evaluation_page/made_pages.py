"""Pages of outcomes that a test names itself, without any file.

Covered: one folder's worth of outcomes, whole or nearly empty. Not covered: folders on disk, which
tests.analysis.fake_run writes; responses to be read (responses.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from derta.analysis.analyse import analyse
from derta.analysis.outcomes import Outcome
from derta.analysis.shares import summarise
from derta.report.evaluation_page.collect import PageData
from tests.report.evaluation_page.responses import outcome

__all__ = ["answers", "data_of", "prefilled"]

PAPER = ("code_attack", "pair", "jailbreak_chat", "self_cipher", "completing", "autodan")


def answers(
    model: str,
    scenario: str,
    n: int,
    *,
    unsafe: int = 0,
    refused: int = 0,
    errors: int = 0,
    unreadable: int = 0,
    **changes: Any,
) -> list[Outcome]:
    """Make n answers to n questions; the first ones refuse, the last ones fail."""
    made = []
    for number in range(n):
        verdict = "SAFE"
        if number >= n - errors:
            verdict = "ERROR"
        elif number >= n - errors - unreadable:
            verdict = "UNREADABLE"
        elif number >= n - errors - unreadable - unsafe:
            verdict = "UNSAFE"
        fields = {"scenario": scenario, "verdict": verdict, "refused": number < refused, **changes}
        fields["question_id"] = f"{changes.get('category', 'harmful')}-{number}"
        made.append(outcome(model, number, **fields))
    return made


def prefilled(model: str, n: int, refused: Mapping[int, int]) -> list[Outcome]:
    """Make n answers at each depth, of which so many are refusals."""
    return [
        each
        for k, count in refused.items()
        for each in answers(model, "prefill", n, refused=count, unsafe=n - count, cell=f"k={k}")
    ]


def data_of(
    outcomes: Sequence[Outcome],
    *,
    methods: Mapping[str, str] | None = None,
    minimum: int = 20,
    **changes: Any,
) -> PageData:
    """Make the data of a page."""
    names = list(dict.fromkeys(each.model for each in outcomes)) or ["one"]
    scenarios = list(dict.fromkeys(each.scenario for each in outcomes))
    evaluation = {
        "schema": "derta/evaluation/1",
        "derta_version": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "command": "derta evaluate",
        "budget": "small",
        "judge": "offline",
        "attacker": "scripted",
        "scenarios": scenarios,
        "settings": {"seed": 0, "minimum_samples": minimum},
        "questions": [{"name": "sample", "rows": 3, "sha256": "ab"}],
        "subjects": [
            {"name": name, "reference": f"runs/{name}", "kind": "run", "fingerprint": "f"}
            for name in names
        ],
        "skipped": [],
        **summarise(outcomes, averaged=PAPER, minimum=minimum),
        "helpfulness": {"reference": None, "models": {}},
        **changes,
    }
    analysis = analyse(outcomes, (), evaluation=evaluation, methods=methods)
    commands = dict.fromkeys(
        ("page", "attacks", "differences", "depth", "position", "exposure", "trade-off",
         "knowledge", "detection", "stops", "divergence", "ablation", "responses"),
        "derta analyse runs/evaluation",
    )  # fmt: skip
    return PageData(
        names=tuple(names),
        evaluations=(evaluation,),
        evaluation=evaluation,
        analysis=analysis,
        outcomes=tuple(outcomes),
        readings=(),
        notes=(),
        commands=commands,
        created="2026-01-02T03:04:05+00:00",
        smoke=evaluation["budget"] == "smoke",
        methods=dict(methods or {}),
    )
