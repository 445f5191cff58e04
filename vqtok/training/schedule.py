"""Learning rate over a run."""

from __future__ import annotations

import math

from vqtok.training.recipe import Train


def learning_rate(plan: Train, *, step: int, progress: float) -> float:
    """Linear warm-up, then the plan's fall to ``final_rate`` of the peak.

    "cosine" is half a cosine over the whole run (Loshchilov & Hutter 2017, 1608.03983, without
    restarts); "constant" stays at the peak and falls linearly over the last ``decay`` of the run.

    Args:
        plan: Peak, warm-up and form.
        step: Steps done so far.
        progress: Share of the run that is done, 0 … 1: steps or minutes, whichever is further.
    """
    rise = min(1.0, (step + 1) / max(1, plan.warmup))
    done = min(1.0, progress)
    if plan.schedule == "cosine":
        left = 0.5 * (1.0 + math.cos(math.pi * done))
    else:
        left = min(1.0, (1.0 - done) / plan.decay) if plan.decay > 0 else 1.0
    return plan.learning_rate * rise * (plan.final_rate + (1.0 - plan.final_rate) * left)
