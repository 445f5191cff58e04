"""Say what the levels of an effort are, and refuse those that are none."""

from __future__ import annotations

from vqtok.codes.header import Effort
from vqtok.errors import UsageError

PASSES = (0, 1, 2, 3, 4, 6, 8, 12, 18, 27)
"""Gradients of the decoder that each level takes; a picture's codes change after each.

Gains grow about with the logarithm of the time: `benchmarks/effort.py` prints them.
"""

METRICS = ("mse", "ssim")
"""What falls: the mean square of errors, or what SSIM lacks to 1."""


def chosen(level: int, metric: str = METRICS[0]) -> Effort:
    """Make the effort that a user asked for.

    Raises:
        UsageError: no such level, or no such metric.
    """
    if not 0 <= level < len(PASSES):
        raise UsageError(f"--effort {level}", f"efforts go from 0 to {len(PASSES) - 1}")
    if metric not in METRICS:
        raise UsageError(
            f"--effort-metric {metric}", "unknown", hint=f"one of {', '.join(METRICS)}"
        )
    return Effort(level, metric)
