"""What `share_prefixes` and `pack` promise about tokens; models are in `tests/invariants`.

Covered: that a tree holds exactly the paths and targets of its rows, sizes and limits, order,
depth. Not covered: masks (`test_attention`).
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from derta.packing import pack, share_prefixes, shared_length
from derta.rows import (
    EncodedHelpful,
    EncodedTriple,
    Method,
    TargetKind,
    TrainingRow,
    build_helpful_row,
    build_rows,
)

SORRY = 7


def _contexts(row: TrainingRow) -> Counter[tuple[tuple[int, ...], int, TargetKind]]:
    """Count (path to the predicting token, target, kind), by the definition of `expires_at`."""
    return Counter(
        (
            tuple(
                row.token_ids[key] for key in range(position + 1) if position < row.expires_at[key]
            ),
            target,
            kind,
        )
        for position, target, kind in zip(
            row.target_positions, row.target_ids, row.target_kinds, strict=True
        )
    )


def _random_groups(generator: random.Random, *, words: int = 4) -> list[list[TrainingRow]]:
    """A vocabulary of few words makes beginnings fall together by chance."""

    def ids(shortest: int, longest: int) -> tuple[int, ...]:
        count = generator.randint(shortest, longest)
        return tuple(generator.randrange(10, 10 + words) for _ in range(count))

    groups = []
    for _ in range(generator.randint(1, 6)):
        if generator.random() < 0.5:
            groups.append([build_helpful_row(EncodedHelpful(ids(1, 6), ids(1, 9)))])
            continue
        triple = EncodedTriple(ids(1, 6), ids(1, 9), ids(0, 12))
        k = generator.randint(0, len(triple.harmful_ids))
        groups.append(build_rows(triple, Method.DERTA, harmful_prefix_length=k, refusal_id=SORRY))
    return groups


def test_a_small_tree_by_hand() -> None:
    triple = EncodedTriple((1, 20), (SORRY, 30), (40, 41))
    prefixed, rto = build_rows(triple, Method.DERTA, harmful_prefix_length=1, refusal_id=SORRY)
    kinds = TargetKind
    assert share_prefixes([prefixed, rto]) == TrainingRow(
        token_ids=(1, 20, 40, SORRY, 41),
        position_ids=(0, 1, 2, 3, 3),
        expires_at=(5, 5, 5, 4, 5),
        target_positions=(1, 2, 2, 3, 4),
        target_ids=(SORRY, SORRY, SORRY, 30, SORRY),
        target_kinds=(
            kinds.REFUSAL_TRANSITION,
            kinds.SAFE_RESPONSE,
            kinds.REFUSAL_TRANSITION,
            kinds.SAFE_RESPONSE,
            kinds.REFUSAL_TRANSITION,
        ),
    )


def test_a_tree_has_exactly_the_contexts_and_targets_of_its_rows() -> None:
    generator = random.Random(0)
    for _ in range(200):
        groups = _random_groups(generator)
        rows = [row for group in groups for row in group]
        expected = sum((_contexts(row) for row in rows), Counter())
        assert _contexts(share_prefixes(rows)) == expected
        packed = pack(groups, generator.choice([8, 20, 60]))
        assert sum((_contexts(row) for row in packed), Counter()) == expected


def test_position_ids_count_the_tokens_before_on_the_path() -> None:
    generator = random.Random(1)
    for _ in range(100):
        tree = share_prefixes([row for group in _random_groups(generator) for row in group])
        for index, depth in enumerate(tree.position_ids):
            ancestors = sum(index < tree.expires_at[key] for key in range(index))
            assert depth == ancestors
            assert index < tree.expires_at[index] <= len(tree)


def test_a_tree_of_one_row_is_that_row() -> None:
    generator = random.Random(2)
    for _ in range(50):
        for group in _random_groups(generator):
            for row in group:
                assert share_prefixes([row]) == row


def test_the_same_row_twice_is_computed_once_and_counted_twice() -> None:
    row = build_helpful_row(EncodedHelpful((1, 20), (50, 51)))
    tree = share_prefixes([row, row])
    assert len(tree) == len(row)
    assert tree.target_ids == (50, 50, 51, 51)


def test_a_tree_is_not_shared_again() -> None:
    triple = EncodedTriple((1, 20), (SORRY, 30), (40, 41))
    tree = share_prefixes(
        build_rows(triple, Method.DERTA, harmful_prefix_length=1, refusal_id=SORRY)
    )
    with pytest.raises(ValueError, match="tree already"):
        share_prefixes([tree])


def test_packed_rows_have_at_most_max_tokens_unless_one_group_alone_is_longer() -> None:
    generator = random.Random(3)
    for _ in range(200):
        groups = _random_groups(generator, words=9)
        limit = generator.choice([5, 15, 30, 80])
        longest_group = max(shared_length(group) for group in groups)
        for row in pack(groups, limit):
            assert len(row) <= max(limit, longest_group)
            if len(row) > limit:
                assert any(share_prefixes(group) == row for group in groups)


def test_packing_never_takes_more_tokens_than_separate_rows() -> None:
    generator = random.Random(4)
    for _ in range(200):
        groups = _random_groups(generator)
        packed = sum(len(row) for row in pack(groups, 30))
        assert packed <= sum(shared_length(group) for group in groups)
        assert packed <= sum(len(row) for group in groups for row in group)


def test_a_group_is_never_divided() -> None:
    generator = random.Random(5)
    for _ in range(100):
        groups = _random_groups(generator, words=60)
        packed = [_contexts(row) for row in pack(groups, 25)]
        for group in groups:
            wanted = sum((_contexts(row) for row in group), Counter())
            assert any(wanted <= found for found in packed)


def test_packing_is_deterministic_and_leaves_its_input_alone() -> None:
    groups = _random_groups(random.Random(6), words=9)
    before = [list(group) for group in groups]
    assert pack(groups, 30) == pack(groups, 30)
    assert groups == before


def test_nothing_packs_into_nothing() -> None:
    assert pack([], 10) == []


def test_without_a_limit_everything_is_one_row() -> None:
    groups = _random_groups(random.Random(4))
    (tree,) = pack(groups, None)
    assert _contexts(tree) == sum((_contexts(row) for g in groups for row in g), Counter())


def _rows_of_length(*lengths: int) -> list[list[TrainingRow]]:
    """Make groups without a common beginning."""
    return [
        [build_helpful_row(EncodedHelpful((100 + index,), (1,) * length))]
        for index, length in enumerate(lengths)
    ]


def test_padding_is_paid_for_when_the_length_is_chosen() -> None:
    groups = _rows_of_length(60, 60, 60, 60)

    def padded(rows: int, width: int) -> float:
        return rows * width

    assert [len(row) for row in pack(groups, 200)] == [180, 60], "as long as allowed"
    assert [len(row) for row in pack(groups, 200, padded)] in ([60] * 4, [120, 120])


def test_long_rows_are_left_where_attention_over_them_costs_more() -> None:
    groups = _rows_of_length(*[10] * 12)
    lengths = {
        balance: max(
            len(row)
            for row in pack(groups, 120, lambda n, width, b=balance: n * width * (1 + width / b))
        )
        for balance in (5, 1e9)
    }
    assert lengths == {5: 10, 1e9: 10}, "nothing is gained by longer ones"
    flat = pack(groups, 120, lambda n, width: n * (1000 + width))
    assert [len(row) for row in flat] == [120], "a price on rows fills one"


def test_a_chosen_length_holds_the_same_targets() -> None:
    for seed in range(20):
        groups = _random_groups(random.Random(seed))
        expected = sum((_contexts(row) for g in groups for row in g), Counter())
        packed = pack(groups, 40, lambda n, width: n * width * (1 + width / 20))
        assert sum((_contexts(row) for row in packed), Counter()) == expected


def test_shared_length_is_the_length_of_the_tree() -> None:
    generator = random.Random(7)
    for _ in range(100):
        rows = [row for group in _random_groups(generator) for row in group]
        assert shared_length(rows) == len(share_prefixes(rows))


def test_the_harmful_prefix_is_computed_once() -> None:
    triple = EncodedTriple(tuple(range(100, 120)), (SORRY, 30, 31), tuple(range(200, 240)))
    rows = build_rows(triple, Method.DERTA, harmful_prefix_length=25, refusal_id=SORRY)
    assert sum(map(len, rows)) == (20 + 25 + 2) + (20 + 40)
    assert shared_length(rows) == 20 + 40 + 2


def test_a_response_of_five_thousand_tokens_does_not_reach_the_recursion_limit() -> None:
    triple = EncodedTriple((1, 2), (SORRY, 30), tuple(10 + i % 50 for i in range(5000)))
    rows = build_rows(triple, Method.DERTA, harmful_prefix_length=4999, refusal_id=SORRY)
    (tree,) = pack([rows], 512)
    assert len(tree) == 5002 + 1
    assert max(tree.position_ids) == 5001
    assert len(tree.target_ids) == 5001 + 2
