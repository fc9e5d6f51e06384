"""Relabelling is all there is: rows give the loss of the stock model with hand-made labels.

The stock side is transformers' own forward with `labels` (-100 where nothing is supervised),
which shifts the labels itself. Covered: RTO, harmful prefix, vanilla and helpful rows, for every
output head that derta claims to know (biases, scales, soft caps, tied matrices), the gradients,
and rows padded together. Not covered here: packed rows (`test_packed_rows`).
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from derta.rows import EncodedTriple, Method, build_helpful_row, build_rows
from derta.train.forward import install_supervised_forward
from tests.invariants.comparison import batch_of
from tests.tiny import FAMILIES, REFUSAL_ID, random_helpful, random_triple, tiny_model

IGNORED = -100


def _stock(model: Any, token_ids: list[int], labels: list[int]) -> tuple[float, list[Any]]:
    """Run transformers' own forward and backward; labels stand at the tokens they replace."""
    assert len(token_ids) == len(labels)
    model.zero_grad(set_to_none=True)
    output = model(input_ids=torch.tensor([token_ids]), labels=torch.tensor([labels]))
    output.loss.backward()
    return output.loss.item(), [p.grad.clone() for p in model.parameters()]


def _cases(triple: EncodedTriple, generator: random.Random) -> dict[str, tuple[Any, Any, Any]]:
    """For each kind of row: the row, the whole token sequence, and its labels made by hand."""
    q, r, h = triple.prompt_ids, triple.safe_ids, triple.harmful_ids
    k = generator.randrange(len(h) + 1)
    example = random_helpful(generator)
    # The last RTO context is the whole of h: a stock label needs a token to stand at.
    after_h = 55
    (vanilla,) = build_rows(triple, Method.VANILLA, refusal_id=REFUSAL_ID)
    (prefixed,) = build_rows(
        triple, Method.HARMFUL_PREFIX, harmful_prefix_length=k, refusal_id=REFUSAL_ID
    )
    (rto,) = build_rows(triple, Method.RTO, refusal_id=REFUSAL_ID)
    return {
        "vanilla": (vanilla, [*q, *r], [IGNORED] * len(q) + [*r]),
        "harmful prefix": (
            prefixed,
            [*q, *h[:k], *r],
            [IGNORED] * (len(q) + k) + [*r],
        ),
        "rto": (
            rto,
            [*q, *h, after_h],
            [IGNORED] * len(q) + [REFUSAL_ID] * (len(h) + 1),
        ),
        "helpful": (
            build_helpful_row(example),
            [*example.prompt_ids, *example.response_ids],
            [IGNORED] * len(example.prompt_ids) + [*example.response_ids],
        ),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_has_the_loss_and_gradients_of_the_stock_model_with_labels(family: str) -> None:
    generator = random.Random(family)
    model = tiny_model(family, dtype=torch.float64)
    cases = _cases(random_triple(generator), generator)
    # The stock side runs before anything is installed: it is transformers alone.
    truth = {name: _stock(model, tokens, labels) for name, (_, tokens, labels) in cases.items()}
    install_supervised_forward(model)
    for name, (row, _, labels) in cases.items():
        loss, gradients = truth[name]
        count = sum(label != IGNORED for label in labels)
        assert len(row.target_ids) == count
        model.zero_grad(set_to_none=True)
        output = model(**batch_of([row], tree=False), denominator=count, refusal_id=REFUSAL_ID)
        output.loss.backward()
        # Stock models compute their logits' loss in float32 whatever their dtype.
        assert output.loss.item() == pytest.approx(loss, rel=1e-6), name
        for (parameter, p), expected in zip(model.named_parameters(), gradients, strict=True):
            difference = float((p.grad - expected).norm())
            assert difference <= 1e-5 * float(expected.norm()) + 1e-12, (name, parameter)


@pytest.mark.parametrize("family", ["llama", "mistral-window", "gemma2", "qwen3"])
def test_rows_padded_together_have_the_losses_of_rows_alone(family: str) -> None:
    generator = random.Random(4)
    model = tiny_model(family)
    install_supervised_forward(model)
    rows = [row for row, _, _ in _cases(random_triple(generator), generator).values()]
    assert len({len(row) for row in rows}) > 1

    def losses(chosen: list[Any]) -> torch.Tensor:
        output = model(**batch_of(chosen, tree=False), denominator=1.0, refusal_id=REFUSAL_ID)
        return output.target_losses

    alone = torch.cat([losses([row]) for row in rows])
    torch.testing.assert_close(losses(rows), alone, rtol=2e-6, atol=0)


def test_the_logged_refusal_probability_is_the_stock_models_own() -> None:
    generator = random.Random(5)
    model = tiny_model("gemma2", dtype=torch.float64)
    row, tokens, _ = _cases(random_triple(generator), generator)["rto"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
    install_supervised_forward(model)
    output = model(**batch_of([row], tree=False), denominator=1.0, refusal_id=REFUSAL_ID)
    expected = logits.log_softmax(-1)[list(row.target_positions), REFUSAL_ID]
    torch.testing.assert_close(output.refusal_log_probabilities, expected)
