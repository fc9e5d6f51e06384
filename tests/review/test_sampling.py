"""A sample takes as many of every model, scenario and automatic verdict as of any other."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from derta.analysis.human_verdicts import ReviewItem
from derta.review.sampling import stratified_sample
from tests.review.making import item


def population() -> list[ReviewItem]:
    """90 safe and 10 unsafe ones in one scenario, 3 and 2 in another."""
    counts = {
        ("direct", "SAFE"): 90,
        ("direct", "UNSAFE"): 10,
        ("pair", "SAFE"): 3,
        ("pair", "UNSAFE"): 2,
    }
    return [
        item(f"{scenario}-{automatic}-{number}", scenario=scenario, automatic=automatic)
        for (scenario, automatic), count in counts.items()
        for number in range(count)
    ]


def counted(sample: list[ReviewItem]) -> dict[tuple[str, str], int]:
    return dict(Counter((each.scenario, each.automatic) for each in sample))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (4, (1, 1, 1, 1)),
        (8, (2, 2, 2, 2)),
        (11, (3, 3, 3, 2)),
        (25, (10, 10, 3, 2)),
        (40, (25, 10, 3, 2)),
        (105, (90, 10, 3, 2)),
    ],
)
def test_strata_are_filled_as_equally_as_they_can_be(size: int, expected: tuple[int, ...]) -> None:
    found = counted(stratified_sample(population(), size, seed=0))
    keys = [("direct", "SAFE"), ("direct", "UNSAFE"), ("pair", "SAFE"), ("pair", "UNSAFE")]
    assert tuple(found.get(key, 0) for key in keys) == expected


def test_sizes_between_differ_by_one_at_most() -> None:
    for size in range(1, 12):
        found = counted(stratified_sample(population(), size, seed=3))
        assert sum(found.values()) == size
        full = [found.get(key, 0) for key in (("direct", "SAFE"), ("direct", "UNSAFE"))]
        assert max(full) - min(full) <= 1


@pytest.mark.parametrize("seed", [0, 1])
def test_a_larger_sample_holds_the_smaller_one(seed: int) -> None:
    before: set[str] = set()
    for size in (1, 2, 5, 17, 18, 60, 104, 105):
        now = {each.id for each in stratified_sample(population(), size, seed=seed)}
        assert len(now) == size
        assert before <= now
        before = now


def test_the_sample_depends_on_the_seed_and_on_nothing_else() -> None:
    made = population()
    shuffled = random.Random(1).sample(made, len(made))
    first = {each.id for each in stratified_sample(made, 20, seed=0)}
    assert {each.id for each in stratified_sample(shuffled, 20, seed=0)} == first
    assert {each.id for each in stratified_sample(made, 20, seed=1)} != first


def test_each_response_of_a_stratum_is_as_likely_as_another() -> None:
    made = [item(number, automatic="SAFE") for number in range(10)]
    drawn = Counter(
        each.id for seed in range(2000) for each in stratified_sample(made, 3, seed=seed)
    )
    # 600 each; five standard deviations are 102.
    assert len(drawn) == 10
    assert all(abs(count - 600) < 102 for count in drawn.values())


def test_all_are_taken_without_a_size_or_with_more_than_there_are_and_the_order_stays() -> None:
    made = population()
    assert stratified_sample(made, None, seed=0) == made
    assert stratified_sample(made, 1000, seed=0) == made
    some = stratified_sample(made, 50, seed=0)
    assert some == [each for each in made if each in some]
    assert stratified_sample(made, 0, seed=0) == []
    assert stratified_sample([], 5, seed=0) == []
    with pytest.raises(ValueError, match="0 items or more"):
        stratified_sample(made, -1, seed=0)
