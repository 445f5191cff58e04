"""Share what tokenizers of images with local networks have in common: codes and pixels by tiles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vqtok.codes.container import Array, Codes
from vqtok.codes.spec import CodeSpec
from vqtok.graphs.graph import Value, Weight
from vqtok.graphs.store import Graphs
from vqtok.nn.hierarchy import Encoder, OneLevel, layers_of
from vqtok.nn.outputs import Output, entering, pixels
from vqtok.nn.undisturbed import undisturbed
from vqtok.protocols import Config as AnyConfig
from vqtok.protocols import Label, Quantized, Quantizer, RecomputeStats, Reconstructed
from vqtok.tokenizers import _given
from vqtok.tokenizers._graphs import Builder, encoder_of_levels, image_decoder
from vqtok.tokenizers._labels import Labels
from vqtok.tokenizers._quantizers import dequantize, described, level_specs, of_levels, total
from vqtok.tokenizers._signals import check_signals, joined, padded, repeated, size_of
from vqtok.tokenizers.exact.images import ImageEncoder
from vqtok.tokenizers.exact.tiling2d import Read, Tile, Windows, tiles

if TYPE_CHECKING:
    from vqtok.protocols import GivenCodes, Signal


class Config(AnyConfig, Protocol):
    """What these tokenizers' configs have in common."""

    @property
    def stride(self) -> int: ...
    @property
    def latent(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def output(self) -> Output: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


class TiledImages(nn.Module, ABC):
    """Images ⇄ grids of codes, coarse → fine; a family adds ``_quantize`` and ``_paint``.

    Methods are those of ``protocols.ImageTokenizer`` and ``TrainableTokenizer``; the codes of a
    level are (B, h, w), or (B, Q, h, w) if its quantizer has a depth.

    Args:
        config: Of the family.
        encoder: Its ``state_dict`` keys begin with "encoder.".
        decoder: Its ``receptive_field`` is in pixels.
        quantizer: One, or ``Quantizers`` of several levels.
        names: Of the levels.
        levels: The encoder as exact coding walks it.
    """

    def __init__(
        self,
        config: Config,
        encoder: nn.Module,
        decoder: nn.Module,
        quantizer: nn.Module,
        *,
        names: Sequence[str],
        levels: Encoder | OneLevel,
    ) -> None:
        super().__init__()
        self.config: AnyConfig = config
        self.name = ""
        self.exact = True
        self.stride, self.channels, self.output = config.stride, config.channels, config.output
        self.encoder, self.decoder, self.quantizer = encoder, decoder, quantizer
        self.labels = Labels(config.labels, config.latent)
        specs = level_specs(self.quantizers, names, axes=("h", "w"), stride=config.stride)
        self.spec = CodeSpec(modality="image", levels=specs)
        self._levels = [levels]  # in a list, so that it is no submodule
        self._exact = ImageEncoder(
            levels, self.quantizers, stride=config.stride, channels=config.channels
        )

    @property
    def quantizers(self) -> list[Quantizer]:
        """List the quantizer of each level, coarse → fine."""
        return of_levels(self.quantizer)

    @property
    def recompute_stats(self) -> RecomputeStats:
        """Count the latents that were coded so far, and those of them in float64."""
        return self._exact.stats

    @property
    def receptive_field(self) -> int:
        """Pixels per side that one code depends on."""
        (levels,) = self._levels
        return self.stride + 2 * levels.receptive_field

    @undisturbed
    def encode(self, x: Signal) -> Codes:
        """Encode images of any size from 1x1 up, each by itself."""
        return joined(self.encode_many(list(_given.signals(x, "image", self.channels))))

    @undisturbed
    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Encode images of any sizes, each by itself; equal tiles are batched for speed."""
        self.spec.require_codes(self.name)
        for x in signals:
            check_signals(x[None], "image", self.channels)
        images = [self._windows(x) for x in signals]
        found = [
            [torch.empty((1, *shape), dtype=torch.int64) for shape in self.spec.shapes(each.size)]
            for each in images
        ]
        self._exact.encode(images, found)
        device = self._device()
        return [
            Codes(self.spec, tuple(array.to(device) for array in arrays), image.size)
            for arrays, image in zip(found, images, strict=True)
        ]

    @undisturbed
    def encode_windows(self, size: tuple[int, int], read: Read[Tensor]) -> Codes:
        """Encode an image of any size while only a tile of it is in memory."""
        self.spec.require_codes(self.name)
        pairs = zip(self.spec.levels, self.spec.shapes(size), strict=True)
        arrays = [np.empty((1, *shape), dtype=level.dtype) for level, shape in pairs]
        self._exact.encode([self._read(size, read)], [arrays])
        return Codes(self.spec, tuple(arrays), size)

    @undisturbed
    def decode(
        self,
        codes: GivenCodes,
        *,
        extent: tuple[int, ...] | None = None,
        label: Label = None,
    ) -> Tensor:
        """Decode to (B, C, H, W) float32, clamped to [-1, 1] and cropped to the extent."""
        self.spec.require_codes(self.name)
        codes = _given.codes(codes, self.spec, extent)
        height, width = codes.extent
        x = torch.empty(len(codes), self.channels, height, width, device=self._device())
        for item in range(len(codes)):
            for rows, columns, shown in self.decode_tiles(codes, item=item, label=label):
                x[item, :, rows, columns] = shown
        return x

    @undisturbed
    def decode_tiles(
        self, codes: Codes, *, item: int = 0, label: Label = None
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Decode one image of a batch while only a tile of it is in memory.

        The tiles, in [-1, 1], cover ``codes.extent`` once.
        """
        self.spec.require_codes(self.name)

        def look_up(tile: Tile) -> list[Tensor]:
            z_qs = []
            pairs = zip(self.quantizers, codes.levels, strict=True)
            for level, (quantizer, array) in enumerate(pairs):
                window = array[item][(None, ..., *tile.window(1 << level))]
                z_qs.append(dequantize(quantizer, self._integers(window)))
            return self._conditioned(z_qs, label)

        for rows, columns, shown in self._decoded(look_up, codes.extent):
            yield rows, columns, shown[0]

    @undisturbed
    def latents(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute what is quantized, tile by tile."""
        check_signals(x, "image", self.channels)
        found = self._exact.latents([self._windows(each) for each in x])
        return found if len(found) > 1 else found[0]

    @undisturbed
    def render(
        self, z_q: Tensor | Sequence[Tensor], extent: tuple[int, ...], *, label: Label = None
    ) -> Tensor:
        """Decode quantized or continuous latents, tile by tile, to [-1, 1].

        Args:
            z_q: (B, D, h, w) float32; of several levels a sequence.
            extent: (H, W) of the images.
            label: One for all, if the model has labels.
        """
        levels = self._conditioned([z_q] if isinstance(z_q, Tensor) else list(z_q), label)
        x = torch.empty(len(levels[0]), self.channels, *extent, device=self._device())

        def look_up(tile: Tile) -> list[Tensor]:
            return [each[(..., *tile.window(1 << level))] for level, each in enumerate(levels)]

        for rows, columns, shown in self._decoded(look_up, extent):
            x[..., rows, columns] = shown
        return x

    def paint(self, z_qs: Sequence[Tensor]) -> Tensor:
        """Decode (B, D, h, w) of each level to (B, C, H, W) around [-1, 1], differentiably."""
        return pixels(self._paint(z_qs), self.output)

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch differentiably."""
        height, width = size_of(x)
        levels = self._quantize(padded(entering(x, self.output), self.stride), (height, width))
        raw = self._paint(self._conditioned([each.z_q for each in levels], labels))
        raw = raw[..., :height, :width].float()
        loss, terms = total(levels, [level.name for level in self.spec.levels])
        codes = tuple(each.codes for each in levels) if self.spec.levels else ()
        return Reconstructed(
            x=pixels(raw, self.output),
            codes=Codes(self.spec, codes, (height, width)),
            loss=loss,
            terms=terms,
            raw=None if self.output == "plain" else raw,
        )

    def graphs(self, stored: Mapping[str, Weight]) -> Graphs:
        """Write encoder and decoder as graphs."""
        (levels,) = self._levels
        to = Builder(self, stored)
        given = [Value("x", ("batch", self.channels, "height", "width"))]
        if isinstance(levels, Encoder):
            given += encoder_of_levels(to, levels)
        else:
            to.add("Identity", to.layers(layers_of(self.encoder), "x"), out="z0")
        latents = [("batch", "latent", f"h{i}", f"w{i}") for i in range(len(self.quantizers))]
        encoder = to.graph(given, [Value(f"z{i}", axes) for i, axes in enumerate(latents)])
        to = Builder(self, stored)
        image_decoder(to, self.decoder)
        decoder = to.graph(
            [Value(f"q{i}", axes) for i, axes in enumerate(latents)],
            [Value("raw", ("batch", "channels", "height", "width"))],
        )
        halo = -(-int(self.decoder.receptive_field) // self.stride)  # type: ignore[arg-type]
        facts = {
            "stride": self.stride,
            "channels": self.channels,
            "output": self.output,
            "labels": list(self.labels.names),
            "quantizers": described(self.quantizers),
            "codes": [[each.codebook_size, each.depth] for each in self.quantizers],
            "margins": list(levels.margins),
            "halo": levels.halo,
            "decoder_halo": halo,
        }
        return Graphs(encoder, decoder, facts)

    @abstractmethod
    def _quantize(self, x: Tensor, extent: tuple[int, int]) -> list[Quantized]:
        """Encode and quantize whole images on every level.

        Args:
            x: (B, C, H, W), sides multiples of the stride.
            extent: Their size before padding.
        """

    @abstractmethod
    def _paint(self, z_qs: Sequence[Tensor]) -> Tensor:
        """Maps (B, D, h, w) of each level → what the decoder gives, (B, n, H, W)."""

    def _decoded(
        self, look_up: Callable[[Tile], list[Tensor]], extent: tuple[int, ...]
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Decode tile by tile.

        Args:
            look_up: Tile → (B, D, h, w) of each level in its window.
            extent: (H, W): padding behind it is cut off.

        Yields:
            Rows, columns and (B, C, h, w) pixels in [-1, 1].
        """
        height, width = extent
        halo = -(-int(self.decoder.receptive_field) // self.stride)  # type: ignore[arg-type]
        for tile in tiles(extent, stride=self.stride, halo=halo):
            raw = self._paint(look_up(tile))[(..., *tile.inner(self.stride))]
            rows, columns = tile.owned(self.stride)
            rows = slice(rows.start, min(rows.stop, height))
            columns = slice(columns.start, min(columns.stop, width))
            raw = raw[..., : rows.stop - rows.start, : columns.stop - columns.start].float()
            yield rows, columns, pixels(raw, self.output).clamp(-1.0, 1.0)

    def _conditioned(self, z_qs: list[Tensor], label: Tensor | Label) -> list[Tensor]:
        """Add the label to the finest level, which carries it into the decoder."""
        return [*z_qs[:-1], self.labels.condition(z_qs[-1], label)]

    def _windows(self, x: Tensor) -> Windows[Tensor]:
        """Read (C, H, W) in memory."""
        return self._read(size_of(x), lambda rows, columns: x[:, rows, columns])

    def _read(self, size: tuple[int, int], read: Read[Tensor]) -> Windows[Tensor]:
        def seen(rows: slice, columns: slice) -> Tensor:
            return entering(read(rows, columns), self.output)

        return Windows(size, seen, stride=self.stride, repeat=repeated)

    def _integers(self, codes: Array) -> Tensor:
        """Bring codes of any array to the device."""
        if isinstance(codes, np.ndarray):
            codes = torch.from_numpy(codes.astype(np.int64))
        found: Tensor = codes.to(self._device(), torch.int64)
        return found

    def _device(self) -> torch.device:
        return next(self.parameters()).device
