"""What training cost in helpfulness, read from held-out responses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derta.analysis.clustered import clustered_share
from derta.analysis.intervals import wilson
from derta.data.encode import ChatEncoder
from derta.errors import DataError
from derta.evaluate.helpfulness import (
    HelpfulnessArrays,
    compare_helpfulness,
    measure_helpfulness,
    read_helpfulness,
    write_helpfulness,
)
from derta.triple import Conversation
from tests.evaluate.samples import model_and_tokenizer

ROWS = [
    (Conversation.from_text(f"How do I bake {number} cakes?"), "Mix flour and water. " * number)
    for number in range(1, 7)
]


def arrays(*top: list[int], loss: float = 1.0) -> HelpfulnessArrays:
    return HelpfulnessArrays(
        tuple(np.full(len(tokens), loss) for tokens in top),
        tuple(np.array(tokens, dtype=np.int64) for tokens in top),
    )


def test_a_model_agrees_with_itself_everywhere_and_loses_nothing() -> None:
    model, tokenizer = model_and_tokenizer()
    found = measure_helpfulness(model, ChatEncoder(tokenizer), ROWS, batch_size=2)
    assert [len(x) for x in found.losses] == [len(x) for x in found.top_tokens]
    compared = compare_helpfulness(found, found)
    assert compared["agreement"]["share"] == 1.0
    assert compared["agreement"]["low"] < 0.9  # six responses are few
    assert compared["agreement"]["responses"] == len(ROWS)
    assert compared["helpful_loss"]["difference"] == 0.0
    assert json.loads(json.dumps(compared)) == compared


def test_another_model_agrees_less_and_its_loss_is_compared_by_token() -> None:
    model, tokenizer = model_and_tokenizer()
    other: Any
    other, _ = model_and_tokenizer(seed=1)
    encoder = ChatEncoder(tokenizer)
    seen: list[tuple[int, int]] = []
    own = measure_helpfulness(
        other, encoder, ROWS, batch_size=4, progress=lambda *x: seen.append(x)
    )
    compared = compare_helpfulness(own, measure_helpfulness(model, encoder, ROWS))
    assert seen[-1] == (6, 6)
    assert compared["agreement"]["share"] < 0.5
    assert compared["helpful_loss"]["tokens"] == compared["agreement"]["n"]
    assert compared["helpful_loss"]["difference"] == pytest.approx(
        compared["helpful_loss"]["nats"] - compared["helpful_loss"]["untouched_nats"]
    )


def test_agreement_is_a_share_of_tokens_with_an_interval_over_responses() -> None:
    own = arrays([1, 2, 3, 4], [5, 6], [7, 8, 9, 9])
    untouched = arrays([1, 2, 3, 0], [0, 6], [7, 8, 9, 9], loss=0.5)
    agreement = compare_helpfulness(own, untouched)["agreement"]
    assert (agreement["count"], agreement["n"], agreement["responses"]) == (8, 10, 3)
    by_response = clustered_share([3, 1, 4], [4, 2, 4])
    assert (agreement["low"], agreement["high"]) == (by_response["low"], by_response["high"])
    by_token = wilson(8, 10)
    assert agreement["low"] < by_token["low"]
    assert agreement["high"] > by_token["high"]


def test_a_response_that_was_cut_off_is_not_asked_for_its_end() -> None:
    model, tokenizer = model_and_tokenizer()
    encoder = ChatEncoder(tokenizer)
    whole = measure_helpfulness(model, encoder, ROWS[:2])
    cut = measure_helpfulness(model, encoder, ROWS[:2], finished=[True, False])
    assert len(cut.top_tokens[1]) < len(whole.top_tokens[1])
    assert len(cut.top_tokens[1]) == len(cut.losses[1])
    with pytest.raises(ValueError, match="not of the same responses"):
        compare_helpfulness(cut, whole)
    short = measure_helpfulness(model, encoder, ROWS, max_positions=2)
    assert {len(tokens) for tokens in short.top_tokens} == {2}


def test_arrays_survive_a_file(tmp_path: Path) -> None:
    for found in (arrays([1, 2], [], [3], loss=0.25), arrays()):
        write_helpfulness(tmp_path / "run" / "helpfulness.npz", found)
        read = read_helpfulness(tmp_path / "run" / "helpfulness.npz")
        for name in ("losses", "top_tokens"):
            pairs = zip(getattr(found, name), getattr(read, name), strict=True)
            assert all(np.array_equal(a, b) for a, b in pairs)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["helpfulness.npz"]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 damaged"])
def test_a_missing_or_damaged_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "helpfulness.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="run the evaluation again"):
        read_helpfulness(path)


def test_no_responses_have_no_numbers() -> None:
    compared = compare_helpfulness(arrays(), arrays())
    assert compared["agreement"]["share"] is None
    assert compared["helpful_loss"]["nats"] is None
