"""Which of a model's own outputs are read token by token: some of each scenario, drawn by a hash.

The draw depends on nothing but scenario, cell and question, so that all models' outputs to one
question stand side by side, and that more outputs include the fewer. Covered: outcomes of any
scenario that asked the model itself. Not covered: fine-tuning, whose answers come from a changed
copy of the weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from derta.analysis.outcomes import ERROR, Outcome
from derta.evaluate.weight_attacks import FINE_TUNING
from derta.files import digest

__all__ = ["choose_outcomes"]


def choose_outcomes(outcomes: Sequence[Outcome], count: int) -> dict[str, list[Outcome]]:
    """Choose up to `count` outcomes of each model and scenario.

    The cells of a scenario (depths, languages) take turns, each beginning with the same questions;
    questions that every model answered come first.

    Args:
        outcomes: of all models.
        count: a scenario and model.

    Returns:
        By model, in the order of `outcomes`.
    """
    models = list(dict.fromkeys(outcome.model for outcome in outcomes))
    answered: dict[tuple[str, str, str], dict[str, Outcome]] = defaultdict(dict)
    for outcome in outcomes:
        if outcome.verdict != ERROR and outcome.scenario != FINE_TUNING:
            key = (outcome.scenario, outcome.cell, outcome.question_id)
            answered[key][outcome.model] = outcome
    cells: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for scenario, cell, question in answered:
        cells[scenario][cell].append(question)
    chosen: dict[str, list[Outcome]] = {model: [] for model in models}
    for scenario, by_cell in cells.items():
        for cell, questions in by_cell.items():
            by_all = {
                question: len(answered[scenario, cell, question]) == len(models)
                for question in questions
            }
            questions.sort(key=digest)
            questions.sort(key=by_all.__getitem__, reverse=True)
        turns = [
            (scenario, cell, questions[turn])
            for turn in range(max(map(len, by_cell.values())))
            for cell, questions in by_cell.items()
            if turn < len(questions)
        ]
        for model in models:
            found = [answered[key][model] for key in turns if model in answered[key]]
            chosen[model] += found[:count]
    places = {id(outcome): place for place, outcome in enumerate(outcomes)}
    return {
        model: sorted(found, key=lambda outcome: places[id(outcome)])
        for model, found in chosen.items()
    }
