"""Watches codebook use, commitment and finite numbers of a run, and responds to what is wrong.

All of it is counted over fixed windows of steps and saved with the run, so that a resumed run
reaches the same verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vqtok.codes.spec import LevelSpec
from vqtok.distributed import summed, world
from vqtok.errors import TrainingError
from vqtok.training.log import total

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


@dataclass
class LevelState:
    """Remembers one level of codes.

    Attributes:
        commitment: Sum of its commitment term over the window's steps.
        best_use: Highest share of its entries used in any window.
        restarts: Times its codebook was placed anew.
    """

    commitment: float = 0.0
    best_use: float = 0.0
    restarts: int = 0


@dataclass
class MonitorState:
    """Remembers a run, as numbers that are saved with it.

    Attributes:
        skipped: Steps without an update because the loss or a gradient was not finite.
        in_a_row: How many of them were the latest steps.
        rate_scale: Factor of the learning rate.
        steps: Of the present window, with placed codebooks.
        rest: Sum of all terms but the commitments over these.
        levels: Of each level of codes.
    """

    skipped: int = 0
    in_a_row: int = 0
    rate_scale: float = 1.0
    steps: int = 0
    rest: float = 0.0
    levels: list[LevelState] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return numbers by name; those of the second level end in ".1", and so on."""
        data = asdict(self)
        for index, level in enumerate(data.pop("levels")):
            data |= {_key(name, index): value for name, value in level.items()}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, levels: int = 1) -> MonitorState:
        """Read a run's state; what is missing or unknown is left at its start.

        Args:
            data: What ``to_json`` gave.
            levels: Of codes.
        """
        start = cls()
        _take(start, data)
        for index in range(levels):
            level = LevelState()
            _take(level, {name: data.get(_key(name, index)) for name in asdict(level)})
            start.levels.append(level)
        return start


class Use(NamedTuple):
    """Holds the use of one level's entries, means over its stages."""

    share: float
    perplexity: float


class Monitor(nn.Module):
    """Counts codes, and warns when a codebook collapses or losses diverge.

    Args:
        levels: Of the model's codes; none if it is continuous.
    """

    def __init__(self, levels: Sequence[LevelSpec]) -> None:
        super().__init__()
        self.names = [each.name for each in levels]
        self.state = MonitorState(levels=[LevelState() for _ in levels])
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
        restart: Callable[[int], bool],
        excused: bool = False,
    ) -> list[str]:
        """Count a step's codes; at the end of a window, check each level.

        Args:
            step: Steps done, this one included.
            codes: Of each level; none while a codebook is not yet placed.
            losses: Weighted terms.
            finite: Whether the step was taken.
            restart: Places a level's codebook anew, and tells whether it may.
            excused: Whether skipping is part of the number format's working.

        Returns:
            Warnings, a line each.

        Raises:
            TrainingError: nothing has been finite for too long.
        """
        warnings = self._count_skip(step, finite=finite, excused=excused)
        if finite and codes:
            for index, each in enumerate(codes):
                self._count(index, each)
            self._sum_losses(losses)
        if step % WINDOW == 0 and self.state.steps:
            for index in range(len(self.names)):
                if what := self._fault(index):
                    warnings.append(self._respond(index, what, restart))
            self._end_window()
        return warnings

    def _respond(self, index: int, what: str, restart: Callable[[int], bool]) -> str:
        """Have a collapsed codebook placed anew, a few times at most; the warning."""
        level = self.state.levels[index]
        if level.restarts >= RESTARTS:
            return f"{what}; a lower --set train.learning_rate=… may help"
        level.restarts += 1
        what = f"{what} ({level.restarts} of {RESTARTS})"
        if not restart(index):
            return what
        for name in ("now", "before"):  # it is another codebook: its use is counted anew
            self.get_buffer(f"{name}_{index}").zero_()
        level.best_use = 0.0
        return f"{what}: its entries are placed anew by k-means over the next steps"

    def use(self) -> Use | None:
        """Average share of entries used and perplexity lately over levels; None: no codes."""
        found = self.uses()
        if not found:
            return None
        shares, perplexities = zip(*found.values(), strict=True)
        return Use(sum(shares) / len(found), sum(perplexities) / len(found))

    def uses(self) -> dict[str, Use]:
        """Measure the use of each level by name; nothing before there are codes.

        Of the last whole window, or of the present one while there is no other.
        """
        found = {}
        for name, counts in self._counts().items():
            share = counts / counts.sum(1, keepdim=True).clamp(min=1)
            entropy = -(share * share.clamp(min=1e-12).log()).sum(1)
            used = (counts > 0).float().mean()
            found[name] = Use(float(used), float(entropy.exp().mean()))
        return found

    def relative_uses(self) -> dict[str, np.ndarray]:
        """Measure the use of each entry by level, over the codes of ``uses``.

        Returns:
            Level → (Q·K,) float: 0 is never, 1 as often as if all of a stage were used alike.
        """
        return {
            name: (counts / counts.sum(1, keepdim=True).clamp(min=1) * counts.shape[1])
            .flatten()
            .cpu()
            .numpy()
            for name, counts in self._counts().items()
        }

    def _counts(self) -> dict[str, Tensor]:
        """Take each level's counts, (Q, K); nothing before every level has codes."""
        found = {}
        for index, name in enumerate(self.names):
            counts = self.get_buffer(f"before_{index}")
            if not counts.any():
                counts = self.get_buffer(f"now_{index}")
            if not counts.any():
                return {}
            found[name] = counts
        return found

    def use_of_levels(self) -> dict[str, dict[str, float]]:
        """Give ``uses`` as JSON data; nothing of a model with one level."""
        if len(self.names) < 2:
            return {}
        return {name: each._asdict() for name, each in self.uses().items()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Go on from ``MonitorState.to_json`` of a saved run."""
        self.state = MonitorState.from_json(data, levels=len(self.names))

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
        state = self.state
        if finite:
            state.in_a_row = 0
            return []
        state.skipped += 1
        if excused:
            return []
        state.in_a_row += 1
        if state.in_a_row >= HOPELESS:
            raise TrainingError(
                f"step {step}: diverged: no finite loss or gradient for {HOPELESS} steps",
                hint="the best model so far is kept; try --set train.learning_rate=… "
                "at a third, or --precision float32",
            )
        if state.in_a_row % HALVED_AFTER == 0:
            state.rate_scale /= 2
            return [
                f"{state.in_a_row} steps in a row were not finite and not taken: "
                f"the learning rate is {state.rate_scale:g} times the planned one from here"
            ]
        return ["loss or gradient not finite: step not taken"] if state.in_a_row == 1 else []

    def _sum_losses(self, losses: Mapping[str, float]) -> None:
        state, commitments = self.state, 0.0
        for name, level in zip(self.names, state.levels, strict=True):
            term = "commitment" if len(self.names) == 1 else f"commitment_{name}"
            level.commitment += losses.get(term, 0.0)
            commitments += losses.get(term, 0.0)
        state.steps += 1
        state.rest += total(losses) - commitments

    def _fault(self, index: int) -> str:
        """Say what is wrong with a level; nothing: ""."""
        level = self.state.levels[index]
        found = self.window_use(index)
        fallen = found < 0.5 * level.best_use and found < 0.5
        level.best_use = max(level.best_use, found)
        ratio = level.commitment / self.state.rest if self.state.rest > 0 else 0.0
        if not (fallen or ratio > RUNAWAY):
            return ""
        what = (
            f"codebook use fell to {found:.0%}"
            if fallen
            else f"commitment is {ratio:.0f} times all other losses: "
            "latents run away from their entries"
        )
        return f"{self.names[index]}: {what}" if len(self.names) > 1 else what

    def window_use(self, index: int) -> float:
        """Return the share of a level's entries used in the present window."""
        return float((self.get_buffer(f"now_{index}") > 0).float().mean())

    def _end_window(self) -> None:
        for index in range(len(self.stacked)):
            self.get_buffer(f"before_{index}").copy_(self.get_buffer(f"now_{index}"))
            self.get_buffer(f"now_{index}").zero_()
        self.state.steps, self.state.rest = 0, 0.0
        for level in self.state.levels:
            level.commitment = 0.0


def _take(state: MonitorState | LevelState, data: Mapping[str, Any]) -> None:
    for name, value in asdict(state).items():
        found = data.get(name)
        if isinstance(found, int | float) and not isinstance(value, list):
            setattr(state, name, type(value)(found))


def _key(name: str, index: int) -> str:
    return f"{name}.{index}" if index else name
