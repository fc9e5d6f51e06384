"""All figures of an analysis: from outcomes and token readings to JSON-ready values.

Each figure is made by a module of its own; docs/analysis-figures.md defines them. Covered: any
number of models, the same seed gives the same values, what isn't known is None or empty and never
made up. Not covered: where outcomes (`derta.evaluate`) and readings (`derta.analyse_run`) come
from, drawing (`derta.report`). Nothing here needs torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from derta.analysis.by_position import probability_curve, rank_curve
from derta.analysis.correction import corrections
from derta.analysis.detection import detection
from derta.analysis.divergence import divergence
from derta.analysis.exposure import exposures
from derta.analysis.outcomes import Outcome
from derta.analysis.readings import Reading
from derta.analysis.refusal_place import refusal_places
from derta.analysis.selection import generation_limits, of_source, prefilled_answers
from derta.analysis.shares import CURVE_MINIMUM, compare_models, depth_curve
from derta.analysis.stops import stop_curve
from derta.analysis.trade_off import ablation, trade_off

__all__ = ["FIGURES", "SCHEMA", "analyse"]

SCHEMA = "derta/analysis/1"

_SIDES = ("harmful", "benign")


@dataclass(frozen=True, slots=True)
class _Material:
    """What figures are made of."""

    outcomes: Mapping[str, Sequence[Outcome]]
    """By model, in order; a model with readings alone has none."""
    readings: Mapping[str, Mapping[str, Sequence[Reading]]]
    """By model and side, of the held-out texts; only models that have some."""
    evaluation: Mapping[str, Any] | None
    methods: Mapping[str, str]
    seed: int
    minimum: int


def analyse(
    outcomes: Sequence[Outcome],
    readings: Sequence[Reading],
    *,
    evaluation: Mapping[str, Any] | None = None,
    methods: Mapping[str, str] | None = None,
    seed: int | None = None,
    minimum: int | None = None,
    figures: Collection[str] | None = None,
) -> dict[str, Any]:
    """Compute the figures of an analysis.

    Args:
        outcomes: of all models, scenarios and cells.
        readings: of all models; those of the models' own responses enter no figure.
        evaluation: the content of evaluation.json: its order of models, its means, comparisons and
            helpfulness are taken over; None: they are made from the outcomes.
        methods: model -> untouched, vanilla, harmful_prefix, rto, derta or dpo, for the ablation.
        seed: of every bootstrap; None: the evaluation's, else 0.
        minimum: texts or samples that a point of a curve needs; None: the evaluation's, else
            `CURVE_MINIMUM`.
        figures: names of `FIGURES`; None: all of them.

    Returns:
        JSON-ready values, without NaN: "schema", "seed", "minimum", "models", and one entry a
        figure (docs/analysis-figures.md).

    Raises:
        ValueError: there is no such figure, or `minimum` is below 1.
    """
    unknown = set(figures or ()) - set(FIGURES)
    if unknown:
        raise ValueError(f"no figure is called {min(unknown)!r}; there are {', '.join(FIGURES)}")
    settings = (evaluation or {}).get("settings") or {}
    if minimum is None:
        minimum = int(settings.get("minimum_samples", CURVE_MINIMUM))
    if minimum < 1:
        raise ValueError(f"a point of a curve can't need {minimum} samples")
    if seed is None:
        seed = int((evaluation or {}).get("seed", 0))
    names = _names(outcomes, readings, evaluation)
    material = _Material(
        {name: [outcome for outcome in outcomes if outcome.model == name] for name in names},
        _by_side(names, readings),
        evaluation,
        methods or {},
        seed,
        minimum,
    )
    made = {
        name: figure(material)
        for name, figure in FIGURES.items()
        if figures is None or name in figures
    }
    plain: dict[str, Any] = _plain(
        {"schema": SCHEMA, "seed": seed, "minimum": minimum, "models": names, **made}
    )
    return plain


def _names(
    outcomes: Sequence[Outcome],
    readings: Sequence[Reading],
    evaluation: Mapping[str, Any] | None,
) -> list[str]:
    """List the models: those of the evaluation in its order, then all others."""
    subjects = (evaluation or {}).get("subjects") or ()
    found = [str(subject["name"]) for subject in subjects]
    found += [outcome.model for outcome in outcomes]
    found += [reading.model for reading in readings]
    return list(dict.fromkeys(found))


def _by_side(
    names: Sequence[str], readings: Sequence[Reading]
) -> dict[str, dict[str, list[Reading]]]:
    sorted_out = {}
    for name in names:
        own = [reading for reading in readings if reading.model == name]
        sides = {side: of_source(own, side) for side in _SIDES}
        if any(sides.values()):
            sorted_out[name] = sides
    return sorted_out


# --- figures -----------------------------------------------------------------------------------


def _refusal_position(material: _Material) -> Any:
    return {name: refusal_places(found) for name, found in material.outcomes.items()}


def _prefill(material: _Material) -> Any:
    return {
        name: depth_curve(prefilled_answers(found), seed=material.seed, minimum=material.minimum)
        for name, found in material.outcomes.items()
    }


def _correction(material: _Material) -> Any:
    limits = generation_limits(material.evaluation)
    made = {}
    for name, found in material.outcomes.items():
        points = depth_curve(prefilled_answers(found), minimum=material.minimum)["points"]
        depths = [point["k"] for point in points]
        made[name] = corrections(found, depths, limits=limits)
    return made


def _probability(material: _Material) -> Any:
    return _by_model_and_side(
        material,
        lambda found: probability_curve(found, minimum=material.minimum, seed=material.seed),
    )


def _rank(material: _Material) -> Any:
    return _by_model_and_side(material, lambda found: rank_curve(found, minimum=material.minimum))


def _stops(material: _Material) -> Any:
    return _by_model_and_side(material, lambda found: stop_curve(found, minimum=material.minimum))


def _by_model_and_side(
    material: _Material, make: Callable[[Sequence[Reading]], dict[str, Any]]
) -> dict[str, Any]:
    return {
        name: {side: make(found) for side, found in sides.items()}
        for name, sides in material.readings.items()
    }


def _detection(material: _Material) -> Any:
    return {
        name: detection(sides["harmful"], sides["benign"], seed=material.seed)
        for name, sides in material.readings.items()
    }


def _divergence(material: _Material) -> Any:
    made = {
        name: divergence(
            sides["harmful"], sides["benign"], minimum=material.minimum, seed=material.seed
        )
        for name, sides in material.readings.items()
    }
    return {name: entry for name, entry in made.items() if entry is not None}


def _exposure(material: _Material) -> Any:
    return {name: exposures(found, seed=material.seed) for name, found in material.outcomes.items()}


def _trade_off(material: _Material) -> Any:
    return trade_off(material.outcomes, evaluation=material.evaluation)


def _ablation(material: _Material) -> Any:
    if not material.methods:
        return []
    return ablation(
        material.outcomes,
        material.methods,
        evaluation=material.evaluation,
        minimum=material.minimum,
    )


def _differences(material: _Material) -> Any:
    known = (material.evaluation or {}).get("comparisons")
    if known is not None:
        return known
    return [
        {"first": first, "second": second, **entry}
        for first, second in itertools.combinations(material.outcomes, 2)
        for entry in compare_models(material.outcomes[first], material.outcomes[second])
    ]


FIGURES: dict[str, Callable[[_Material], Any]] = {
    "refusal_position": _refusal_position,
    "prefill": _prefill,
    "correction": _correction,
    "probability": _probability,
    "rank": _rank,
    "detection": _detection,
    "stops": _stops,
    "divergence": _divergence,
    "exposure": _exposure,
    "trade_off": _trade_off,
    "ablation": _ablation,
    "differences": _differences,
}
"""By name, in the order of the result."""


def _plain(value: Any) -> Any:
    """Turn numpy's numbers into Python's, and what is no number (NaN, infinity) into None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
