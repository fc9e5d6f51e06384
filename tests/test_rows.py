"""What `build_rows` promises: equation 2, token by token.

Covered: small examples made by hand, and properties over random lengths. Not covered: what a
model makes of the rows (`tests/invariants`).
"""

from __future__ import annotations

import random

import pytest

from derta.rows import (
    EncodedHelpful,
    EncodedTriple,
    Method,
    TargetKind,
    TrainingRow,
    build_helpful_row,
    build_rows,
    draw_harmful_prefix_length,
    draw_harmful_prefix_words,
    draw_kept_positions,
)

SORRY, END = 7, 2
TRIPLE = EncodedTriple(prompt_ids=(1, 20, 21), safe_ids=(SORRY, 30, END), harmful_ids=(40, 41))


def _targets(row: TrainingRow) -> list[tuple[tuple[int, ...], int, TargetKind]]:
    """List (context, target, kind); in a plain row the context is all that stands before."""
    return [
        (row.token_ids[: position + 1], target, kind)
        for position, target, kind in zip(
            row.target_positions, row.target_ids, row.target_kinds, strict=True
        )
    ]


def _random_triple(generator: random.Random) -> EncodedTriple:
    def ids(shortest: int, longest: int) -> tuple[int, ...]:
        return tuple(
            generator.randrange(10, 40) for _ in range(generator.randint(shortest, longest))
        )

    return EncodedTriple(ids(1, 9), (SORRY, *ids(0, 9), END), ids(0, 30))


def test_vanilla_is_the_safe_response_after_the_question() -> None:
    (row,) = build_rows(TRIPLE, Method.VANILLA, refusal_id=SORRY)
    assert row == TrainingRow(
        token_ids=(1, 20, 21, SORRY, 30),
        position_ids=(0, 1, 2, 3, 4),
        expires_at=(5, 5, 5, 5, 5),
        target_positions=(2, 3, 4),
        target_ids=(SORRY, 30, END),
        target_kinds=(TargetKind.SAFE_RESPONSE,) * 3,
    )


def test_harmful_prefix_is_the_safe_response_after_the_first_k_tokens_of_h() -> None:
    (row,) = build_rows(TRIPLE, Method.HARMFUL_PREFIX, harmful_prefix_length=1, refusal_id=SORRY)
    assert _targets(row) == [
        ((1, 20, 21, 40), SORRY, TargetKind.SAFE_RESPONSE),
        ((1, 20, 21, 40, SORRY), 30, TargetKind.SAFE_RESPONSE),
        ((1, 20, 21, 40, SORRY, 30), END, TargetKind.SAFE_RESPONSE),
    ]


def test_rto_targets_the_refusal_token_after_the_question_and_after_each_token_of_h() -> None:
    (row,) = build_rows(TRIPLE, Method.RTO, refusal_id=SORRY)
    assert _targets(row) == [
        ((1, 20, 21), SORRY, TargetKind.REFUSAL_TRANSITION),
        ((1, 20, 21, 40), SORRY, TargetKind.REFUSAL_TRANSITION),
        ((1, 20, 21, 40, 41), SORRY, TargetKind.REFUSAL_TRANSITION),
    ]
    assert row.token_ids == (1, 20, 21, 40, 41)


def test_a_helpful_row_supervises_its_response_and_the_end_of_the_turn() -> None:
    row = build_helpful_row(EncodedHelpful((1, 20), (50, 51, END)))
    assert _targets(row) == [
        ((1, 20), 50, TargetKind.HELPFUL),
        ((1, 20, 50), 51, TargetKind.HELPFUL),
        ((1, 20, 50, 51), END, TargetKind.HELPFUL),
    ]


def test_every_context_of_the_harmful_response_targets_the_refusal_token() -> None:
    generator = random.Random(0)
    for _ in range(300):
        triple = _random_triple(generator)
        for method in (Method.RTO, Method.DERTA):
            row = build_rows(
                triple,
                method,
                harmful_prefix_length=generator.randint(0, len(triple.harmful_ids)),
                refusal_id=SORRY,
            )[-1]
            assert _targets(row) == [
                (
                    (*triple.prompt_ids, *triple.harmful_ids[:t]),
                    SORRY,
                    TargetKind.REFUSAL_TRANSITION,
                )
                for t in range(len(triple.harmful_ids) + 1)
            ]
            assert len(row.target_ids) == len(triple.harmful_ids) + 1


def test_derta_is_the_harmful_prefix_row_and_the_rto_row() -> None:
    generator = random.Random(1)
    for _ in range(100):
        triple = _random_triple(generator)
        k = generator.randint(0, len(triple.harmful_ids))
        parts = [
            row
            for method in (Method.HARMFUL_PREFIX, Method.RTO)
            for row in build_rows(triple, method, harmful_prefix_length=k, refusal_id=SORRY)
        ]
        whole = build_rows(triple, Method.DERTA, harmful_prefix_length=k, refusal_id=SORRY)
        assert whole == parts


def test_every_k_from_none_to_all_of_h_gives_the_whole_safe_response() -> None:
    generator = random.Random(2)
    for _ in range(30):
        triple = _random_triple(generator)
        for k in range(len(triple.harmful_ids) + 1):
            (row,) = build_rows(
                triple, Method.HARMFUL_PREFIX, harmful_prefix_length=k, refusal_id=SORRY
            )
            context = (*triple.prompt_ids, *triple.harmful_ids[:k])
            assert _targets(row) == [
                ((*context, *triple.safe_ids[:i]), token, TargetKind.SAFE_RESPONSE)
                for i, token in enumerate(triple.safe_ids)
            ]


def test_with_k_zero_the_harmful_prefix_row_is_the_vanilla_row() -> None:
    vanilla = build_rows(TRIPLE, Method.VANILLA, refusal_id=SORRY)
    assert build_rows(TRIPLE, Method.HARMFUL_PREFIX, refusal_id=SORRY) == vanilla


def test_only_the_kept_positions_are_supervised_and_the_tokens_stay() -> None:
    (all_kept,) = build_rows(TRIPLE, Method.RTO, refusal_id=SORRY)
    (row,) = build_rows(TRIPLE, Method.RTO, refusal_id=SORRY, kept_positions=(2, 0, 2))
    assert row.token_ids == all_kept.token_ids
    assert [context for context, _, _ in _targets(row)] == [(1, 20, 21), (1, 20, 21, 40, 41)]


def test_no_kept_position_means_no_target() -> None:
    (row,) = build_rows(TRIPLE, Method.RTO, refusal_id=SORRY, kept_positions=())
    assert row.target_ids == ()


def test_an_empty_harmful_response_has_the_one_context_after_the_question() -> None:
    triple = EncodedTriple((1, 20), (SORRY, END), ())
    _, rto = build_rows(triple, Method.DERTA, refusal_id=SORRY)
    assert _targets(rto) == [((1, 20), SORRY, TargetKind.REFUSAL_TRANSITION)]


@pytest.mark.parametrize("k", [-1, 3])
def test_a_k_outside_the_harmful_response_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        build_rows(TRIPLE, Method.DERTA, harmful_prefix_length=k, refusal_id=SORRY)


@pytest.mark.parametrize("kept", [(-1,), (0, 3)])
def test_a_kept_position_outside_the_harmful_response_is_refused(kept: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"0\.\.2"):
        build_rows(TRIPLE, Method.RTO, refusal_id=SORRY, kept_positions=kept)


def test_an_empty_prompt_is_refused_because_nothing_could_predict_the_first_token() -> None:
    with pytest.raises(ValueError, match="before it"):
        build_helpful_row(EncodedHelpful((), (50, END)))
    for method in Method:
        with pytest.raises(ValueError, match="before it"):
            build_rows(EncodedTriple((), (SORRY,), (40,)), method, refusal_id=SORRY)


def test_k_is_uniform_over_all_lengths_and_the_share_without_prefix_is_kept() -> None:
    generator = random.Random(3)
    draws = [draw_harmful_prefix_length(4, generator) for _ in range(5000)]
    assert set(draws) == {0, 1, 2, 3, 4}
    for k in range(5):
        assert draws.count(k) / 5000 == pytest.approx(1 / 5, abs=0.03)
    draws = [
        draw_harmful_prefix_length(4, generator, share_without_prefix=0.5) for _ in range(5000)
    ]
    # Half without a prefix, and a fifth of the others draw 0 themselves.
    assert draws.count(0) / 5000 == pytest.approx(0.5 + 0.5 / 5, abs=0.03)
    assert all(
        draw_harmful_prefix_length(9, generator, share_without_prefix=1.0) == 0 for _ in range(99)
    )
    assert draw_harmful_prefix_length(0, generator) == 0


def test_k_in_words_is_uniform_and_leaves_the_last_two_words_out() -> None:
    generator = random.Random(6)
    ends = (2, 3, 7, 7, 9, 12)  # the third word has four tokens, the fourth ends inside its last
    draws = [draw_harmful_prefix_words(ends, generator) for _ in range(4000)]
    assert set(draws) == {2, 3, 7}
    for k, share in ((2, 1 / 4), (3, 1 / 4), (7, 2 / 4)):
        assert draws.count(k) / 4000 == pytest.approx(share, abs=0.03)
    draws = [
        draw_harmful_prefix_words(ends, generator, share_without_prefix=0.5) for _ in range(4000)
    ]
    assert draws.count(0) / 4000 == pytest.approx(0.5, abs=0.03)
    assert set(draws) == {0, 2, 3, 7}


def test_a_harmful_response_of_three_words_gives_one_and_a_shorter_one_none() -> None:
    generator = random.Random(7)
    assert {draw_harmful_prefix_words((2, 5, 6), generator) for _ in range(50)} == {2}
    for ends in ((0,), (4,), (2, 5)):
        assert {draw_harmful_prefix_words(ends, generator) for _ in range(50)} == {0}


def test_the_share_of_kept_positions_is_respected_and_never_empty() -> None:
    generator = random.Random(4)
    for length in range(60):
        for share, expected in ((1.0, length + 1), (0.15, round(0.15 * (length + 1))), (0.0, 0)):
            kept = draw_kept_positions(length, generator, share=share)
            assert len(kept) == max(1, expected)
            assert sorted(set(kept)) == list(kept)
            assert 0 <= kept[0] <= kept[-1] <= length


def test_every_position_is_kept_equally_often() -> None:
    generator = random.Random(5)
    counts = [0] * 10
    for _ in range(4000):
        for position in draw_kept_positions(9, generator, share=0.3):
            counts[position] += 1
    assert all(count / 4000 == pytest.approx(0.3, abs=0.04) for count in counts)
