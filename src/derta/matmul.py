"""Float32 matrix products by oneDNN where the build's own library leaves AVX-512 unused.

PyTorch's x86 builds multiply float32 matrices with MKL, which keeps its AVX-512 kernels to Intel's
processors. oneDNN, which is in the same builds, uses them on all. On AMD's it is about twice as
fast (measured: docs/quickstart.md). Both round in float32, in another order.

Not covered: `addmm`, so layers with a bias; other data types; other devices.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["onednn_is_faster", "onednn_matmul"]

_SMALLEST_PRODUCT = 2**16
"""Multiplications below which a call of Python costs more than oneDNN saves."""

_lock = threading.Lock()
_users = 0
_library: Any = None


def onednn_is_faster() -> bool:
    """Say whether this processor and this build of PyTorch are such a pair."""
    import torch

    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and _is_amd()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _is_amd() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = platform.processor()
    return "AuthenticAMD" in text


@contextlib.contextmanager
def onednn_matmul(enabled: bool | None = None) -> Iterator[bool]:
    """Within this context, let oneDNN compute `aten::mm` of float32 tensors on the CPU.

    It holds for the whole process, backward passes and other threads included.

    Args:
        enabled: None asks `onednn_is_faster`.

    Yields:
        Whether oneDNN does it.
    """
    global _users, _library
    if enabled is None:
        enabled = onednn_is_faster()
    if not enabled:
        yield False
        return
    with _lock:
        _users += 1
        if _users == 1:
            _library = _override()
    try:
        yield True
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _library = None  # the library's end brings PyTorch's own kernel back


def _override() -> Any:
    import torch

    linear = torch.ops.mkldnn._linear_pointwise.default

    def mm(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        rows, inner, columns = *first.shape, second.shape[-1]
        if (
            first.dtype is not torch.float32
            or second.dtype is not torch.float32
            or first.ndim != 2
            or second.ndim != 2
            or inner != second.shape[0]
            or rows * inner * columns < _SMALLEST_PRODUCT
        ):
            # PyTorch's own kernel (and its own errors) stand under another name.
            return torch.mm(first, second, out=first.new_empty(rows, columns))
        if first.stride(1) != 1:
            first = first.contiguous()  # oneDNN is slow on transposed rows
        return linear(first, second.t(), None, "none", [], "")  # type: ignore[no-any-return]

    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*other operators may also be overridden")
        library.impl("mm", mm, "CPU")
    return library
