"""Look at a decoder from its codes: pixels, errors and gradients, in float32 or exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.effort.choices import Level
from vqtok.effort.objectives import Objective
from vqtok.errors import UsageError
from vqtok.protocols import Painter, Quantizer

LARGEST = 1 << 18
"""Entries of a codebook at most: each position is compared with all of them."""

SIDE = 16
"""Positions per side of the picture on which a decoder is measured."""

PROBES = 2
"""Random pictures that its steepness is averaged over."""

STILL = 1e-3
"""Least activity: where nothing moves, a decoder is not infinitely flat."""

SAFETY = 2.0
"""Times the largest error of float32 that was seen on that picture: what is nearer is decided in
float64."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a decoder made of the codes of a window.

    Attributes:
        codes: int64 (Q, h, w) of each level; Q is 1 without a depth.
        errors: (H, W) float64, of whole positions; 0 outside the picture.
        gradients: Of each level (D, h, w) float64: minus half the derivative of the errors' sum by
            the latents; none if they were not asked for.
    """

    codes: list[Tensor]
    errors: Tensor
    gradients: list[Tensor]

    @property
    def total(self) -> float:
        """The sum of all errors."""
        return float(self.errors.sum())


class Network:
    """A tokenizer's decoder and codebooks, measured.

    Args:
        tokenizer: It is copied, as its weights are not to learn here.
        objective: What is to fall.
        depth: Stages of the codes; None: all.

    Attributes:
        tables: Of each level and stage, (K, D) float64: what an entry adds to the latent.
        levels: What of each level changes are chosen by.
        gradient_error: Largest error of gradients in float32, by their root mean square.
        change_error: The same for sums of errors around a position, by their mean.

    Raises:
        UsageError: codes that cannot be searched.
    """

    def __init__(self, tokenizer: Painter, objective: Objective, *, depth: int | None) -> None:
        with torch.inference_mode(False):
            self._coarse = _frozen(tokenizer)
            self._exact = _frozen(tokenizer, double=True)
        self.spec, self._objective = tokenizer.spec, objective
        self.device = next(cast(nn.Module, self._coarse).parameters()).device
        self.strides = [level.stride[0] for level in self.spec.levels]
        self.channels = tokenizer.channels
        self.bases: list[Tensor] = []
        self.tables: list[list[Tensor]] = []
        with torch.inference_mode(False), torch.no_grad():
            for quantizer in self._coarse.quantizers:
                base, tables = _tables(quantizer, depth, device=self.device, name=tokenizer.name)
                self.bases.append(base)
                self.tables.append(tables)
        steepness, self.gradient_error, self.change_error = self._measured()
        self.levels = [
            Level(tables, each, self._radius(level))
            for level, (tables, each) in enumerate(zip(self.tables, steepness, strict=True))
        ]

    def look(
        self, x: Tensor, codes: Sequence[Tensor], *, gradients: bool, exact: bool = False
    ) -> Look:
        """Decode a window and compare it with the original.

        Args:
            x: (C, H, W) in [-1, 1], what of the window is inside the picture.
            codes: Of each level, (Q, h, w).
            gradients: Whether they are wanted.
            exact: In float64.
        """
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            target = x.to(self.device, torch.float64 if exact else torch.float32)[None].clone()
            latents, y = self._paint(codes, target.shape[-2:], exact=exact)
            errors = self._objective.errors(target, y.clamp(-1, 1))
            found: list[Tensor] = []
            if gradients:
                slopes = torch.autograd.grad(errors.sum(), latents)
                found = [-0.5 * each[0].double() for each in slopes]
        stride = self.strides[0]
        bottom, right = -errors.shape[0] % stride, -errors.shape[1] % stride
        errors = F.pad(errors.detach().double(), (0, right, 0, bottom))
        return Look(list(codes), errors, found)

    def weights(self, x: Tensor, level: int, grid: Sequence[int]) -> Tensor:
        """Average the objective's weights over each position of a level: (h, w) float64."""
        with torch.inference_mode(False), torch.no_grad():
            pixels = self._objective.weights(x.to(self.device, torch.float64)[None])
            if pixels is None:
                return torch.ones(*grid, dtype=torch.float64, device=self.device)
            stride = self.strides[level]
            bottom, right = -pixels.shape[0] % stride, -pixels.shape[1] % stride
            padded = F.pad(pixels[None, None], (0, right, 0, bottom), mode="replicate")
            return F.avg_pool2d(padded, stride)[0, 0]

    def activity(self, x: Tensor, level: int, grid: Sequence[int]) -> Tensor:
        """Average the squared steps from pixel to pixel around each position of a level.

        Returns:
            (h, w) float64, in units of the picture that the decoder was measured on.
        """
        steps = _steps(x.to(self.device, torch.float64)) / self._usual
        stride, reach = self.strides[level], self._radius(level)
        bottom, right = -steps.shape[0] % stride, -steps.shape[1] % stride
        padded = F.pad(steps[None, None], (0, right, 0, bottom), mode="replicate")
        means = F.avg_pool2d(padded, stride)
        near = F.avg_pool2d(means, 2 * reach + 1, 1, reach, count_include_pad=False)
        return near[0, 0, : grid[0], : grid[1]].clamp(min=STILL)

    def around(self, pixels: Tensor, level: int, grid: Sequence[int]) -> Tensor:
        """Add (H, W) up over each position of a level's grid and its neighbours: (h, w)."""
        sums = F.avg_pool2d(pixels[None, None], self.strides[level], divisor_override=1)
        reach = self._radius(level)
        summed = F.avg_pool2d(sums, 2 * reach + 1, 1, reach, divisor_override=1)
        return summed[0, 0, : grid[0], : grid[1]]

    def moves(self, level: int, before: Tensor, after: Tensor) -> Tensor:
        """Subtract the latents of (Q, h, w) codes from those of others: (D, h, w) float64."""
        pairs = zip(self.tables[level], before, after, strict=True)
        moved = [table[new] - table[old] for table, old, new in pairs]
        return torch.stack(moved).sum(dim=0).permute(2, 0, 1)

    def _radius(self, level: int) -> int:
        """Count the positions around one by which a change is judged, and that stay meanwhile."""
        return max(1, 8 // self.strides[level])

    def total(self, codes: Codes, read: Callable[[slice, slice], np.ndarray]) -> float:
        """Add up the errors of a whole picture, tile by tile as it is decoded."""
        total = 0.0
        for rows, columns, y in self._coarse.decode_tiles(codes):
            x = torch.from_numpy(np.ascontiguousarray(read(rows, columns))).to(y)
            total += float(self._objective.errors(x[None], y[None]).double().sum())
        return total

    def _paint(
        self, codes: Sequence[Tensor], size: Sequence[int], *, exact: bool
    ) -> tuple[list[Tensor], Tensor]:
        """Decode (Q, h, w) of each level: the latents, and (1, C, H, W) around [-1, 1]."""
        network = self._exact if exact else self._coarse
        latents = []
        for base, tables, level in zip(self.bases, self.tables, codes, strict=True):
            z = base + sum(table[stage] for table, stage in zip(tables, level, strict=True))
            z = z.permute(2, 0, 1)[None].to(torch.float64 if exact else torch.float32)
            latents.append(z.requires_grad_(torch.is_grad_enabled()))
        y = network.paint(latents)
        return latents, y[..., : size[0], : size[1]]

    def _measured(self) -> tuple[list[Tensor], float, float]:
        """Measure steepness and errors on a made-up picture, always the same."""
        x = _picture(self.channels, SIDE * self.strides[0]).to(self.device)
        self._usual = float(_steps(x.double()).mean())
        with torch.inference_mode(False), torch.no_grad():
            (found,) = self._coarse.encode_many([x.clone()])
        codes = []
        for level, tables in zip(found.levels, self.tables, strict=True):
            array = level[0] if level.dim() == 4 else level
            codes.append(array[: len(tables)].clone())
        plain = self.look(x, codes, gradients=True)
        exact = self.look(x, codes, gradients=True, exact=True)
        of_gradients = max(
            float((a - b).abs().max() / b.square().mean().sqrt().clamp(min=1e-300))
            for a, b in zip(plain.gradients, exact.gradients, strict=True)
        )
        of_sums = 0.0
        for level, gradient in enumerate(exact.gradients):
            a, b = (self.around(each.errors, level, gradient.shape[1:]) for each in (plain, exact))
            of_sums = max(of_sums, float((a - b).abs().max() / b.mean().clamp(min=1e-300)))
        return self._steepness(codes, x.shape[1:]), SAFETY * of_gradients, SAFETY * of_sums

    def _steepness(self, codes: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Average J'J of each level over positions, by random pictures v: E[(J'v)(J'v)'] is J'J."""
        generator = torch.Generator().manual_seed(0)
        totals: list[Tensor] = []
        with torch.inference_mode(False), torch.enable_grad():
            latents, y = self._paint(codes, size, exact=True)
            for _ in range(PROBES):
                signs = torch.randint(0, 2, y.shape, generator=generator) * 2.0 - 1.0
                slopes = torch.autograd.grad(
                    y, latents, signs.to(y.device, y.dtype), retain_graph=True
                )
                rows = [each[0].flatten(1) for each in slopes]
                found = [row @ row.T / row.shape[1] / PROBES for row in rows]
                totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
        # A direction that moves nothing must not look free.
        return [
            each
            + torch.eye(len(each), dtype=each.dtype, device=each.device)
            * (1e-3 * each.diagonal().mean())
            for each in totals
        ]


def _steps(x: Tensor) -> Tensor:
    """Add up the squared steps to the pixels below and to the right: (C, H, W) to (H, W)."""
    down, right = (x.diff(dim=axis).square().sum(dim=0) for axis in (1, 2))
    return F.pad(down, (0, 0, 0, 1)) + F.pad(right, (0, 1))


def _frozen(tokenizer: Painter, *, double: bool = False) -> Painter:
    """Copy a tokenizer whose weights are constants."""
    module = copy.deepcopy(cast(nn.Module, tokenizer)).eval().requires_grad_(False)
    return cast(Painter, module.double() if double else module)


def _tables(
    quantizer: Quantizer, depth: int | None, *, device: torch.device, name: str
) -> tuple[Tensor, list[Tensor]]:
    """Find what each entry of each stage adds to a latent.

    Returns:
        (D,), the latent of codes 0; and of each stage (K, D): float64.

    Raises:
        UsageError: too many entries, or latents that are no sums of entries.
    """
    size = quantizer.codebook_size
    if size > LARGEST:
        raise UsageError(
            name, f"{size} entries: --effort compares up to {LARGEST}", hint="leave out --effort"
        )
    every = torch.arange(size, device=device)
    if quantizer.depth is None:
        rows = quantizer.decode(every[None, None])[0, :, 0].T.double()
        return torch.zeros_like(rows[0]), [rows]
    stages = min(depth or quantizer.depth, quantizer.depth)
    codes = torch.zeros(1, stages, 1, size, dtype=torch.int64, device=device)
    base = quantizer.decode(codes[..., :1])[0, :, 0, 0].double()
    tables = []
    for stage in range(stages):
        given = codes.clone()
        given[0, stage, 0] = every
        tables.append(quantizer.decode(given)[0, :, 0].T.double() - base)
    generator = torch.Generator().manual_seed(0)
    tried = torch.randint(0, size, (1, stages, 1, 64), generator=generator).to(device)
    wanted = quantizer.decode(tried)[0, :, 0].T.double()
    sums = base + sum(table[row] for table, row in zip(tables, tried[0, :, 0], strict=True))
    if not torch.allclose(sums, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max())):
        raise UsageError(
            name, "--effort: stages of this quantizer do not add up", hint="leave out --effort"
        )
    return base, tables


def _picture(channels: int, side: int) -> Tensor:
    """Make (C, side, side) float32 in [-1, 1] that has smooth parts, edges and grain."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:side, 0:side] / side
    total = np.zeros((channels, side, side))
    for period in (1, 2, 3, 5, 8, 13):
        for _ in range(3):
            angle, phase = random.uniform(0, 2 * np.pi, 2)
            wave = np.cos(
                2 * np.pi * period * (rows * np.cos(angle) + columns * np.sin(angle)) + phase
            )
            total += random.normal(0, 0.4 / period, (channels, 1, 1)) * wave
    for _ in range(12):
        top, left = random.integers(0, side, 2)
        height, width = random.integers(side // 16, side // 3, 2)
        total[:, top : top + height, left : left + width] += random.normal(0, 0.3, (channels, 1, 1))
    total += random.normal(0, 0.03, total.shape)
    return torch.from_numpy(np.clip(total, -1, 1).astype(np.float32))
