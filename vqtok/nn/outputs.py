"""Read a decoder's numbers: pixels, or the parameters of a likelihood over pixels.

"plain": the pixels themselves. "logits": one number per value, whose sigmoid is its brightness in
[0, 1] (a Bernoulli likelihood). "logit-laplace": two numbers per value, mu and ln b of the
likelihood of Ramesh et al. 2021 (2102.12092), appendix A.3; there pixels are squeezed away from 0
and 1, where its density is not finite, also on their way into the encoder.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Output = Literal["plain", "logits", "logit-laplace"]

EPSILON = 0.1
"""Share of the range that map_pixels leaves free on each side (2102.12092, appendix A.3)."""


def entering(x: Tensor, output: Output) -> Tensor:
    """Map (…) pixels in [-1, 1] to what the encoder reads: the same range, or [0.1, 0.9]."""
    if output != "logit-laplace":
        return x
    # Eq. 5: (1 - 2 eps) x + eps. Two operations, each rounded once: the same bits at any place.
    return x * (0.5 - EPSILON) + 0.5


def parameters(output: Output) -> int:
    """Count the numbers that the decoder gives for each value."""
    return 2 if output == "logit-laplace" else 1


def pixels(raw: Tensor, output: Output) -> Tensor:
    """Turn what the decoder gave into pixels around [-1, 1].

    Args:
        raw: (B, n·C, H, W) float32; for "logit-laplace" all of mu before all of ln b.
        output: What it means.

    Returns:
        (B, C, H, W); "logits" inside [-1, 1], "logit-laplace" inside [-1.25, 1.25].
    """
    if output == "plain":
        return raw
    if output == "logits":
        return 2.0 * raw.sigmoid() - 1.0
    mu = raw.chunk(2, dim=1)[0]
    return (mu.sigmoid() - 0.5) / (0.5 - EPSILON)
