"""Audio in segments over onnxruntime: the way of ``tokenizers/exact/audio`` and the codec."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.backends.onnx_backend.coding import OnnxCoder
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.errors import UsageError
from vqtok.graphs.exact import Position
from vqtok.graphs.float64 import Float64, Source
from vqtok.graphs.layers import Region
from vqtok.graphs.sessions import Network
from vqtok.graphs.spectra import Spectra
from vqtok.graphs.store import GAIN, Stored
from vqtok.protocols import Label
from vqtok.tokenizers.exact.tiling1d import Segment, segments

Array = Any
"""An array of numpy."""

TILE, STEP, BATCH = 750, 75, 1 << 12
"""Frames of a segment, of what the last one is filled up to a multiple of, and of a batch."""


class OnnxAudio(OnnxCoder):
    """Mono audio ⇄ code frames; channels of a recording are coded one by one."""

    def __init__(
        self, folder: Path, stored: Stored, spec: CodeSpec, *, name: str, count: int
    ) -> None:
        super().__init__(folder, stored, spec, name=name, count=count)
        facts = stored.facts
        self._hop = spec.levels[0].stride[0]
        self._spectra = Spectra(
            facts["frame"], facts["hop"], bands=facts["bands"], rate=facts["rate"]
        )
        self._context, self._decoder_context = int(facts["context"]), int(facts["decoder_context"])
        # Samples before a segment that change its codes.
        self._past = self._spectra.size - self._hop + self._context * self._hop

    @cached_property
    def _encoder(self) -> Network:
        return Network(self._stored.encoder, self._folder)

    @cached_property
    def _decoder(self) -> Network:
        return Network(self._stored.decoder, self._folder)

    @cached_property
    def _float64(self) -> Float64:
        return Float64(self._stored.encoder, self._arrays)

    def encode_many(self, signals: Sequence[Array]) -> list[Codes]:
        """Encode (1, L) signals of any lengths; equal segments are batched for speed."""
        self.spec.require_codes(self.name)
        waiting: defaultdict[tuple[int, int], list[tuple[int, int, Array]]] = defaultdict(list)
        pieces: list[list[Array]] = [[] for _ in signals]

        def encode(form: tuple[int, int]) -> None:
            group = waiting.pop(form)
            found = self._encode(np.stack([window for _, _, window in group]), form[1])
            for (item, at, _), codes in zip(group, found, strict=True):
                pieces[item][at] = codes

        for item, x in enumerate(signals):
            if x.ndim != 2 or x.shape[0] != 1 or 0 in x.shape:
                raise UsageError(f"audio: shape {x.shape} found, (1, L) expected")
            for segment in segments([x[0]], join=_join, own=TILE * self._hop, past=self._past):
                window = self._filled(segment)
                form = (len(window), segment.skip)
                waiting[form].append((item, len(pieces[item]), window))
                pieces[item].append(window)  # its codes take its place
                if (len(waiting[form]) + 1) * len(window) > BATCH * self._hop:
                    encode(form)
        for form in list(waiting):
            encode(form)
        dtype = self.spec.levels[0].dtype
        return [
            Codes(
                self.spec,
                (_join(parts)[None, ..., : -(-x.shape[1] // self._hop)].astype(dtype),),
                (x.shape[1],),
            )
            for parts, x in zip(pieces, signals, strict=True)
        ]

    def encode_stream(self, blocks: Iterable[Array]) -> Iterator[tuple[Array, ...]]:
        """Encode (B, 1, n) blocks: pieces (B, *axes) of the one level, as small integers."""
        self.spec.require_codes(self.name)
        dtype = self.spec.levels[0].dtype
        mono = (block[:, 0] for block in blocks)
        for segment in segments(mono, join=_join, own=TILE * self._hop, past=self._past):
            codes = self._encode(self._filled(segment), segment.skip)
            yield (codes[..., : -(-segment.own // self._hop)].astype(dtype),)

    def decode(self, codes: Codes, *, label: Label = None) -> Array:
        """Decode codes to (B, 1, L) float32."""
        return _join(list(self.decode_stream([codes.levels], codes.extent[0], label=label)))

    def decode_stream(
        self,
        pieces: Iterable[tuple[Array, ...]],
        length: int | None = None,
        *,
        label: Label = None,
    ) -> Iterator[Array]:
        """Decode pieces (B, *axes) of the one level to (B, 1, n) samples in [-1, 1]."""
        self.spec.require_codes(self.name)
        vector, ahead, given = self._vector(label), self._spectra.overlap - 1, 0
        levels = (level for (level,) in pieces)
        for segment in segments(
            levels, join=_join, own=TILE, past=self._decoder_context, ahead=ahead
        ):
            skip, own = segment.skip * self._hop, segment.own * self._hop
            left = own if length is None else max(0, min(own, length - given))
            items = [self._render(codes[None], vector) for codes in segment.window]
            audio = np.concatenate(items)[:, None, skip : skip + left]
            yield np.clip(audio, -1.0, 1.0)
            given += own

    def _filled(self, segment: Segment[Array]) -> Array:
        """Add silence to the last segment, up to a multiple of ``STEP`` or a whole one."""
        missing = min(-segment.own % (STEP * self._hop), (TILE * self._hop) - segment.own)
        sides = [(0, 0)] * (segment.window.ndim - 1) + [(0, missing)]
        return np.pad(segment.window, sides) if missing else segment.window

    def _encode(self, samples: Array, seen: int) -> Array:
        """Code (B, n) samples after the first ``seen``: int64 (B, Q, t) or (B, t)."""
        drop, samples = seen // self._hop, samples.astype(np.float32)
        features = self._spectra.features(samples).transpose(0, 2, 1)[:, :, None]
        count = self._useful(samples.size)
        x = np.ascontiguousarray(features, dtype=np.float32)  # (B, F, 1, T)
        z = self._encoder({"x": x}, threads=count)[0][:, :, 0, drop:]

        def source(item: int) -> Source:
            def read(at: Region) -> Array:
                found = features[item, :, :, slice(*at.columns)]
                return np.asarray(found.transpose(1, 2, 0))

            return Source(read, (1, features.shape[-1]))

        def recompute(positions: Sequence[Position]) -> list[Array]:
            sources = [{"x": source(item)} for item, _ in positions]
            at = [Region((0, 1), (drop + frame, drop + frame + 1)) for _, frame in positions]
            return [found[0, 0] for found in self._float64(sources, at)]

        return self._exact[0](z, recompute, threads=count)

    def _render(self, codes: Array, vector: Array | None) -> Array:
        """Maps (1, [Q,] n) codes, none before or after them → (1, n·hop) samples."""
        z = self._exact[0].decode(codes)  # (1, D, n)
        count, ahead = z.shape[-1], self._spectra.overlap - 1
        given = {}
        if vector is not None and vector.ndim == 1:
            z = z + vector[:, None]
        elif vector is not None:
            given["vectors"] = GAIN * vector[None]
        # Zero latents after the end stand for "nothing follows".
        given["q0"] = np.pad(z, ((0, 0), (0, 0), (0, ahead)))[:, :, None]
        threads = self._useful(count * self._hop)
        parts = self._decoder(given, threads=threads)[0][:, :, 0].transpose(0, 2, 1)
        samples = self._spectra.samples(parts)
        cut = self._spectra.size - self._hop
        return samples[:, cut : cut + count * self._hop]


def _join(pieces: Sequence[Array]) -> Array:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)
