"""Encode and decode images with networks that see all of one: each goes through whole and alone.

GroupNorm and attention make every code depend on every pixel, so there is no exact tiling; what
else is coded in the same call still changes nothing but rounding, as no layer mixes pictures.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.nn.undisturbed import held_still, undisturbed
from vqtok.protocols import Halves, Label, Reconstructed, SpecConfig
from vqtok.tokenizers._signals import padded, size_of
from vqtok.tokenizers.published._halves import Half
from vqtok.tokenizers.published._lookup import Scores, Table
from vqtok.tokenizers.published._published import Levels, Published


def one_grid(size: int, stride: int) -> CodeSpec:
    """Describe one grid of codes: K, and pixels per code, each way."""
    level = LevelSpec("codes", ("h", "w"), size, (stride, stride))
    return CodeSpec(modality="image", levels=(level,))


class WholeImages(Published):
    """Images ⇄ codes, by ``encoder``, ``quantize`` and ``decoder``.

    A family that does more overrides ``_analyse``, ``_assign``, ``_look_up`` or ``_paint``.

    Args:
        config: Of the family.
        multiple: Sides of what the network takes are multiples of this; the last row and column are
            repeated up to it.
        channels: C.
    """

    encoder: nn.Module
    quantize: Table | Scores
    decoder: nn.Module

    def __init__(self, config: SpecConfig, *, multiple: int, channels: int) -> None:
        super().__init__(config, channels=channels)
        self._multiple = multiple

    @undisturbed
    def latents(self, x: Tensor) -> Any:
        """Compute what is quantized: (B, C, H, W) → (B, D, h, w) float32, of levels a tuple."""
        return self._analyse(self._entering(self._checked(x)))

    @undisturbed
    def render(self, z_q: Any, extent: tuple[int, ...], *, label: Label = None) -> Tensor:
        """Decode latents or entries: (B, C, *extent) in [-1, 1]."""
        self.labels.number(label)
        self._require_decoder()
        return self._leaving(self._paint(z_q), extent).clamp(-1.0, 1.0)

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch; no loss: of these networks only decoders learn."""
        self._require_decoder()
        with held_still() if self.training else nullcontext():
            levels = self._encode(x.to(self._device(), torch.float32))
            z_q = self._look_up(levels)
        shown = self._leaving(self._paint(z_q), size_of(x))
        return Reconstructed(shown, self._codes(levels, size_of(x)), shown.new_zeros(()))

    def halves(self) -> Halves:
        """Give the networks, to be traced."""
        return Halves(
            Half(self, lambda x: self._assign(self._analyse(x))),
            Half(self, lambda *levels: self._paint(self._look_up(levels)).clamp(-1.0, 1.0)),
            channels=self.channels,
            multiple=self._multiple,
            fill="edge",
        )

    def _encode(self, x: Tensor) -> Levels:
        return self._assign(self._analyse(self._entering(x)))

    def _decode(self, levels: Levels, extent: tuple[int, ...]) -> Tensor:
        return self._leaving(self._paint(self._look_up(levels)), extent).clamp(-1.0, 1.0)

    def _entering(self, x: Tensor) -> Tensor:
        """Prepare a picture for the network."""
        return padded(x, self._multiple)

    def _leaving(self, x: Tensor, extent: tuple[int, ...]) -> Tensor:
        """Take the picture out of what the network gave."""
        height, width = extent
        return x[..., :height, :width].float()

    def _analyse(self, x: Tensor) -> Any:
        """Maps a picture → what is quantized: a tensor, or a tuple of several."""
        return self.encoder(x)

    def _assign(self, z: Any) -> Levels:
        """Maps what is quantized → codes of each level, (1, *axes)."""
        return (self.quantize.assign(z),)

    def _look_up(self, levels: Levels) -> Any:
        """Maps codes of each level → what the decoder takes."""
        return self.quantize.decode(levels[0])

    def _paint(self, z_q: Any) -> Tensor:
        """Maps entries → a picture."""
        x: Tensor = self.decoder(z_q)
        return x


class ResizedImages(WholeImages):
    """``WholeImages`` of one size.

    Args:
        config: Of the family.
        side: Pixels per side that the network takes; other pictures are resized, antialiased,
            whatever their proportions.
        channels: C.
    """

    def __init__(self, config: SpecConfig, *, side: int, channels: int) -> None:
        super().__init__(config, multiple=1, channels=channels)
        self.side = side

    def halves(self) -> Halves:
        """Give the networks, to be traced: of one size."""
        return super().halves()._replace(multiple=self.side, fill="resize")

    def _entering(self, x: Tensor) -> Tensor:
        return _resized(x, (self.side, self.side))

    def _leaving(self, x: Tensor, extent: tuple[int, ...]) -> Tensor:
        return _resized(x.float(), extent)


def _resized(x: Tensor, extent: tuple[int, ...]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(extent):
        return x
    return F.interpolate(x, size=extent, mode="bicubic", antialias=True)
