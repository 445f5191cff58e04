"""Tokenizers without weights whose reconstructions can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqtok.backends.torch_backend import coder
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Coder, Label, RecomputeStats
from vqtok.tokenizers._labels import Labels


class Pixels(nn.Module):
    """Each pixel's grey value in 16 steps: one code a pixel, as (h, w)."""

    name = "pixels"
    exact = False
    config: Any = None
    labels = Labels(())
    recompute_stats = RecomputeStats()

    def __init__(self) -> None:
        super().__init__()
        level = LevelSpec("codes", ("h", "w"), 16, (1, 1))
        self.spec = CodeSpec("image", (level,), None, "0" * 16)

    def encode(self, x: Tensor) -> Codes:
        codes = ((x.mean(1) + 1) * 7.5).round().long()
        return Codes(self.spec, (codes,), tuple(x.shape[-2:]))

    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        return [self.encode(x[None]) for x in signals]

    def decode(self, codes: Codes, *, label: Label = None) -> Tensor:
        return (codes.levels[0].float() / 7.5 - 1)[:, None].expand(-1, 3, -1, -1)


class Samples(nn.Module):
    """Each sample in two stages of 16 steps, the second refining the first, as (q, t)."""

    name = "samples"
    exact = False
    config: Any = None
    labels = Labels(())
    recompute_stats = RecomputeStats()

    def __init__(self, rate: int = 8000) -> None:
        super().__init__()
        level = LevelSpec("codes", ("q", "t"), 16, (1,), 2)
        self.spec = CodeSpec("audio", (level,), float(rate), "1" * 16)
        self.lengths: list[int] = []

    def encode(self, x: Tensor) -> Codes:
        self.lengths.append(x.shape[-1])
        steps = ((x[:, 0].clamp(-1, 1) + 1) * 127.5).round().long()
        codes = torch.stack([steps // 16, steps % 16], dim=1)
        return Codes(self.spec, (codes,), (x.shape[-1],))

    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        return [self.encode(x[None]) for x in signals]

    def decode(self, codes: Codes, *, label: Label = None) -> Tensor:
        array = codes.levels[0].float()
        fine = array[:, 1] if array.shape[1] > 1 else torch.full_like(array[:, 0], 8.0)
        return ((array[:, 0] * 16 + fine) / 127.5 - 1)[:, None]


TOKENIZERS = {"image": Pixels, "audio": Samples}


def coder_for(kind: str) -> Coder:
    return coder(TOKENIZERS[kind]())
