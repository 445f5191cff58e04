"""What makes two runs the same corpus job. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vqtok.errors import UsageError
from vqtok.media.image.pixels import parse_background
from vqtok.pipeline.encode import CodingOptions
from vqtok.pipeline.signals import Reading

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo
    from vqtok.codes.spec import CodeSpec


@dataclass(frozen=True)
class CorpusOptions(CodingOptions):
    """How to encode a corpus."""

    def reading(self, spec: CodeSpec) -> Reading:
        """Return what readers need to know of it."""
        return Reading(
            kind=spec.modality,
            rate_hz=int(spec.rate or 0),
            mono=self.mono,
            together=spec.channels,
            background=self.background,
            max_pixels=self.max_pixels,
        )


def job_of(info: ModelInfo, options: CorpusOptions) -> Mapping[str, Any]:
    """Return what makes two runs the same job: all that codes depend on, nothing else.

    Raises:
        UsageError: a depth that the model does not have, or a background that is no colour.
    """
    parse_background(options.background)
    depth = max((level.depth or 0 for level in info.spec.levels), default=0)
    if options.depth is not None and options.depth > depth:
        has = f"has {depth}" if depth else "has no residual stages"
        raise UsageError(f"--depth {options.depth}", f"model {info.name} {has}")
    return {
        "background": options.background,
        "depth": options.depth,
        "fingerprint": info.fingerprint,
        "max_pixels": options.max_pixels,
        "model": info.name,
        "mono": options.mono,
    }


def spec_of(info: ModelInfo, options: CorpusOptions) -> CodeSpec:
    """Return the spec of all codes: the model's, with the depth that is kept."""
    spec, depth = info.spec.with_fingerprint(info.fingerprint), options.depth
    if depth is None:
        return spec
    levels = (
        level if level.depth is None else replace(level, depth=min(depth, level.depth))
        for level in spec.levels
    )
    return replace(spec, levels=tuple(levels))
