"""Wrap networks that other people published as tokenizers: each signal goes through alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.errors import UsageError
from vqtok.nn.undisturbed import undisturbed
from vqtok.protocols import NO_DECODER, Config, Label, RecomputeStats, SpecConfig, decodes
from vqtok.tokenizers import _given
from vqtok.tokenizers._labels import Labels
from vqtok.tokenizers._signals import check_signals, joined

if TYPE_CHECKING:
    from vqtok.protocols import GivenCodes, Signal

Levels = tuple[Tensor, ...]
"""Codes of each level, int64 (B, *axes)."""


class Published(nn.Module, ABC):
    """Signals ⇄ codes by a network without labels; methods are those of ``protocols.Tokenizer``.

    Args:
        config: That builds it.
        channels: C of the signals.
        exact: Whether codes depend on nothing but the signal and the model.

    Attributes:
        decoding_parts: Submodules that decoding alone uses: they may learn, and codes stay.
    """

    decoding_parts: tuple[str, ...] = ()

    def __init__(self, config: SpecConfig, *, channels: int = 1, exact: bool = False) -> None:
        super().__init__()
        self.config: Config = config
        self.spec, self.name = config.spec, ""
        self.channels, self.exact = channels, exact
        self.labels, self.recompute_stats = Labels(()), RecomputeStats()
        self.decodes = decodes(config)

    def encode(self, x: Signal) -> Codes:
        """Encode a batch, or what else ``Tokenizer`` says, each item by itself."""
        given = _given.signals(x, self.spec.modality, self.channels)
        return joined(self.encode_many(list(given)))

    @undisturbed
    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Encode signals of any sizes, (C, *space) each, each by itself."""
        return [
            self._codes(self._encode(self._checked(x[None])), tuple(x.shape[1:])) for x in signals
        ]

    @undisturbed
    def decode(
        self, codes: GivenCodes, *, extent: tuple[int, ...] | None = None, label: Label = None
    ) -> Tensor:
        """Decode to (B, C, *extent) float32."""
        self.labels.number(label)
        self._require_decoder()
        codes = _given.codes(codes, self.spec, extent)
        levels = [torch.as_tensor(each, dtype=torch.int64) for each in codes.levels]
        items = zip(*(torch.split(each.to(self._device()), 1) for each in levels), strict=True)
        return torch.cat([self._decode(item, codes.extent) for item in items])

    @abstractmethod
    def _encode(self, x: Tensor) -> Levels:
        """Encode one signal, (1, C, *space)."""

    @abstractmethod
    def _decode(self, levels: Levels, extent: tuple[int, ...]) -> Tensor:
        """Decode the codes of one signal: (1, C, *extent)."""

    def _codes(self, levels: Levels, extent: tuple[int, ...]) -> Codes:
        """Drop codes that lie wholly behind the edge, as fine levels of padding have."""
        kept = []
        for level, codes in zip(self.spec.levels, levels, strict=True):
            inside = tuple(slice(size) for size in level.shape(extent))
            kept.append(codes[(slice(None), *inside)])
        return Codes(self.spec, tuple(kept), extent)

    def _require_decoder(self) -> None:
        """Do nothing if there is a decoder.

        Raises:
            UsageError: there is none.
        """
        if not self.decodes:
            raise UsageError(self.name or "this model", NO_DECODER)

    def _checked(self, x: Tensor) -> Tensor:
        """Bring (B, C, *space) to the device.

        Raises:
            UsageError: another shape.
        """
        check_signals(x, self.spec.modality, self.channels)
        return x.to(self._device(), torch.float32)

    def _device(self) -> torch.device:
        return next(self.parameters()).device
