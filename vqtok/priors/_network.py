"""What the files of ``priors/`` make: networks over flat codes, all used in the same way."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from vqtok.priors._patterns import Layout


class Condition(NamedTuple):
    """What a network is given beside the codes that it predicts."""

    classes: Tensor | None = None
    """int64 (B,), -1 for none."""
    coarse: Tensor | None = None
    """int64 (B, n): the flat codes of coarser levels."""

    def item(self, index: int) -> Condition:
        """That of one item."""
        return Condition(*(None if each is None else each[index : index + 1] for each in self))

    def classless(self) -> Condition:
        """Returns the same without classes."""
        return self._replace(classes=None)


class Run(Protocol):
    """One pass along a layout."""

    def __call__(self, flat: Tensor, step: int) -> list[Tensor]:
        """Logits of a step.

        Args:
            flat: int64 (B, N) flat codes; those of all steps before are there.
            step: Ascends from call to call; steps may be left out.

        Returns:
            (B, K) for each slot that is not empty, in order.
        """


class Network(Protocol):
    """A model over flat codes; a torch module."""

    def lay_out(self, extent: tuple[int, ...]) -> Layout:
        """Returns the order of the codes of a signal of this extent."""

    def nats(self, flat: Tensor, layout: Layout, condition: Condition) -> Tensor:
        """Returns the cost of each of (B, N) flat codes: (B, N) float32, differentiable."""

    def run(self, layout: Layout, condition: Condition, *, cached: bool) -> Run:
        """Begin a pass; without a cache each call computes everything anew."""
