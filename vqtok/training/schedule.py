"""Learning rate over a run."""

from __future__ import annotations

import math


def learning_rate(*, step: int, progress: float, peak: float, final: float, warmup: int) -> float:
    """Linear warm-up, then half a cosine from the peak down to ``final · peak``.

    Args:
        step: Steps done so far.
        progress: Share of the run that is done, 0 … 1: steps or minutes, whichever is further.
        peak: Highest rate.
        final: Rate at the end, as a fraction of the peak.
        warmup: Steps of linear rise.
    """
    rise = min(1.0, (step + 1) / max(1, warmup))
    fall = final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return peak * rise * fall
