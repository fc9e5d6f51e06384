"""The chunked loss is the plain formula: value, gradient, memory.

Covered: hidden states, matrix and bias, scale and soft cap, frozen and trained heads, margins,
chunks, rounding, no targets, bf16 autocast, and that logits of more than one chunk never exist. Not
covered: speed.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from derta.loss import OutputHead, reference_cross_entropy, supervised_cross_entropy

S, H, V = 7, 12, 41
HEADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"scale": 0.3},
    "softcap": {"softcap": 2.0},
    "scale and softcap": {"scale": 1.7, "softcap": 1.5},
}


def _inputs(
    dtype: torch.dtype, *, bias: bool = True, trained: bool = True, hidden_trained: bool = True
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    hidden = draw(S, H).requires_grad_(hidden_trained)
    weight = draw(V, H).requires_grad_(trained)
    offset = draw(V).requires_grad_(trained) if bias else None
    targets = torch.randint(0, V, (S,), generator=generator)
    upstream = draw(S).abs()
    return hidden, weight, offset, targets, upstream


def _gradients(losses: Tensor, upstream: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad((losses * upstream).sum(), tensors))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("head", HEADS)
def test_value_and_gradients_are_those_of_the_reference(head: str, chunk: int, bias: bool) -> None:
    hidden, weight, offset, targets, upstream = _inputs(torch.float64, bias=bias)
    output = OutputHead(weight, offset, **HEADS[head])
    wanted = [tensor for tensor in (hidden, weight, offset) if tensor is not None]
    expected = reference_cross_entropy(hidden, output, targets)
    losses, _ = supervised_cross_entropy(hidden, output, targets, chunk=chunk)
    torch.testing.assert_close(losses, expected)
    for found, truth in zip(
        _gradients(losses, upstream, wanted), _gradients(expected, upstream, wanted), strict=True
    ):
        torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("head", HEADS)
def test_a_frozen_head_gives_the_same_gradient_of_the_hidden_states(head: str, chunk: int) -> None:
    hidden, weight, offset, targets, upstream = _inputs(torch.float64, trained=False)
    output = OutputHead(weight, offset, **HEADS[head])
    expected = reference_cross_entropy(hidden, output, targets)
    losses, _ = supervised_cross_entropy(hidden, output, targets, chunk=chunk)
    torch.testing.assert_close(losses, expected)
    (found,) = _gradients(losses, upstream, [hidden])
    (truth,) = _gradients(expected, upstream, [hidden])
    torch.testing.assert_close(found, truth)


def test_only_the_bias_or_only_the_matrix_may_be_trained() -> None:
    for trained in ("weight", "bias"):
        hidden, weight, offset, targets, upstream = _inputs(
            torch.float64, trained=False, hidden_trained=False
        )
        assert offset is not None
        tensor = {"weight": weight, "bias": offset}[trained].requires_grad_()
        output = OutputHead(weight, offset)
        losses, _ = supervised_cross_entropy(hidden, output, targets, chunk=3)
        (found,) = _gradients(losses, upstream, [tensor])
        reference = reference_cross_entropy(hidden, output, targets)
        torch.testing.assert_close(found, *_gradients(reference, upstream, [tensor]))


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("head", HEADS)
def test_margins_are_the_plain_formula_with_a_raised_logit(
    head: str, chunk: int, trained: bool
) -> None:
    hidden, weight, offset, targets, upstream = _inputs(torch.float64, trained=trained)
    targets[2] = 5  # the tracked token itself is a target, too
    margins = torch.tensor([0.0, 2.0, 3.0, 0.5, 0.0, 8.0, 2.0])
    output = OutputHead(weight, offset, **HEADS[head])
    wanted = [t for t in (hidden, weight, offset) if t is not None and t.requires_grad]
    expected = reference_cross_entropy(hidden, output, targets, tracked_id=5, margins=margins)
    losses, tracked = supervised_cross_entropy(
        hidden, output, targets, tracked_id=5, margins=margins, chunk=chunk
    )
    torch.testing.assert_close(losses, expected)
    for found, truth in zip(
        _gradients(losses, upstream, wanted), _gradients(expected, upstream, wanted), strict=True
    ):
        torch.testing.assert_close(found, truth)
    # What is logged is the model's own probability.
    torch.testing.assert_close(tracked, output.logits(hidden).log_softmax(-1)[:, 5].detach())


def test_a_margin_asks_for_odds_that_are_lower_by_its_exponential() -> None:
    """The loss with margin m is the loss without one of a model with the logit m higher."""
    weight = torch.eye(3, dtype=torch.float64)
    hidden = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
    lower = torch.tensor([[1.0, 0.0, -3.0]], dtype=torch.float64)
    target = torch.tensor([0])
    without, _ = supervised_cross_entropy(hidden, OutputHead(weight), target, tracked_id=2)
    with_margin, _ = supervised_cross_entropy(
        lower, OutputHead(weight), target, tracked_id=2, margins=torch.tensor([2.0])
    )
    torch.testing.assert_close(with_margin, without)


@pytest.mark.parametrize("trained", [True, False])
def test_a_target_that_is_not_differentiated_by_leaves_no_gradient(trained: bool) -> None:
    hidden, weight, offset, targets, _ = _inputs(torch.float64, trained=trained)
    losses, _ = supervised_cross_entropy(hidden, OutputHead(weight, offset), targets, chunk=2)
    (found,) = torch.autograd.grad(losses[3], [hidden])
    assert found[3].abs().sum() > 0
    assert found[[0, 1, 2, 4, 5, 6]].abs().sum() == 0


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("head", HEADS)
def test_the_error_is_not_above_the_references_own_rounding_error(head: str, trained: bool) -> None:
    worst: dict[str, list[float]] = {"chunked": [0.0, 0.0], "reference": [0.0, 0.0]}
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        exact = torch.randn(64, 32, generator=generator, dtype=torch.float64) * 2
        matrix = torch.randn(199, 32, generator=generator, dtype=torch.float64)
        targets = torch.randint(0, 199, (64,), generator=generator)
        # The inputs are float32 numbers, so that only the computation rounds.
        exact, matrix = exact.float().double(), matrix.float().double()
        exact.requires_grad_()
        truth = reference_cross_entropy(exact, OutputHead(matrix, **HEADS[head]), targets)
        (true_gradient,) = torch.autograd.grad(truth.sum(), [exact])
        for name in worst:
            hidden = exact.detach().float().requires_grad_()
            output = OutputHead(matrix.float().requires_grad_(trained), **HEADS[head])
            if name == "chunked":
                losses, _ = supervised_cross_entropy(hidden, output, targets, chunk=10)
            else:
                losses = reference_cross_entropy(hidden, output, targets)
            (gradient,) = torch.autograd.grad(losses.sum(), [hidden])
            errors = (
                float((losses.detach().double() - truth.detach()).norm()),
                float((gradient.double() - true_gradient).norm()),
            )
            worst[name] = [max(a, b) for a, b in zip(worst[name], errors, strict=True)]
    for found, allowed in zip(worst["chunked"], worst["reference"], strict=True):
        assert found <= 1.05 * allowed  # products by chunks add up in another order
        assert allowed > 0


@pytest.mark.parametrize("head", HEADS)
def test_the_tracked_log_probability_is_that_of_the_softmax(head: str) -> None:
    hidden, weight, offset, targets, _ = _inputs(torch.float64)
    output = OutputHead(weight, offset, **HEADS[head])
    _, tracked = supervised_cross_entropy(hidden, output, targets, tracked_id=5, chunk=3)
    torch.testing.assert_close(tracked, output.logits(hidden).log_softmax(-1)[:, 5].detach())
    assert not tracked.requires_grad


class _MemoryProbe(TorchDispatchMode):
    """Records the largest tensor made, and how many storages of `size` elements live at once."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.largest = 0
        self.most_alive = 0
        self._alive: set[StorageWeakRef] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                self.largest = max(self.largest, value.numel())
                if value.untyped_storage().nbytes() >= self.size * value.element_size():
                    self._alive.add(StorageWeakRef(value.untyped_storage()))
        self._alive = {reference for reference in self._alive if not reference.expired()}
        self.most_alive = max(self.most_alive, len(self._alive))
        return result


@pytest.mark.parametrize("trained", [True, False])
def test_logits_of_more_than_one_chunk_never_exist(trained: bool) -> None:
    targets_count, hidden_size, vocabulary, chunk = 200, 4, 300, 16
    hidden = torch.randn(targets_count, hidden_size, requires_grad=True)
    weight = torch.randn(vocabulary, hidden_size, requires_grad=trained)
    targets = torch.randint(0, vocabulary, (targets_count,))
    with _MemoryProbe(chunk * vocabulary) as seen:
        losses, _ = supervised_cross_entropy(hidden, OutputHead(weight), targets, chunk=chunk)
        losses.sum().backward()
    assert seen.largest == chunk * vocabulary
    # Of a chunk: logits, log probabilities and their gradient, while the next one is begun. 13
    # chunks: a view of each that outlives it would show.
    assert seen.most_alive <= 6
    with _MemoryProbe(chunk * vocabulary) as seen:
        reference_cross_entropy(hidden, OutputHead(weight), targets).sum().backward()
    assert seen.largest == targets_count * vocabulary, "the probe sees what it should"


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_no_targets_keep_a_graph_to_everything_that_is_trained(trained: bool, bias: bool) -> None:
    hidden, weight, offset, _, _ = _inputs(torch.float32, bias=bias, trained=trained)
    losses, tracked = supervised_cross_entropy(
        hidden[:0], OutputHead(weight, offset), torch.zeros(0, dtype=torch.long)
    )
    assert losses.shape == tracked.shape == (0,)
    losses.sum().backward()
    for tensor in (hidden, weight, offset):
        if tensor is not None and tensor.requires_grad:
            assert tensor.grad is not None, "DDP would wait for this gradient"
            assert not tensor.grad.any()


@pytest.mark.parametrize("trained", [True, False])
def test_bf16_autocast_is_finite_and_near_the_exact_loss(trained: bool) -> None:
    hidden, weight, offset, targets, upstream = _inputs(torch.float32, trained=trained)
    head = OutputHead(weight, offset)
    wanted = [t for t in (hidden, weight, offset) if t is not None and t.requires_grad]
    expected = reference_cross_entropy(hidden, head, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, _ = supervised_cross_entropy(hidden, head, targets, chunk=3)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected, rtol=0.05, atol=0.1)
    for found, truth in zip(
        _gradients(losses, upstream, wanted), _gradients(expected, upstream, wanted), strict=True
    ):
        assert found.dtype == torch.float32
        assert float((found - truth).norm() / truth.norm()) < 0.05


def test_bf16_weights_give_float32_losses() -> None:
    hidden, weight, offset, targets, upstream = _inputs(torch.bfloat16)
    losses, _ = supervised_cross_entropy(hidden, OutputHead(weight, offset), targets, chunk=3)
    assert losses.dtype == torch.float32
    reference = reference_cross_entropy(hidden, OutputHead(weight, offset), targets)
    torch.testing.assert_close(losses, reference)
    assert offset is not None
    for gradient in _gradients(losses, upstream, [hidden, weight, offset]):
        assert gradient.dtype == torch.bfloat16
        assert gradient.isfinite().all()


def test_extreme_logits_stay_finite() -> None:
    weight = torch.tensor([[1e4], [-1e4], [0.0]], requires_grad=True)
    hidden = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    losses, tracked = supervised_cross_entropy(
        hidden, OutputHead(weight), torch.tensor([1, 1]), tracked_id=2
    )
    torch.testing.assert_close(losses, torch.tensor([2e4, 0.0]))
    assert tracked.isfinite().all()
    losses.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
