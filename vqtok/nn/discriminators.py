"""Networks that tell originals from reconstructions: patches of images, spectra of audio.

No batch norm in either: originals and reconstructions would be normalised by different statistics
(a way to tell them apart that teaches the decoder nothing), one item's score would depend on its
batch-mates, and ranks would have to agree. Weights are normalised instead (arXiv:1602.07868), as
EnCodec does.

Both give, for every input, scores (higher: more like an original) and the feature maps behind them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2
"""Of the leaky ReLUs, in both papers."""

QUIET = 1e-4
"""Power of an STFT bin below which magnitudes stay as they are; a full-scale tone has 32 … 128."""


class Scored(NamedTuple):
    """What one network says of a batch."""

    scores: Tensor
    """(B, 1, h, w) float32: one score for every patch of the input."""
    features: list[Tensor]
    """Hidden layers, input side first, (B, D, h, w) each."""


class Patches(nn.Module):
    """PatchGAN: a score for every patch of 54x54 pixels, every 8 pixels.

    Isola et al. 2016 (arXiv:1611.07004, section 3.4) with VQGAN's three halvings (2012.09841).
    Layers at full stride have kernel 3 instead of 4, so that sides of any length fit.

    Args:
        channels: Of the images.
        width: Channels of the first layer; each halving doubles them, up to eightfold.
    """

    halvings = 3

    def __init__(self, channels: int, *, width: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(self.halvings)]
        inputs = [channels, *widths]
        layers = [
            nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in zip(inputs, widths, strict=False)
        ]
        layers.append(nn.Conv2d(widths[-1], 2 * widths[-1], 3, padding=1))
        self.layers = nn.ModuleList(_normalised(layer) for layer in layers)
        self.last = _normalised(nn.Conv2d(2 * widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> list[Scored]:
        """Score (B, C, H, W) images in [-1, 1] of any size: one entry."""
        small = 2**self.halvings
        bottom, right = (max(0, small - side) for side in x.shape[-2:])
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        return [_scored(x, self.layers, self.last)]


class Spectra(nn.Module):
    """One convolutional network per STFT size, over real and imaginary parts.

    The multi-scale STFT discriminator of EnCodec (arXiv:2210.13438, section 3.4) with three sizes
    instead of five, and over compressed spectra, where quiet bins count.

    Args:
        sizes: STFT windows in samples; hops are a quarter of them.
        width: Channels of every layer.
    """

    def __init__(self, sizes: tuple[int, ...] = (2048, 1024, 512), *, width: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(Spectral(size, width=width) for size in sizes)

    def forward(self, x: Tensor) -> list[Scored]:
        """Score (B, 1, L) audio of any length: one entry per STFT size."""
        return [scale(x) for scale in self.scales]


class Spectral(nn.Module):
    """The network of one STFT size: halves frequency, dilates over time, sees 21 frames."""

    def __init__(self, size: int, *, width: int) -> None:
        super().__init__()
        self.size = size
        layers = [nn.Conv2d(2, width, (3, 9), padding=(1, 4))]
        layers += [
            nn.Conv2d(width, width, (3, 9), stride=(1, 2), dilation=(step, 1), padding=(step, 4))
            for step in (1, 2, 4)
        ]
        layers.append(nn.Conv2d(width, width, 3, padding=1))
        self.layers = nn.ModuleList(_normalised(layer) for layer in layers)
        self.last = _normalised(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Scored:
        """Score (B, 1, L) audio."""
        return _scored(self.spectrum(x), self.layers, self.last)

    def spectrum(self, x: Tensor) -> Tensor:
        """Maps (B, 1, L) audio → (B, 2, T, bins) float32: real and imaginary part, compressed.

        The magnitude m becomes its square root, from some 60 dB below a full-scale tone on: what is
        quiet, such as all high frequencies, would else hardly be seen.
        """
        with torch.autocast(x.device.type, enabled=False):
            samples = x[:, 0].float()
            samples = F.pad(samples, (0, max(0, self.size // 2 + 1 - samples.shape[-1])))
            window = torch.hann_window(self.size, device=x.device)
            found = torch.stft(
                samples,
                self.size,
                hop_length=self.size // 4,
                window=window,
                normalized=True,
                return_complex=True,
            )
            parts = torch.view_as_real(found.mT).permute(0, 3, 1, 2)  # (B, 2, T, bins)
            power = parts.square().sum(1, keepdim=True) + QUIET
            return parts * power.sqrt().rsqrt()


def _normalised(layer: nn.Conv2d) -> nn.Module:
    """Returns the layer with its weight as length and direction, at a scale that signals keep."""
    # torch's own start would shrink them by half in every layer: nothing is learned for a while.
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    normalised: nn.Module = weight_norm(layer)
    return normalised


def _scored(x: Tensor, layers: nn.ModuleList, last: nn.Module) -> Scored:
    x = x.contiguous(memory_format=torch.channels_last)
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    scores: Tensor = last(x)
    return Scored(scores.float(), features)
