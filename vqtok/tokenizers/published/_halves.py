"""One side of a tokenizer as a module of its own, for torch's exporter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Half(nn.Module):
    """A function of tensors, and the network whose weights it uses.

    Args:
        network: Its weights are the module's.
        run: Tensors → a tensor, or a tuple of them.
    """

    def __init__(self, network: nn.Module, run: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self._run = network, run

    def forward(self, *given: Tensor) -> Any:
        """Compute it."""
        return self._run(*given)
