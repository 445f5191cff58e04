"""Images for networks that know one size: brought to it for encoding, and back for decoding."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vqtok.codes.spec import CodeSpec
from vqtok.protocols import Config as AnyConfig
from vqtok.tokenizers.published._whole import WholeImages


class ResizedImages(WholeImages):
    """``WholeImages`` of one size.

    Args:
        config: Of the family.
        spec: Of the codes.
        side: Pixels per side that the network takes; other pictures are resized, antialiased,
            whatever their proportions.
        channels: C.
    """

    def __init__(self, config: AnyConfig, spec: CodeSpec, *, side: int, channels: int) -> None:
        super().__init__(config, spec, multiple=1, channels=channels)
        self.side = side

    def _entering(self, x: Tensor) -> Tensor:
        return _resized(super()._entering(x), (self.side, self.side))

    def _leaving(self, x: Tensor, extent: tuple[int, ...]) -> Tensor:
        return _resized(x.float(), extent)


def _resized(x: Tensor, extent: tuple[int, ...]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(extent):
        return x
    return F.interpolate(x, size=extent, mode="bicubic", antialias=True)
