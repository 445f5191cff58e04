"""Building a network without drawing the random weights that a file is about to replace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

_FILLERS = frozenset(
    (Tensor.uniform_, Tensor.normal_, init.uniform_, init.normal_, init.trunc_normal_,
     init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_)
)  # fmt: skip


class Unfilled(TorchFunctionMode):
    """Inside this block tensors are not filled with random numbers, but left as they are."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do everything but fill."""
        named = dict(kwargs or {})
        if func in _FILLERS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
