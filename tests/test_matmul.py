"""oneDNN's products are PyTorch's, to rounding, and only within the context."""

from __future__ import annotations

import threading

import pytest
import torch

from derta import matmul
from derta.matmul import onednn_matmul

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of PyTorch has no oneDNN"
)

SHAPES = [(1, 64, 2048), (7, 576, 192), (340, 576, 16), (340, 16, 576), (96, 300, 500)]


def _operands(
    shape: tuple[int, int, int], transpose_first: bool, transpose_second: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(rows)
    first = torch.randn(rows, inner, generator=generator)
    second = torch.randn(inner, columns, generator=generator)
    if transpose_first:
        first = first.t().contiguous().t()
    if transpose_second:
        second = second.t().contiguous().t()
    return first, second


def _onednn_ran(function: object) -> bool:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function()  # type: ignore[operator]
    return any("linear_pointwise" in event.key for event in profile.key_averages())


@needs_onednn
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("transpose_first", [False, True])
@pytest.mark.parametrize("transpose_second", [False, True])
def test_products_are_right_to_float32_rounding(
    shape: tuple[int, int, int], transpose_first: bool, transpose_second: bool
) -> None:
    first, second = _operands(shape, transpose_first, transpose_second)
    exact = first.double() @ second.double()
    with onednn_matmul(enabled=True):
        product = first @ second
    # The scale of each element: what is summed up for it.
    scale = first.double().abs() @ second.double().abs()
    assert ((product.double() - exact).abs() / scale).max() < 1e-6


@needs_onednn
def test_gradients_go_through_it_too() -> None:
    first, second = _operands((96, 300, 500), False, False)
    plain = [t.clone().requires_grad_() for t in (first, second)]
    fast = [t.clone().requires_grad_() for t in (first, second)]
    (plain[0] @ plain[1]).square().sum().backward()
    with onednn_matmul(enabled=True):
        assert _onednn_ran(lambda: (fast[0] @ fast[1]).square().sum().backward())
    for one, other in zip(plain, fast, strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-2)


@needs_onednn
def test_it_ends_with_the_last_context_and_holds_for_other_threads() -> None:
    first, second = _operands((96, 300, 500), False, False)

    def multiply() -> torch.Tensor:
        return first @ second

    before = multiply()
    assert not _onednn_ran(multiply)
    with onednn_matmul(enabled=True):
        with onednn_matmul(enabled=True):
            assert _onednn_ran(multiply)
        assert _onednn_ran(multiply)
        results: list[torch.Tensor] = []
        thread = threading.Thread(target=lambda: results.append(multiply()))
        thread.start()
        thread.join()
        assert torch.equal(results[0], multiply())
    assert not _onednn_ran(multiply)
    assert torch.equal(before, multiply())


@needs_onednn
def test_small_empty_and_other_tensors_keep_pytorchs_own_kernel() -> None:
    with onednn_matmul(enabled=True):
        assert torch.equal(torch.ones(2, 3) @ torch.ones(3, 2), torch.full((2, 2), 3.0))
        assert torch.equal(torch.ones(2, 0) @ torch.ones(0, 2), torch.zeros(2, 2))
        assert (torch.ones(0, 3) @ torch.ones(3, 2)).shape == (0, 2)
        double = torch.ones(64, 64, dtype=torch.float64)
        assert torch.equal(double @ double, torch.full((64, 64), 64.0, dtype=torch.float64))
        whole = torch.ones(64, 64, dtype=torch.long)
        assert torch.equal(whole @ whole, torch.full((64, 64), 64))
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            torch.ones(64, 65) @ torch.ones(64, 65)


def test_on_other_processors_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "_is_amd", lambda: False)
    first, second = _operands((96, 300, 500), False, False)
    with onednn_matmul() as enabled:
        assert not enabled
        assert not _onednn_ran(lambda: first @ second)
