"""Condition a decoder on a class or a speaker: codes then hold what the label does not say.

1711.00937, section 4.3, conditions its WaveNet decoder on the speaker. Here a learned vector of the
label is added to the decoder's input, or to that of each of its blocks. The encoder sees no label,
so codes are the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqtok.errors import UsageError
from vqtok.nn.convnext import Block
from vqtok.protocols import Label
from vqtok.tokenizers.given.labels import number_of

GAIN = 10.0
"""Of the vectors of blocks: a label is in few items of a batch, and its vectors must not be learned
so much later than the rest that codes hold the speaker by then."""


def check_names(names: Sequence[str]) -> None:
    """Check the names of a config.

    Raises:
        ValueError: one is empty or there twice.
    """
    if "" in names or len(set(names)) < len(names):
        raise ValueError("labels: names must not be empty and each there once")


class Labels(nn.Module):
    """Holds a learned vector for each label, zero at first.

    Args:
        names: In order; none: the model has no labels.
        shape: D of the decoder's input; or blocks of a ``ConditionedBlocks``, and their width.
    """

    def __init__(self, names: Sequence[str], *shape: int) -> None:
        super().__init__()
        self.names = tuple(names)
        if names:
            self.vectors = nn.Parameter(torch.zeros(len(names), *shape))

    def condition(self, z_q: Tensor, label: Tensor | Label) -> Tensor:
        """Add the label's vector to what a decoder reads.

        Args:
            z_q: (B, D, *grid); without labels it is given back as it is.
            label: One for all items, or int64 (B,).

        Raises:
            UsageError: none where one is needed, one where there are none, or an unknown one.
        """
        vectors = self._chosen(label)
        if vectors is None:
            return z_q
        return z_q + vectors.reshape(*vectors.shape, *(1 for _ in z_q.shape[2:]))

    def inputs(self, z_q: Tensor, label: Tensor | Label) -> tuple[Tensor, Tensor | None]:
        """Make the input of a ``ConditionedBlocks`` decoder, and its vectors if it takes any."""
        if self.names and self.vectors.ndim == 3:
            return z_q, self._chosen(label)
        return self.condition(z_q, label), None

    def _chosen(self, label: Tensor | Label) -> Tensor | None:
        """Take (1, *shape) vectors, or as many as labels are given; None: the model has none."""
        if not self.names:
            self.number(label if isinstance(label, int | str) else None)
            if isinstance(label, Tensor):
                raise UsageError("labels: this model was made without labels")
            return None
        if not isinstance(label, Tensor):
            label = torch.tensor([self.number(label)])
        return self.vectors[label.to(self.vectors.device)]

    def number(self, label: Label) -> int:
        """Give the number of a label; 0 if the model has none and none is given.

        Raises:
            UsageError: as ``condition``.
        """
        return number_of(self.names, label)


class ConditionedBlocks(nn.Sequential):
    """Layers; a vector of its own may be added to the input of each block among them."""

    def forward(self, x: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Run them.

        Args:
            x: (B, D, 1, T).
            vectors: (B, blocks, width) or (1, blocks, width); None: none.
        """
        at = 0
        for layer in self:
            if vectors is not None and isinstance(layer, Block):
                x = x + GAIN * vectors[:, at, :, None, None]
                at += 1
            x = layer(x)
        return x
