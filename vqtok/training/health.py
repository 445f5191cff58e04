"""Is the run well? Codebook use, commitment, finite numbers; and what was done where it is not.

All of it is counted over fixed windows of steps and saved with the run, so that a resumed run
reaches the same verdicts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vqtok.codes.spec import LevelSpec
from vqtok.distributed import summed, world
from vqtok.errors import TrainingError
from vqtok.training.log import total
from vqtok.training.vitals import LevelVitals, Vitals

WINDOW = 100
"""Steps over which use is counted and verdicts are reached."""

RESTARTS = 3
"""Times a codebook is placed anew in one run; after that something else is wrong."""

RUNAWAY = 10.0
"""Commitment, as a multiple of all other losses, from which latents have left their entries."""

HALVED_AFTER = 10
"""Steps skipped in a row after which the learning rate is halved."""

HOPELESS = 100
"""Steps skipped in a row after which the run ends."""


@dataclass(frozen=True)
class Verdict:
    """What the watch found at a step.

    Attributes:
        warnings: Lines for the user.
        collapsed: Levels whose codebook should be placed anew, each with why, a line for the user.
    """

    warnings: tuple[str, ...] = ()
    collapsed: tuple[tuple[int, str], ...] = ()


class Use(NamedTuple):
    """Of one level's entries, means over its stages."""

    share: float
    perplexity: float


class Health(nn.Module):
    """Counts codes and judges.

    Args:
        levels: Of the model's codes; none if it is continuous.
    """

    def __init__(self, levels: Sequence[LevelSpec]) -> None:
        super().__init__()
        self.names = [each.name for each in levels]
        self.vitals = Vitals(levels=[LevelVitals() for _ in levels])
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
            self._weigh(losses)
        collapsed: list[tuple[int, str]] = []
        if step % WINDOW == 0 and self.vitals.steps:
            for index, level in enumerate(self.vitals.levels):
                what = self._judge(index)
                if what and level.restarts < RESTARTS:
                    level.restarts += 1
                    collapsed.append((index, f"{what} ({level.restarts} of {RESTARTS})"))
                elif what:
                    warnings.append(f"{what}; a lower --set train.learning_rate=… may help")
            self._turn()
        return Verdict(tuple(warnings), tuple(collapsed))

    def use(self) -> Use | None:
        """Share of entries used and perplexity lately, means over levels; None: no codes."""
        found = self.uses()
        if not found:
            return None
        shares, perplexities = zip(*found.values(), strict=True)
        return Use(sum(shares) / len(found), sum(perplexities) / len(found))

    def uses(self) -> dict[str, Use]:
        """The same for each level by name; nothing before there are codes.

        Of the last whole window, or of the present one while there is no other.
        """
        found = {}
        for index, name in enumerate(self.names):
            counts = self.get_buffer(f"before_{index}")
            if not counts.any():
                counts = self.get_buffer(f"now_{index}")
            if not counts.any():
                return {}
            share = counts / counts.sum(1, keepdim=True).clamp(min=1)
            entropy = -(share * share.clamp(min=1e-12).log()).sum(1)
            used = (counts > 0).float().mean()
            found[name] = Use(float(used), float(entropy.exp().mean()))
        return found

    def apart(self) -> dict[str, dict[str, float]]:
        """``uses`` as JSON data; nothing of a model with one level."""
        if len(self.names) < 2:
            return {}
        return {name: each._asdict() for name, each in self.uses().items()}

    def told(self, verdict: Verdict, *, anew: Collection[int]) -> list[str]:
        """All lines of a verdict.

        Args:
            verdict: The latest.
            anew: Levels whose codebooks are being placed anew; they are counted anew, too.
        """
        lines = list(verdict.warnings)
        for level, why in verdict.collapsed:
            if level in anew:
                self.forget(level)
                why += ": its entries are placed anew by k-means over the next steps"
            lines.append(why)
        return lines

    def forget(self, level: int) -> None:
        """Begin to count a level anew: its codebook is another one."""
        for name in ("now", "before"):
            self.get_buffer(f"{name}_{level}").zero_()
        self.vitals.levels[level].best_use = 0.0

    def remember(self, data: Mapping[str, Any]) -> None:
        """Go on from the vitals of a saved run."""
        self.vitals = Vitals.from_json(data, levels=len(self.names))

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

    def _weigh(self, losses: Mapping[str, float]) -> None:
        vitals, commitments = self.vitals, 0.0
        for name, level in zip(self.names, vitals.levels, strict=True):
            term = "commitment" if len(self.names) == 1 else f"commitment_{name}"
            level.commitment += losses.get(term, 0.0)
            commitments += losses.get(term, 0.0)
        vitals.steps += 1
        vitals.rest += total(losses) - commitments

    def _judge(self, index: int) -> str:
        """What is wrong with a level, in words; nothing: ""."""
        level = self.vitals.levels[index]
        found = self._window_use(index)
        fallen = found < 0.5 * level.best_use and found < 0.5
        level.best_use = max(level.best_use, found)
        ratio = level.commitment / self.vitals.rest if self.vitals.rest > 0 else 0.0
        if not (fallen or ratio > RUNAWAY):
            return ""
        what = (
            f"codebook use fell to {found:.0%}"
            if fallen
            else f"commitment is {ratio:.0f} times all other losses: "
            "latents run away from their entries"
        )
        return f"{self.names[index]}: {what}" if len(self.names) > 1 else what

    def _window_use(self, index: int) -> float:
        return float((self.get_buffer(f"now_{index}") > 0).float().mean())

    def _turn(self) -> None:
        for index in range(len(self.stacked)):
            self.get_buffer(f"before_{index}").copy_(self.get_buffer(f"now_{index}"))
            self.get_buffer(f"now_{index}").zero_()
        self.vitals.steps, self.vitals.rest = 0, 0.0
        for level in self.vitals.levels:
            level.commitment = 0.0
