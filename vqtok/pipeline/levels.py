"""What each level of a picture's codes says by itself: the others say one thing everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vqtok.codes.container import Codes
from vqtok.errors import UsageError


def only(codes: Codes, names: Sequence[str]) -> Codes:
    """Keep some levels of codes; all positions of the others get their most frequent code.

    Args:
        codes: numpy codes, (B, *axes) per level; each item of the batch for itself.
        names: Of the levels that stay.

    Raises:
        UsageError: a level that the codes do not have.
    """
    known = [level.name for level in codes.spec.levels]
    for name in names:
        if name not in known:
            hint = f"levels: {', '.join(known)}"
            raise UsageError(f"--levels {name}", "the codes have no such level", hint=hint)
    levels = [
        array if name in names else np.stack([_even(item) for item in array])
        for name, array in zip(known, codes.levels, strict=True)
    ]
    return replace(codes, levels=tuple(levels))


def _even(item: np.ndarray) -> np.ndarray:
    values, counts = np.unique(item, return_counts=True)
    return np.full_like(item, values[counts.argmax()])
