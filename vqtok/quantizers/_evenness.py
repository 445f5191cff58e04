"""How evenly codes that consist of digits are used, with gradients.

The entropy of the mean distribution over codes (Yu et al. 2023, 2310.05737, Eq. 5, second part),
where a latent's distribution is a product over digits: bits in ``_bits``, levels in ``fsq``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vqtok import distributed


def entropy_of_mean(digits: Sequence[Tensor], *, joint: bool) -> Tensor:
    """Entropy of the mean, over latents, of the distribution of codes.

    The mean of a product of two halves of the digits is a matrix product, so that N numbers per
    code are never held.

    Args:
        digits: At least one, each (N, L) probabilities of its values.
        joint: The mean is over the latents of all ranks.

    Returns:
        () in nats, 0 to the logarithm of the product of all L.
    """
    half = len(digits) // 2
    high = _combined(digits[half:])
    low = _combined(digits[:half]) if half else high.new_ones(len(high), 1)
    mean = high.t() @ low / len(high)
    mean = distributed.pooled(mean) if joint else mean
    # Codes that nothing reaches: 0 log 0 is 0, and its slope should stay finite.
    return -(mean * mean.clamp(min=1e-12).log()).sum()


def _combined(digits: Sequence[Tensor]) -> Tensor:
    """Maps (N, L) of several digits to (N, product of L) of combinations, the first fastest."""
    out = digits[0]
    for each in digits[1:]:
        out = (each[:, :, None] * out[:, None, :]).flatten(1)
    return out
