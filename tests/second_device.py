"""A GPU that isn't there: tensors that say they lie on cuda:0, and errors where devices are mixed.

All numbers are computed on the CPU; a tensor on the device is an ordinary one with a mark. Within
`second_device` every call of torch from Python is looked at first: one that mixes marked and
unmarked tensors (but for single numbers, copies, and CPU indices into a marked tensor) raises what
CUDA raises, and so does `numpy()` of a marked tensor. Covered: what derta and transformers call
from Python in the same thread. Not covered: what happens inside a single call of torch (`backward`
among them), a GPU's kernels and its arithmetic.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")

_MARK = "_on_second_device"
_GET_DEVICE = torch.Tensor.device.__get__  # type: ignore[attr-defined]
_SET_DATA = torch.Tensor.data.__set__  # type: ignore[attr-defined]
_INDEX = torch.Tensor.__getitem__
_MAY_MIX = {torch.Tensor.copy_, _SET_DATA}
_TO_CPU = {torch.Tensor.cpu}
_UNSEEN = {torch._C._nn._parse_to, torch._has_compatible_shallow_copy_type}
"""What `Module.to` asks before it moves anything."""


def is_on_device(tensor: torch.Tensor) -> bool:
    """Whether a tensor is marked."""
    return bool(getattr(tensor, _MARK, False))


def _mark(value: Any, on_device: bool) -> Any:
    def each(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            setattr(leaf, _MARK, on_device)
        return leaf

    return tree_map(each, value)


class _SecondDevice(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _UNSEEN:
            return func(*args, **kwargs)
        leaves, _ = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        marked = [each for each in tensors if is_on_device(each)]
        if func == _GET_DEVICE:
            return DEVICE if marked else func(*args, **kwargs)
        if not tensors and not _asks_for_device(args, kwargs):
            return func(*args, **kwargs)
        others = [each for each in tensors if not is_on_device(each) and each.dim()]
        if marked and others and not _may_mix(func, args):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but {func} found cuda:0 and cpu"
            )
        if marked and func is torch.Tensor.numpy:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        target = bool(marked)
        if func in _MAY_MIX:  # the first one's place is kept; of `data` it is the new one's
            target = is_on_device(args[0] if func is torch.Tensor.copy_ else args[1])
        asked = _asks_for_device(args, kwargs)
        if asked is not None:
            target = asked.type == "cuda"
            args, kwargs = _on_cpu(args), _on_cpu(kwargs)
        elif func in _TO_CPU:
            target = False
        result = func(*args, **kwargs)
        if func == _SET_DATA:
            return _mark(args[0], target)
        moved = (asked is not None or func in _TO_CPU) and isinstance(result, torch.Tensor)
        if moved and any(result is each for each in tensors) and target != is_on_device(result):
            result = result.clone()
        return _mark(result, target)


def _may_mix(func: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    return func in _MAY_MIX or (func is _INDEX and is_on_device(args[0]))


def _asks_for_device(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.device | None:
    """Find a device among the arguments; "cuda" as a string counts."""
    for each in [*args, kwargs.get("device")]:
        if isinstance(each, torch.device):
            return each
        if isinstance(each, str) and each.split(":")[0] in ("cuda", "cpu"):
            return torch.device(each)
    return None


def _on_cpu(arguments: Any) -> Any:
    def each(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return CPU
        is_name = isinstance(leaf, str) and leaf.split(":")[0] in ("cuda", "cpu")
        return CPU if is_name else leaf

    return tree_map(each, arguments)


@contextlib.contextmanager
def second_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this thread have a device cuda:0, which `derta.data.devices` finds."""
    from derta.data import devices

    made = torch.nn.Parameter.__new__

    def parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        # The mode isn't asked when a parameter is made of a tensor.
        return _mark(made(cls, data, requires_grad), data is not None and is_on_device(data))

    with monkeypatch.context() as patch, _SecondDevice():
        patch.setattr(torch.nn.Parameter, "__new__", parameter)
        patch.setattr(devices, "inference_device", lambda: str(DEVICE))
        yield
