"""Encode and decode images with networks that see all of one: each goes through whole and alone.

GroupNorm and attention make every code depend on every pixel, so there is no exact tiling; what
else is coded in the same call still changes nothing but rounding, as no layer mixes pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.nn.undisturbed import undisturbed
from vqtok.protocols import Config as AnyConfig
from vqtok.protocols import Label, RecomputeStats, Reconstructed
from vqtok.tokenizers import _given
from vqtok.tokenizers._labels import Labels
from vqtok.tokenizers._signals import check_images, joined, padded, size_of
from vqtok.tokenizers.published._lookup import Scores, Table

if TYPE_CHECKING:
    from vqtok.protocols import GivenCodes, Signal


def one_grid(size: int, stride: int) -> CodeSpec:
    """Describe one grid of codes: K, and pixels per code, each way."""
    level = LevelSpec("codes", ("h", "w"), size, (stride, stride))
    return CodeSpec(modality="image", levels=(level,))


class WholeImages(nn.Module):
    """Images ⇄ codes, by ``encoder``, ``quantize`` and ``decoder``.

    A family that does more overrides ``_analyse``, ``_assign``, ``_look_up`` or ``_paint``.

    Args:
        config: Of the family.
        spec: Of the codes.
        multiple: Sides of what the network takes are multiples of this; the last row and column are
            repeated up to it.
        channels: C.
    """

    encoder: nn.Module
    quantize: Table | Scores
    decoder: nn.Module

    def __init__(self, config: AnyConfig, spec: CodeSpec, *, multiple: int, channels: int) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.name = ""
        self.exact = False
        self.labels = Labels(())
        self.recompute_stats = RecomputeStats()
        self.channels = channels
        self._multiple = multiple

    @undisturbed
    def encode(self, x: Signal) -> Codes:
        """Encode images, one by one.

        Args:
            x: (B, C, H, W) float32 in [-1, 1], any size from 1x1 up; or as ``Tokenizer`` says.

        Raises:
            UsageError: x is not a batch of images with C channels and finite values in [-1, 1].
        """
        return joined(self.encode_many(list(_given.images(x, self.channels))))

    @undisturbed
    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Encode images of any sizes, (C, H, W) each, each by itself.

        Raises:
            UsageError: one is not an image with C channels.
        """
        found = []
        for x in signals:
            check_images(x[None], self.channels)
            levels = self._assign(self._analyse(self._entering(x[None])))
            found.append(self._codes(levels, size_of(x)))
        return found

    @undisturbed
    def decode(
        self, codes: GivenCodes, *, extent: tuple[int, ...] | None = None, label: Label = None
    ) -> Tensor:
        """Decode to (B, C, H, W) float32, clamped to [-1, 1] and cropped to the extent."""
        self.labels.number(label)
        codes = _given.codes(codes, self.spec, extent)
        return torch.cat([
            self._leaving(
                self._paint(
                    self._look_up(
                        tuple(
                            torch.as_tensor(level[item : item + 1]).to(self._device(), torch.int64)
                            for level in codes.levels
                        )
                    )
                ),
                codes.extent,
            ).clamp(-1.0, 1.0)
            for item in range(len(codes))
        ])  # fmt: skip

    @undisturbed
    def latents(self, x: Tensor) -> Any:
        """Compute what is quantized: (B, C, H, W) → (B, D, h, w) float32, of levels a tuple."""
        check_images(x, self.channels)
        return self._analyse(self._entering(x))

    @undisturbed
    def render(self, z_q: Any, extent: tuple[int, ...], *, label: Label = None) -> Tensor:
        """Decode latents or entries: (B, C, *extent) in [-1, 1]."""
        self.labels.number(label)
        return self._leaving(self._paint(z_q), extent).clamp(-1.0, 1.0)

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch; no loss: these networks are used, not trained."""
        levels = self._assign(self._analyse(self._entering(x)))
        shown = self._leaving(self._paint(self._look_up(levels)), size_of(x))
        return Reconstructed(shown, self._codes(levels, size_of(x)), shown.new_zeros(()))

    def _codes(self, levels: tuple[Tensor, ...], extent: tuple[int, int]) -> Codes:
        """Drop codes that lie wholly behind the edge, as fine levels of padding have."""
        kept = []
        for level, codes in zip(self.spec.levels, levels, strict=True):
            inside = tuple(slice(size) for size in level.shape(extent))
            kept.append(codes[(slice(None), *inside)])
        return Codes(self.spec, tuple(kept), extent)

    def _entering(self, x: Tensor) -> Tensor:
        """Prepare a picture for the network."""
        return padded(x.to(self._device(), torch.float32), self._multiple)

    def _leaving(self, x: Tensor, extent: tuple[int, ...]) -> Tensor:
        """Take the picture out of what the network gave."""
        height, width = extent
        return x[..., :height, :width].float()

    def _analyse(self, x: Tensor) -> Any:
        """Maps a picture → what is quantized: a tensor, or a tuple of several."""
        return self.encoder(x)

    def _assign(self, z: Any) -> tuple[Tensor, ...]:
        """Maps what is quantized → codes of each level, (1, *axes)."""
        return (self.quantize.assign(z),)

    def _look_up(self, levels: tuple[Tensor, ...]) -> Any:
        """Maps codes of each level → what the decoder takes."""
        return self.quantize.decode(levels[0])

    def _paint(self, z_q: Any) -> Tensor:
        """Maps entries → a picture."""
        x: Tensor = self.decoder(z_q)
        return x

    def _device(self) -> torch.device:
        return next(self.parameters()).device
