"""THE sampling loop, and what it needs of a model: the logits of a step, given all before it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vqtok.codes.spec import SPATIAL, CodeSpec
from vqtok.errors import UsageError
from vqtok.priors._drawing import TOLERANCE, Choice, Noise, pick
from vqtok.priors._network import Condition, Network, Run
from vqtok.priors._patterns import Layout
from vqtok.protocols import Prompt

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Given:
    """Codes that are there before sampling: flat (B, N), and which of them, bool (N,)."""

    flat: Tensor
    kept: Tensor


@torch.inference_mode()
def draw(
    network: Network,
    layout: Layout,
    condition: Condition,
    given: Given,
    *,
    choice: Choice,
    noise: Noise,
    cached: bool = True,
    progress: Progress | None = None,
) -> Tensor:
    """Sample every code that is not given, step by step.

    Returns:
        int64 (B, N) flat codes.
    """
    flat = given.flat.clone()
    runs = _Runs(network, layout, condition, choice, cached=cached)
    for step, cells in enumerate(layout.cells.tolist()):
        cells = [cell for cell in cells if cell >= 0]
        if not bool(given.kept[cells].all()):
            logits = runs(flat, step)
            for slot, cell in enumerate(cells):
                if not given.kept[cell]:
                    chances = noise.draw(logits[slot].shape[1])
                    flat[:, cell] = runs.choose(logits[slot], chances, flat, step, slot)
        if progress is not None:
            progress(step + 1, layout.steps)
    return flat


class _Runs:
    """The run of a network, that without a class if guided, and that of near ties."""

    def __init__(
        self,
        network: Network,
        layout: Layout,
        condition: Condition,
        choice: Choice,
        *,
        cached: bool,
    ) -> None:
        self.network, self.layout, self.condition, self.choice = network, layout, condition, choice
        self.guided = choice.guidance != 1
        factor = choice.guidance + abs(1 - choice.guidance)
        self.tolerance = TOLERANCE * factor
        self.main = network.run(layout, condition, cached=cached)
        self.free = (
            network.run(layout, condition.classless(), cached=cached) if self.guided else None
        )
        self._exact: Network | None = None

    def __call__(self, flat: Tensor, step: int) -> list[Tensor]:
        return _guided(self.main, self.free, self.choice, flat, step)

    def choose(self, logits: Tensor, noise: Tensor, flat: Tensor, step: int, slot: int) -> Tensor:
        """Codes (B,) of one slot."""
        codes, near_tie = pick(logits, noise, self.choice, tolerance=self.tolerance)
        for item in near_tie.nonzero()[:, 0].tolist():
            exact = self.exactly(item, flat[item : item + 1], step)[slot]
            codes[item] = pick(exact, noise[item : item + 1], self.choice)[0][0]
        return codes

    def exactly(self, item: int, flat: Tensor, step: int) -> list[Tensor]:
        """Logits of one item in float64, from all that comes before."""
        if self._exact is None:
            copied = copy.deepcopy(cast(nn.Module, self.network)).double()
            self._exact = cast(Network, copied)
        condition = self.condition.item(item)
        main = self._exact.run(self.layout, condition, cached=False)
        free = self._exact.run(self.layout, condition.classless(), cached=False)
        return _guided(main, free if self.guided else None, self.choice, flat, step)


def _guided(main: Run, free: Run | None, choice: Choice, flat: Tensor, step: int) -> list[Tensor]:
    logits = [each.float() if each.dtype != torch.float64 else each for each in main(flat, step)]
    if free is None:
        return logits
    plain = free(flat, step)
    # Classifier-free guidance (arXiv:2207.12598, Eq. 6) on logits.
    return [b + choice.guidance * (a - b) for a, b in zip(logits, plain, strict=True)]


def given_by(
    prompt: Prompt | None, spec: CodeSpec, layout: Layout, count: int, device: torch.device
) -> Given:
    """Returns what a prompt leaves to be kept.

    Raises:
        UsageError: a prompt of another spec or shape, or that is too small for what is to be kept.
    """
    flat = torch.zeros(count, layout.count, dtype=torch.int64, device=device)
    if prompt is None:
        return Given(flat, torch.zeros(layout.count, dtype=torch.bool))
    codes, keep = prompt
    if codes.spec.levels != spec.levels:
        raise UsageError("prompt: its codes are not of the tokenizer that this prior is for")
    if len(codes) not in (1, count):
        raise UsageError(f"prompt: {len(codes)} items found, 1 or {count} expected")
    if keep < 0:
        raise UsageError(f"prompt: keep {keep} is not 0 or more")
    masks = [torch.zeros(1, *shape, dtype=torch.bool) for shape in layout.shapes]
    for index, (target, mask) in enumerate(zip(layout.split(flat), masks, strict=True)):
        array = torch.as_tensor(codes.levels[index], dtype=torch.int64).to(device)
        kept = _kept(spec, index, target.shape[1:], keep)
        found = tuple(array[(slice(None), *kept)].shape[1:])
        expected = tuple(target[(slice(None), *kept)].shape[1:])
        if found != expected:
            name = spec.levels[index].name
            raise UsageError(f"prompt: level {name!r}: {found} codes found, {expected} needed")
        target[(slice(None), *kept)] = array[(slice(None), *kept)]
        mask[(slice(None), *kept)] = True
    return Given(flat, torch.cat([mask.flatten() for mask in masks]))


def _kept(spec: CodeSpec, index: int, shape: Sequence[int], keep: int) -> tuple[slice, ...]:
    """Slices of one level's array, (*axes), that are kept."""
    first, level = spec.levels[0], spec.levels[index]
    if first.stride and level.stride:  # the same part of the signal
        keep = keep * first.stride[0] // level.stride[0]
    slices = []
    cut = False
    for axis, size in zip(level.axes, shape, strict=True):
        if not cut and (axis in SPATIAL or axis == "n"):
            slices.append(slice(min(keep, size)))
            cut = True
        else:
            slices.append(slice(size))
    return tuple(slices)
