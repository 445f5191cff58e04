"""What makes two runs the same corpus job. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqtok.codes.corpus.index import VERSION
from vqtok.errors import UsageError
from vqtok.media import image
from vqtok.media.pixels import parse_background
from vqtok.pipeline.signals import Reading

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo


@dataclass(frozen=True)
class CorpusOptions:
    """How to encode a corpus: all that its codes depend on besides the model.

    Attributes:
        depth: Keep the first N residual stages; None: all.
        mono: Mix the channels of audio down to one.
        background: Colour behind transparent pixels.
        max_pixels: Larger images are refused; None: no limit.
    """

    depth: int | None = None
    mono: bool = False
    background: str = "white"
    max_pixels: int | None = image.MAX_PIXELS

    def reading(self, spec: Any) -> Reading:
        """What readers need to know of it."""
        return Reading(
            kind=spec.modality,
            rate_hz=int(spec.rate or 0),
            mono=self.mono,
            background=self.background,
            max_pixels=self.max_pixels,
        )


def job_of(info: ModelInfo, options: CorpusOptions) -> Mapping[str, Any]:
    """What makes two runs the same job: all that codes depend on, and nothing else.

    Raises:
        UsageError: a depth that the model does not have, or a background that is no colour.
    """
    parse_background(options.background)
    depth = max((level.depth or 0 for level in info.spec.levels), default=0)
    if options.depth is not None and options.depth > depth:
        has = f"has {depth}" if depth else "has no residual stages"
        raise UsageError(f"--depth {options.depth}: model {info.name} {has}")
    return {
        "background": options.background,
        "corpus": VERSION,
        "depth": options.depth,
        "fingerprint": info.fingerprint,
        "max_pixels": options.max_pixels,
        "model": info.name,
        "mono": options.mono,
    }
