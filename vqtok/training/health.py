"""Is the run well? Codebook use, commitment, finite numbers; and what was done where it is not.

All of it is counted over fixed windows of steps and saved with the run, so that a resumed run
reaches the same verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqtok.codes.spec import LevelSpec
from vqtok.errors import TrainingError
from vqtok.quantizers._ranks import summed, world
from vqtok.training.log import total

WINDOW = 100
"""Steps over which use is counted and verdicts are reached."""

RESTARTS = 3
"""Times a codebook is placed anew in one run; after that something else is wrong."""

HALVED_AFTER = 10
"""Steps skipped in a row after which the learning rate is halved."""

HOPELESS = 100
"""Steps skipped in a row after which the run ends."""


@dataclass
class Vitals:
    """What the watch remembers, as JSON data.

    Attributes:
        skipped: Steps without an update because the loss or a gradient was not finite.
        in_a_row: How many of them were the latest steps.
        rate_scale: Factor of the learning rate.
        steps: Of the present window, with a placed codebook.
        commitment: Sum of the commitment term over these.
        rest: Sum of all other terms over these.
        best_use: Highest share of entries used in any window.
        restarts: Times the codebook was placed anew.
    """

    skipped: int = 0
    in_a_row: int = 0
    rate_scale: float = 1.0
    steps: int = 0
    commitment: float = 0.0
    rest: float = 0.0
    best_use: float = 0.0
    restarts: int = 0

    def to_json(self) -> dict[str, Any]:
        """For the run's state."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vitals:
        """From a run's state; what is missing or unknown is left at its start."""
        start = cls()
        for name, value in asdict(start).items():
            found = data.get(name)
            if isinstance(found, int | float):
                setattr(start, name, type(value)(found))
        return start


@dataclass(frozen=True)
class Verdict:
    """What the watch found at a step.

    Attributes:
        warnings: Lines for the user.
        restart: The codebooks should be placed anew.
    """

    warnings: tuple[str, ...] = ()
    restart: bool = False


class Health(nn.Module):
    """Counts codes and judges.

    Args:
        levels: Of the model's codes; none if it is continuous.
    """

    def __init__(self, levels: Sequence[LevelSpec]) -> None:
        super().__init__()
        self.vitals = Vitals()
        self.stacked = [1 + each.axes.index("q") if "q" in each.axes else None for each in levels]
        for index, level in enumerate(levels):
            depth = level.depth or 1
            for name in ("now", "before"):  # codes counted in the present and in the last window
                empty = torch.zeros(depth, level.codebook_size, dtype=torch.int64)
                self.register_buffer(f"{name}_{index}", empty)

    def observe(
        self,
        step: int,
        *,
        codes: Sequence[Tensor],
        losses: Mapping[str, float],
        finite: bool,
        excused: bool = False,
    ) -> Verdict:
        """Take in one step.

        Args:
            step: Steps done, this one included.
            codes: Of each level; none while a codebook is not yet placed.
            losses: Weighted terms.
            finite: Whether the step was taken.
            excused: Whether skipping is part of the number format's working.

        Raises:
            TrainingError: nothing has been finite for too long.
        """
        warnings = self._count_skip(step, finite=finite, excused=excused)
        if finite and codes:
            for index, each in enumerate(codes):
                self._count(index, each)
            vitals = self.vitals
            vitals.steps += 1
            vitals.commitment += losses.get("commitment", 0.0)
            vitals.rest += total(losses) - losses.get("commitment", 0.0)
        restart = False
        if step % WINDOW == 0 and self.vitals.steps:
            verdict = self._judge()
            warnings += verdict.warnings
            restart = verdict.restart
            self._turn()
        return Verdict(tuple(warnings), restart)

    def use(self) -> tuple[float, float] | None:
        """(share of entries used, perplexity) lately, means over stages and levels; None: no codes.

        Of the last whole window, or of the present one while there is no other.
        """
        shares, perplexities = [], []
        for index in range(len(self.stacked)):
            counts = self.get_buffer(f"before_{index}")
            if not counts.any():
                counts = self.get_buffer(f"now_{index}")
            if not counts.any():
                return None
            share = counts / counts.sum(1, keepdim=True).clamp(min=1)
            entropy = -(share * share.clamp(min=1e-12).log()).sum(1)
            shares.append(float((counts > 0).float().mean()))
            perplexities.append(float(entropy.exp().mean()))
        if not shares:
            return None
        return sum(shares) / len(shares), sum(perplexities) / len(perplexities)

    def forget(self) -> None:
        """Begin to count anew: the codebook is another one."""
        for buffer in self.buffers():
            buffer.zero_()
        self.vitals.best_use = 0.0
        self._reset()

    def _count(self, index: int, codes: Tensor) -> None:
        counts, axis = self.get_buffer(f"now_{index}"), self.stacked[index]
        depth, size = counts.shape
        flat = codes.detach()
        flat = flat.reshape(1, -1) if axis is None else flat.movedim(axis, 0).reshape(depth, -1)
        offset = torch.arange(depth, device=flat.device)[:, None] * size
        found = torch.bincount((flat + offset).reshape(-1), minlength=depth * size)
        if world() > 1:
            (found,) = summed(found)
        counts += found.view(depth, size)

    def _count_skip(self, step: int, *, finite: bool, excused: bool) -> list[str]:
        vitals = self.vitals
        if finite:
            vitals.in_a_row = 0
            return []
        vitals.skipped += 1
        if excused:
            return []
        vitals.in_a_row += 1
        if vitals.in_a_row >= HOPELESS:
            raise TrainingError(
                f"step {step}: diverged: no finite loss or gradient for {HOPELESS} steps",
                hint="the best model so far is kept; try --set train.learning_rate=… "
                "at a third, or --precision float32",
            )
        if vitals.in_a_row % HALVED_AFTER == 0:
            vitals.rate_scale /= 2
            return [
                f"{vitals.in_a_row} steps in a row were not finite and not taken: "
                f"the learning rate is {vitals.rate_scale:g} times the planned one from here"
            ]
        return ["loss or gradient not finite: step not taken"] if vitals.in_a_row == 1 else []

    def _judge(self) -> Verdict:
        vitals = self.vitals
        found = self._window_use()
        fallen = found < 0.5 * vitals.best_use and found < 0.5
        vitals.best_use = max(vitals.best_use, found)
        commitment, rest = vitals.commitment / vitals.steps, vitals.rest / vitals.steps
        runaway = commitment > 10 * rest > 0
        if not (fallen or runaway):
            return Verdict()
        what = (
            f"codebook use fell to {found:.0%}"
            if fallen
            else f"commitment is {commitment / rest:.0f} times all other losses: "
            "latents run away from their entries"
        )
        if vitals.restarts >= RESTARTS:
            return Verdict((f"{what}; a lower --set train.learning_rate=… may help",))
        vitals.restarts += 1
        return Verdict((f"{what} ({vitals.restarts} of {RESTARTS})",), restart=True)

    def _window_use(self) -> float:
        shares = [(b > 0).float().mean() for n, b in self.named_buffers() if n.startswith("now")]
        return float(torch.stack(shares).mean()) if shares else 1.0

    def _turn(self) -> None:
        for index in range(len(self.stacked)):
            self.get_buffer(f"before_{index}").copy_(self.get_buffer(f"now_{index}"))
            self.get_buffer(f"now_{index}").zero_()
        self._reset()

    def _reset(self) -> None:
        self.vitals.steps, self.vitals.commitment, self.vitals.rest = 0, 0.0, 0.0
