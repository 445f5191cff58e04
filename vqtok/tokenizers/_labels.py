"""Classes or speakers that a decoder is told: codes then hold what the label does not say.

1711.00937, section 4.3, tells its WaveNet decoder the speaker. Here the decoder's input, or that of
each of its blocks, gets a learned vector for each label added. The encoder sees none, so codes are
the same for all.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqtok.errors import UsageError
from vqtok.nn.convnext import Block

Label = int | str | None
"""A name, its number, or None for a model without labels."""

SHOWN = 12

GAIN = 10.0
"""Of the vectors of blocks: a label is in few items of a batch, and its vectors must not be learned
so much later than the rest that the codes have told the speaker by then."""


def check_names(names: Sequence[str]) -> None:
    """Check the names of a config.

    Raises:
        ValueError: one is empty or there twice.
    """
    if "" in names or len(set(names)) < len(names):
        raise ValueError("labels: names must not be empty and each there once")


class Labels(nn.Module):
    """One learned vector for each label, zero at first.

    Args:
        names: In order; none: the model has no labels.
        shape: D of the decoder's input; or blocks of a ``Told`` decoder, and their width.
    """

    def __init__(self, names: Sequence[str], *shape: int) -> None:
        super().__init__()
        self.names = tuple(names)
        if names:
            self.vectors = nn.Parameter(torch.zeros(len(names), *shape))

    def tell(self, z_q: Tensor, label: Tensor | Label) -> Tensor:
        """Add to (B, D, *grid) what the decoder is told.

        Args:
            z_q: What it reads; without labels it is given back as it is.
            label: One for all items, or int64 (B,).

        Raises:
            UsageError: none where one is needed, one where there are none, or an unknown one.
        """
        told = self._chosen(label)
        if told is None:
            return z_q
        return z_q + told.reshape(*told.shape, *(1 for _ in z_q.shape[2:]))

    def given(self, z_q: Tensor, label: Tensor | Label) -> tuple[Tensor, Tensor | None]:
        """What a ``Told`` decoder is given for ``tell``'s arguments: its input, and its vectors."""
        if self.names and self.vectors.ndim == 3:
            return z_q, self._chosen(label)
        return self.tell(z_q, label), None

    def _chosen(self, label: Tensor | Label) -> Tensor | None:
        """(1, *shape), or as many as there are labels; None: the model has none."""
        if not self.names:
            self.number(label if isinstance(label, int | str) else None)
            if isinstance(label, Tensor):
                raise UsageError("labels: this model was made without labels")
            return None
        if not isinstance(label, Tensor):
            label = torch.tensor([self.number(label)])
        return self.vectors[label.to(self.vectors.device)]

    def number(self, label: Label) -> int:
        """The number of a label; 0 if the model has none and none is given.

        Raises:
            UsageError: as ``tell``.
        """
        if not self.names:
            if label is not None:
                raise UsageError(f"label {label!r}: this model was made without labels")
            return 0
        if label is None:
            raise UsageError("no label given: this model needs one", hint=self._known())
        if isinstance(label, str):
            if label in self.names:
                return self.names.index(label)
            close = difflib.get_close_matches(label, self.names, n=1)
            hint = f"did you mean {close[0]}?" if close else self._known()
            raise UsageError(f"label {label!r}: the model does not know it", hint=hint)
        if not 0 <= label < len(self.names):
            raise UsageError(f"label {label}: the model has 0 … {len(self.names) - 1}")
        return label

    def _known(self) -> str:
        more = len(self.names) - SHOWN
        return f"one of {', '.join(self.names[:SHOWN])}" + (f" and {more} more" if more > 0 else "")


class Told(nn.Sequential):
    """Layers; the blocks among them are told a label, each by a vector of its own."""

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """Run them.

        Args:
            x: (B, D, 1, T).
            told: (B, blocks, width) or (1, blocks, width); None: nothing.
        """
        at = 0
        for layer in self:
            if told is not None and isinstance(layer, Block):
                x = x + GAIN * told[:, at, :, None, None]
                at += 1
            x = layer(x)
        return x
