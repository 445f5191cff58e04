"""Coders over onnxruntime and numpy: what the torch backend codes, without torch in the process.

Networks run in float32 as graphs beside the model's weights; latents that rounding could move to
another code are computed again in float64. So codes are those of the torch backend.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vqtok import threads
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.graphs.exact import ExactCodes
from vqtok.graphs.quantizers import quantizers_of
from vqtok.graphs.store import Stored
from vqtok.protocols import Label, RecomputeStats, RoundTrip
from vqtok.tokenizers.given import arrays
from vqtok.tokenizers.given.labels import number_of


class OnnxCoder:
    """What coders of onnxruntime have in common.

    Args:
        folder: Of the model.
        stored: Graphs and numbers of the model.
        spec: Of its codes.
        name: NAME of the model.
        count: CPU threads.
    """

    def __init__(
        self, folder: Path, stored: Stored, spec: CodeSpec, *, name: str, count: int
    ) -> None:
        self._folder = folder
        facts = stored.facts
        self.spec, self.name, self.exact, self.device = spec, name, True, "cpu"
        self.labels: tuple[str, ...] = tuple(facts["labels"])
        self.threads, self.channels = count, int(facts.get("channels", 1))
        self._stored, self._arrays = stored, stored.arrays
        quantizers = quantizers_of(facts, stored.arrays)
        self._exact = [ExactCodes(*each) for each in zip(quantizers, stored.errors, strict=True)]

    @property
    def recompute_stats(self) -> RecomputeStats:
        """Counts of latents coded, and of those computed again in float64."""
        return sum((each.stats for each in self._exact), RecomputeStats())

    def use_threads(self, count: int) -> None:
        """Limit the CPU threads of later calls."""
        self.threads = count

    def encode(self, x: object) -> Codes:
        """Encode signals of one size: numpy codes of each level's small dtype.

        Args:
            x: Floats (B, C, *space) in [-1, 1]; or a picture of Pillow, integers (H, W, C) or
                (L, channels) as files have them.

        Raises:
            UsageError: another type, shape or range, NaN or infinity.
        """
        self.spec.require_codes(self.name)
        batch = arrays.signals(x, self.spec.modality, self.channels)
        return Codes.stack(self.encode_many(list(batch)))

    def encode_many(self, signals: Sequence[np.ndarray]) -> list[Codes]:
        """Encode (C, *space) signals together, each as if it were alone."""
        raise NotImplementedError

    def decode(self, codes: Codes, *, label: Label = None) -> np.ndarray:
        """Decode codes to (B, C, *extent) float32."""
        raise NotImplementedError

    def round_trip(
        self, x: np.ndarray, *, depth: int | None = None, label: Label = None
    ) -> RoundTrip:
        """Encode and decode (B, C, *space), timed; see ``Coder``."""
        start = time.perf_counter()
        codes = Codes.stack(self.encode_many(list(x)))
        encode_s = time.perf_counter() - start
        if depth is not None:
            codes = codes.truncate(depth)
        start = time.perf_counter()
        y = self.decode(codes, label=label)
        return RoundTrip(y, codes, None, encode_s, time.perf_counter() - start)

    def _vector(self, label: Label) -> np.ndarray | None:
        """Take the vector, or vectors, of a label; None: the model has none."""
        number = number_of(self.labels, label)
        if not self.labels:
            return None
        return np.asarray(self._arrays["labels.vectors"][number], dtype=np.float32)

    def _useful(self, values: int) -> int:
        """Count the threads that a signal of so many pixels or samples keeps busy."""
        return threads.useful(values, self.threads)
