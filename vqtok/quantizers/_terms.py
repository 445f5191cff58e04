"""The parts of a quantizer's loss, by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from vqtok.protocols import Quantized


def quantized(z_q: Tensor, codes: Tensor, terms: Mapping[str, Tensor]) -> Quantized:
    """Makes a result whose loss is the sum of the terms.

    Args:
        z_q: (B, D, *grid).
        codes: int64, as in ``Quantized``.
        terms: Name → (), weighted, with their gradients.
    """
    loss = torch.stack(list(terms.values())).sum() if terms else z_q.new_zeros(())
    return Quantized(z_q, codes, loss, {name: term.detach() for name, term in terms.items()})


def codebook_terms(
    z: Tensor, chosen: Tensor, *, commitment: float, learned: bool
) -> dict[str, Tensor]:
    """Squared distance, element by element, as 1711.00937 Eq. 3 weighs it for both sides.

    Args:
        z: (N, d) latents.
        chosen: (N, d) their entries.
        commitment: Weight of the latents' term (beta); the entries' has 1.
        learned: Whether entries have a term: those that are moving averages take no gradient.

    Returns:
        (N, d) each.
    """
    terms = {"commitment": commitment * F.mse_loss(z, chosen.detach(), reduction="none")}
    if learned:
        terms["codebook"] = F.mse_loss(chosen, z.detach(), reduction="none")
    return terms
