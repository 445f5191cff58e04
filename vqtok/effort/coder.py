"""A coder of images that searches the codes that another one makes; torch comes with the search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vqtok.codes.container import Codes
from vqtok.codes.header import Effort
from vqtok.effort.levels import PASSES
from vqtok.errors import UsageError
from vqtok.protocols import ImageCoder, Label, RecomputeStats, RoundTrip

if TYPE_CHECKING:
    from vqtok.protocols import Tokenizer


class EffortCoder:
    """Images → codes of an effort; everything else is left to the coder inside.

    Args:
        inner: Makes the codes that the search begins with, and decodes.
        tokenizer: The same model, for its decoder's gradients.
        effort: How hard to search; above 0.
        depth: Stages that are kept, and searched; None: all.

    Raises:
        UsageError: a model whose codes cannot be searched.
    """

    def __init__(
        self,
        inner: ImageCoder,
        tokenizer: Tokenizer,
        effort: Effort,
        *,
        depth: int | None = None,
    ) -> None:
        from vqtok.effort.network import Network
        from vqtok.effort.objectives import OBJECTIVES
        from vqtok.effort.search import Search
        from vqtok.protocols import Painter

        if not (tokenizer.exact and isinstance(tokenizer, Painter)):
            reason = "--effort searches codes of local models only, and this one is global"
            raise UsageError(inner.name, reason, hint="leave out --effort")
        if tokenizer.labels.names:
            reason = "--effort: what the decoder makes of codes depends on a label here"
            raise UsageError(inner.name, reason, hint="leave out --effort")
        self.inner, self.effort, self._depth = inner, effort, depth
        self.spec, self.name, self.exact = inner.spec, inner.name, inner.exact
        self.labels, self.device = inner.labels, inner.device
        network = Network(tokenizer, OBJECTIVES[effort.metric], depth=depth)
        self._search = Search(network, passes=PASSES[effort.level])

    @property
    def recompute_stats(self) -> RecomputeStats:
        """Counts of latents coded, and of those computed again in float64."""
        return self.inner.recompute_stats

    @property
    def threads(self) -> int:
        """CPU threads that one call may use."""
        return self.inner.threads

    def use_threads(self, count: int) -> None:
        """Limit the CPU threads of calls from this thread, and of threads that start later."""
        import torch

        self.inner.use_threads(count)
        torch.set_num_threads(count)

    def encode_many(self, signals: Sequence[np.ndarray]) -> list[Codes]:
        """Encode (C, H, W) float32 images in [-1, 1], each as if it were alone."""
        found = self.inner.encode_many(signals)
        return [self._searched(codes, _reading(x)) for codes, x in zip(found, signals, strict=True)]

    def encode_windows(
        self, size: tuple[int, int], read: Callable[[slice, slice], np.ndarray]
    ) -> Codes:
        """Encode one image of (H, W) pixels, window by window."""
        return self._searched(self.inner.encode_windows(size, read), read)

    def decode(self, codes: Codes, *, label: Label = None) -> np.ndarray:
        """Decode codes to (B, C, H, W) float32."""
        return self.inner.decode(codes, label=label)

    def decode_tiles(
        self, codes: Codes, *, item: int = 0, label: Label = None
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Decode one image of a batch, tile by tile."""
        return self.inner.decode_tiles(codes, item=item, label=label)

    def round_trip(
        self, x: np.ndarray, *, depth: int | None = None, label: Label = None
    ) -> RoundTrip:
        """Encode and decode (B, C, H, W), timed; see ``Coder``."""
        start = time.perf_counter()
        codes = Codes.stack(self.encode_many(list(x)))
        if depth is not None:
            codes = codes.truncate(depth)
        encode_s = time.perf_counter() - start
        start = time.perf_counter()
        y = self.decode(codes, label=label)
        return RoundTrip(y, codes, None, encode_s, time.perf_counter() - start)

    def _searched(self, codes: Codes, read: Callable[[slice, slice], np.ndarray]) -> Codes:
        kept = codes if self._depth is None else codes.truncate(self._depth)
        return self._search.refine(kept, read)


def _reading(x: np.ndarray) -> Callable[[slice, slice], np.ndarray]:
    return lambda rows, columns: x[:, rows, columns]
