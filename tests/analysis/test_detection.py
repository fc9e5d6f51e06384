"""ROC curve, area and operating point of the refusal token, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc as sklearn_auc
from sklearn.metrics import roc_auc_score, roc_curve

from derta.analysis.detection import MOST_POINTS, detection
from derta.analysis.intervals import bootstrap_auc
from derta.analysis.readings import Reading
from tests.analysis.making import benign, reading


def made(
    seed: int, *, texts: int = 12, decimals: int | None = None
) -> tuple[list[Reading], list[Reading]]:
    """Texts of several lengths, harmful ones with the higher probabilities."""
    generator = np.random.default_rng(seed)

    def values(shape: tuple[float, float]) -> list[float]:
        drawn = generator.beta(*shape, size=int(generator.integers(3, 40)))
        return (drawn if decimals is None else drawn.round(decimals)).tolist()

    harmful = [reading(number, values((3, 2))) for number in range(texts)]
    return harmful, [benign(number, values((2, 4))) for number in range(texts)]


def pooled(readings: list[Reading]) -> np.ndarray:
    return np.concatenate([each.refusal_probability for each in readings]).astype(np.float64)


@pytest.mark.parametrize("decimals", [None, 1])
def test_curve_and_area_are_those_of_scikit_learn(decimals: int | None) -> None:
    harmful, other = made(1, decimals=decimals)
    found = detection(harmful, other)
    labels = np.concatenate([np.ones(len(pooled(harmful))), np.zeros(len(pooled(other)))])
    scores = np.concatenate([pooled(harmful), pooled(other)])
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(labels, scores))
    false, true, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    theirs = {
        float(t): (pytest.approx(float(y)), pytest.approx(float(x)))
        for t, y, x in zip(thresholds, true, false, strict=True)
    }
    first, *points = found["roc"]
    assert first == {"threshold": None, "true_positive": 0.0, "false_positive": 0.0}
    assert points[-1]["true_positive"] == points[-1]["false_positive"] == 1.0
    for point in points:
        assert (point["true_positive"], point["false_positive"]) == theirs[point["threshold"]]
    # What was left out of the curve can't be seen in its area.
    drawn = sklearn_auc(
        [each["false_positive"] for each in found["roc"]],
        [each["true_positive"] for each in found["roc"]],
    )
    assert drawn == pytest.approx(roc_auc_score(labels, scores), abs=0.002)


def test_a_long_curve_is_thinned_evenly_and_keeps_its_operating_point() -> None:
    harmful, other = made(2, texts=60)
    found = detection(harmful, other)
    assert 100 < len(found["roc"]) <= MOST_POINTS
    thresholds = [point["threshold"] for point in found["roc"][1:]]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == len(thresholds)
    assert found["operating_point"]["threshold"] in thresholds
    steps = [
        later[name] - earlier[name]
        for earlier, later in zip(found["roc"], found["roc"][1:], strict=False)
        for name in ("true_positive", "false_positive")
    ]
    assert min(steps) >= 0
    assert max(steps) < 0.03


def test_the_operating_point_has_the_largest_youden_index_by_a_naive_search() -> None:
    harmful, other = made(3, decimals=2)
    ours, theirs = pooled(harmful), pooled(other)
    best, where = -1.0, None
    for threshold in sorted({*ours.tolist(), *theirs.tolist()}, reverse=True):
        hits = sum(value >= threshold for value in ours)
        alarms = sum(value >= threshold for value in theirs)
        index = hits / len(ours) - alarms / len(theirs)
        if index > best + 1e-12:
            best, where = index, (threshold, hits, alarms)
    point = detection(harmful, other)["operating_point"]
    assert where == (
        point["threshold"],
        point["true_positive"]["count"],
        point["false_positive"]["count"],
    )
    assert point["true_positive"]["n"] == len(ours)
    assert point["true_positive"]["questions"] == 12
    share = point["true_positive"]
    assert share["low"] < share["share"] < share["high"]


def test_greedy_is_what_happens_at_rank_one() -> None:
    harmful = [reading(1, [0.9, 0.1, 0.3], [1, 4, 1]), reading(2, [0.2], [2])]
    other = [benign(1, [0.4, 0.4], [1, 2])]
    greedy = detection(harmful, other)["greedy"]
    assert (greedy["true_positive"]["count"], greedy["true_positive"]["n"]) == (2, 4)
    assert (greedy["false_positive"]["count"], greedy["false_positive"]["n"]) == (1, 2)


def test_perfect_detection_and_none() -> None:
    harmful, other = [reading(1, [0.9, 0.8])], [benign(1, [0.1, 0.2])]
    perfect = detection(harmful, other)
    assert perfect["auc"]["value"] == 1.0
    assert perfect["operating_point"]["threshold"] == pytest.approx(0.8)
    assert perfect["operating_point"]["true_positive"]["share"] == 1.0
    assert perfect["operating_point"]["false_positive"]["share"] == 0.0
    blind = detection([reading(1, [0.5, 0.5])], [benign(1, [0.5])])
    assert blind["auc"]["value"] == 0.5
    assert len(blind["roc"]) == 2
    assert blind["operating_point"]["true_positive"]["share"] == 1.0


def test_texts_of_one_question_are_drawn_together() -> None:
    harmful, other = made(4)
    same = [reading(number // 6, each.refusal_probability) for number, each in enumerate(harmful)]
    apart, together = detection(harmful, other)["auc"], detection(same, other)["auc"]
    assert together["value"] == pytest.approx(apart["value"])
    assert together["harmful_responses"] == apart["harmful_responses"] == 12
    joined = [
        np.concatenate([each.refusal_probability for each in same[start : start + 6]])
        for start in (0, 6)
    ]
    expected = bootstrap_auc(
        [value.astype(np.float64) for value in joined],
        [each.refusal_probability.astype(np.float64) for each in other],
    )
    assert (together["low"], together["high"]) == (expected["low"], expected["high"])


def test_a_side_without_texts_has_no_curve_and_no_point() -> None:
    for harmful, other in (([], [benign()]), ([reading()], []), ([], [])):
        found = detection(harmful, other)
        assert found["auc"]["value"] is None
        assert found["roc"] == []
        assert found["operating_point"] is None
    assert detection([], [benign()])["greedy"]["true_positive"]["share"] is None


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    harmful, other = made(5)
    assert detection(harmful, other, seed=1) == detection(harmful, other, seed=1)
    first, second = (detection(harmful, other, seed=seed)["auc"] for seed in (1, 2))
    assert first["value"] == second["value"]
    assert first["low"] != second["low"]
