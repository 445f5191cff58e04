"""Share what continuous methods have in common: latents stay numbers, there are no codes."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn

from vqtok.errors import UsageError
from vqtok.protocols import Assigned


class Codeless(nn.Module):
    """A quantizer that does not quantize: ``codebook_size`` is 0.

    Attributes:
        generator: Makes every random choice (a CPU generator; None: torch's global one).
    """

    def __init__(self) -> None:
        super().__init__()
        self.codebook_size = 0
        self.depth: int | None = None
        self.generator: torch.Generator | None = None

    def assign(self, z: Tensor, *, tolerance: float) -> Assigned:
        """Refuse.

        Raises:
            UsageError: always.
        """
        self._refuse()

    def decode(self, codes: Tensor) -> Tensor:
        """Refuse.

        Raises:
            UsageError: always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"{type(self).__name__.lower()}: continuous latents have no codes",
            hint="quantizers with a codebook have: quantizers/vq, quantizers/fsq",
        )


def no_codes(z: Tensor) -> Tensor:
    """Make zeros for the codes of (B, D, *grid) latents: int64 (B, *grid)."""
    return torch.zeros(z.shape[0], *z.shape[2:], dtype=torch.int64, device=z.device)
