"""A tokenizer of two functions: what another program has trained, behind our contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError, UsageError
from vqtok.protocols import Reconstructed, SpecConfig
from vqtok.tokenizers._signals import padded
from vqtok.tokenizers.published._published import Levels, Published

Given = Tensor | Sequence[Any] | Any
"""Codes of one level, (1, *axes) or (*axes), of torch or numpy; of several levels a sequence."""


class _Functions:
    """Stands for a config; there is none that a file could hold."""

    def __init__(self, spec: CodeSpec) -> None:
        self.spec = spec

    def __repr__(self) -> str:
        return "two functions of Python, which no file can hold"

    def build(self, **context: Any) -> Any:
        raise UsageError("a wrapped model", "cannot be built anew")


class Wrapped(Published):
    """Signals ⇄ codes by two functions; each signal goes through alone and whole.

    Args:
        encode: (1, C, *space) float32 in [-1, 1], sides multiples of the strides → codes.
        decode: Codes as ``encode`` gives them, int64 tensors (1, *axes) → (1, C, *space).
        spec: Of the codes, with the fingerprint.
        name: NAME.
        channels: C.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], Given],
        decode: Callable[..., Any],
        *,
        spec: CodeSpec,
        name: str,
        channels: int,
    ) -> None:
        super().__init__(cast("SpecConfig", _Functions(spec)), channels=channels)
        self.spec, self.name = spec, name
        self._encoder, self._decoder = encode, decode
        strides = [stride for level in spec.levels for stride in level.stride]
        self._multiple = lcm(*strides) if strides else 1

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch; nothing is learned."""
        codes = self.encode(x)
        return Reconstructed(self.decode(codes), codes, x.new_zeros(()))

    def latents(self, x: Tensor) -> Tensor:
        """Refuse: functions give codes alone."""
        raise UsageError(self.name, "two functions: there are no latents to look at")

    def render(self, z_q: Tensor, extent: tuple[int, ...], *, label: Any = None) -> Tensor:
        """Refuse: functions take codes alone."""
        raise UsageError(self.name, "two functions: they decode codes alone")

    def _encode(self, x: Tensor) -> Levels:
        if self.spec.modality == "image":
            x = padded(x, self._multiple)
        else:
            x = F.pad(x, (0, -x.shape[-1] % self._multiple))
        found = self._called("encode", self._encoder, x)
        given = (found,) if len(self.spec.levels) == 1 and hasattr(found, "shape") else tuple(found)
        if len(given) != len(self.spec.levels):
            wanted = len(self.spec.levels)
            raise self._wrong(f"encode gave {len(given)} levels, {wanted} expected")
        pairs = zip(given, self.spec.levels, strict=True)
        return tuple(self._checked_codes(each, level, tuple(x.shape[2:])) for each, level in pairs)

    def _checked_codes(self, given: Any, level: LevelSpec, extent: tuple[int, ...]) -> Tensor:
        codes = torch.as_tensor(given).detach().cpu()
        shape = level.shape(extent)
        if codes.is_floating_point() or codes.numel() != torch.Size(shape).numel():
            what = f"encode gave {codes.dtype} of shape {tuple(codes.shape)} for {level.name}"
            raise self._wrong(f"{what}, integers of shape {shape} expected")
        low, high = (int(each) for each in torch.aminmax(codes)) if codes.numel() else (0, 0)
        if low < 0 or high >= level.codebook_size:
            what = f"encode gave codes from {low} to {high} for {level.name}"
            raise self._wrong(f"{what}, which has {level.codebook_size} entries")
        return codes.long().reshape(1, *shape)

    def _decode(self, levels: Levels, extent: tuple[int, ...]) -> Tensor:
        shown = (
            torch.as_tensor(self._called("decode", self._decoder, *levels)).detach().cpu().float()
        )
        shape = (1, self.channels, *shown.shape[shown.ndim - len(extent) :])
        kept: Any = (..., *(slice(size) for size in extent))
        shown = shown.reshape(shape)[kept]
        if tuple(shown.shape[2:]) != extent:
            what = f"decode gave {tuple(shown.shape[2:])}"
            raise self._wrong(f"{what}, at least {extent} expected")
        return shown.clamp(-1.0, 1.0) if self.spec.modality == "image" else shown

    def _called(self, name: str, function: Callable[..., Any], *given: Tensor) -> Any:
        try:
            return function(*given)
        except Exception as error:  # it is not our program
            kind, text = type(error).__name__, " ".join(str(error).split())
            raise self._wrong(f"{name} failed: {kind}: {text}") from error

    def _wrong(self, reason: str) -> CodesError:
        return CodesError(f"{self.name}: {reason}")

    def _device(self) -> torch.device:
        return torch.device("cpu")
