"""Published models at full size with random weights: what ``world.py`` measures.

EnCodec, DAC and Mimi are those of transformers. VQGAN is built of the modules of
taming-transformers (``pip install --no-deps taming-transformers-rom1504``), put together as its
``VQModel`` does, without Lightning, which loading would have to start. LlamaGen is on no package
index: its published network is that of taming with other names and another lookup, so the same
blocks stand in for it here, under LlamaGen's names, with its lookup written out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ENTRIES = 16384
SIDE = 256


@dataclass(frozen=True)
class Family:
    """One published model.

    Attributes:
        write: Makes one with fresh weights, and writes it as it is published: (directory) → where.
        load: (where) → the model, from disk.
        signal: (seconds, for audio) → what is encoded, with a batch axis of 1.
        encode: (model, signal) → codes.
        decode: (model, codes) → signal.
    """

    write: Callable[[Path], Path]
    load: Callable[[Path], Any]
    signal: Callable[[float], Tensor]
    encode: Callable[[Any, Tensor], Tensor]
    decode: Callable[[Any, Tensor], Tensor]


def encodec_24k() -> Family:
    """EnCodec 24 kHz of transformers."""
    from transformers import EncodecConfig, EncodecModel

    return Family(
        lambda folder: _pretrained(EncodecModel(EncodecConfig()), folder),
        lambda path: EncodecModel.from_pretrained(path).eval(),
        lambda seconds: _noise(24000, seconds),
        lambda model, x: model.encode(x, bandwidth=24.0).audio_codes[0],
        lambda model, codes: model.decode(codes[None], [None])[0],
    )


def dac_44k() -> Family:
    """DAC 44 kHz of transformers."""
    from transformers import DacConfig, DacModel

    def encode(model: Any, x: Tensor) -> Tensor:
        codes: Tensor = model.encode(F.pad(x, (0, -x.shape[-1] % 512))).audio_codes
        return codes

    config = DacConfig(downsampling_ratios=[2, 4, 8, 8], sampling_rate=44100)
    return Family(
        lambda folder: _pretrained(DacModel(config), folder),
        lambda path: DacModel.from_pretrained(path).eval(),
        lambda seconds: _noise(44100, seconds),
        encode,
        lambda model, codes: model.decode(audio_codes=codes).audio_values,
    )


def mimi() -> Family:
    """Mimi of transformers."""
    from transformers import MimiConfig, MimiModel

    return Family(
        lambda folder: _pretrained(MimiModel(MimiConfig()), folder),
        lambda path: MimiModel.from_pretrained(path).eval(),
        lambda seconds: _noise(24000, seconds),
        lambda model, x: model.encode(x).audio_codes,
        lambda model, codes: model.decode(codes).audio_values,
    )


def vqgan_f16() -> Family:
    """``vqgan_imagenet_f16_16384``: a checkpoint of Lightning, as its training leaves it."""

    def write(folder: Path) -> Path:
        state = _drawn(Taming()).state_dict()
        path = folder / "last.ckpt"
        torch.save({"state_dict": state, "epoch": 1, "global_step": 1}, path)
        return path

    return _pictures(Taming, write, "state_dict")


def llamagen_vq8() -> Family:
    """``vq_ds8_c2i.pt``."""

    def write(folder: Path) -> Path:
        state = _drawn(LlamaGen()).state_dict()
        torch.save({"model": state}, folder / "vq_ds8_c2i.pt")
        return folder / "vq_ds8_c2i.pt"

    return _pictures(LlamaGen, write, "model")


class Taming(nn.Module):
    """``VQModel`` of taming-transformers with the sizes of f16."""

    def __init__(self) -> None:
        from taming.modules.diffusionmodules.model import Decoder, Encoder
        from taming.modules.vqvae.quantize import VectorQuantizer2

        super().__init__()
        sizes: dict[str, Any] = {
            "double_z": False, "z_channels": 256, "resolution": SIDE, "in_channels": 3, "out_ch": 3,
            "ch": 128, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 2, "attn_resolutions": [16],
            "dropout": 0.0,
        }  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its sizes
            self.encoder, self.decoder = Encoder(**sizes), Decoder(**sizes)
        self.quantize = VectorQuantizer2(ENTRIES, 256, beta=0.25)
        self.quant_conv = nn.Conv2d(256, 256, 1)
        self.post_quant_conv = nn.Conv2d(256, 256, 1)

    def encode(self, x: Tensor) -> Tensor:
        """(1, 3, H, W) → codes (1, h, w)."""
        z = self.quant_conv(self.encoder(x))
        codes: Tensor = self.quantize(z)[2][2]
        return codes.reshape(1, *z.shape[2:])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (1, h, w) → (1, 3, H, W)."""
        z_q = self.quantize.get_codebook_entry(codes.flatten(), (*codes.shape, 256))
        out: Tensor = self.decoder(self.post_quant_conv(z_q))
        return out


class LlamaGen(nn.Module):
    """``VQ_8`` of LlamaGen out of taming's blocks, under LlamaGen's names."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        widths, dim = (128, 256, 256, 512), 8
        self.encoder.conv_in = nn.Conv2d(3, 128, 3, padding=1)
        self.encoder.conv_blocks = _levels((128, *widths), 2, "downsample", attends=3)
        self.decoder.conv_in = nn.Conv2d(256, 512, 3, padding=1)
        self.decoder.conv_blocks = _levels((512, *widths[::-1]), 3, "upsample", attends=0)
        for side, inside, out in ((self.encoder, 512, 256), (self.decoder, 128, 3)):
            side.mid = nn.ModuleList((_residual(512, 512), _attention(512), _residual(512, 512)))
            side.norm_out = nn.GroupNorm(32, inside, eps=1e-6)
            side.conv_out = nn.Conv2d(inside, out, 3, padding=1)
        self.quantize = nn.Module()
        self.quantize.embedding = nn.Embedding(ENTRIES, dim)
        self.quantize.register_buffer("codebook_used", torch.zeros(65536))
        self.quant_conv = nn.Conv2d(256, dim, 1)
        self.post_quant_conv = nn.Conv2d(dim, 256, 1)

    def encode(self, x: Tensor) -> Tensor:
        """(1, 3, H, W) → codes (1, h, w)."""
        h = self._blocks(self.encoder, self.encoder.conv_in(x), "downsample")
        z = self.quant_conv(self._out(self.encoder, self._middle(self.encoder, h)))
        z = F.normalize(z.movedim(1, -1).contiguous(), dim=-1)
        entries = F.normalize(self.quantize.embedding.weight, dim=-1)
        rows = z.flatten(0, 2)
        lengths = (rows**2).sum(dim=1, keepdim=True) + (entries**2).sum(dim=1)
        codes = (lengths - 2 * torch.einsum("bd,dn->bn", rows, entries.T)).argmin(dim=1)
        return codes.reshape(z.shape[:-1])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (1, h, w) → (1, 3, H, W)."""
        entries = F.normalize(self.quantize.embedding.weight, dim=-1)
        z_q = entries[codes].movedim(-1, 1).contiguous()
        h = self._middle(self.decoder, self.decoder.conv_in(self.post_quant_conv(z_q)))
        return self._out(self.decoder, self._blocks(self.decoder, h, "upsample"))

    def _blocks(self, side: Any, h: Tensor, step: str) -> Tensor:
        for level in side.conv_blocks:
            for index, block in enumerate(level.res):
                h = block(h, None)
                if len(level.attn):
                    h = level.attn[index](h)
            if hasattr(level, step):
                h = getattr(level, step)(h)
        return h

    def _middle(self, side: Any, h: Tensor) -> Tensor:
        out: Tensor = side.mid[2](side.mid[1](side.mid[0](h, None)), None)
        return out

    def _out(self, side: Any, h: Tensor) -> Tensor:
        h = side.norm_out(h)
        out: Tensor = side.conv_out(h * torch.sigmoid(h))
        return out


def _levels(widths: tuple[int, ...], blocks: int, step: str, *, attends: int) -> nn.ModuleList:
    """Levels from one end to the other; the first width is what enters."""
    from taming.modules.diffusionmodules import model

    steps = {"downsample": model.Downsample, "upsample": model.Upsample}
    levels = nn.ModuleList()
    for index, (inside, out) in enumerate(pairwise(widths)):
        level: Any = nn.Module()
        level.res = nn.ModuleList(_residual(out if j else inside, out) for j in range(blocks))
        count = blocks if index == attends else 0
        level.attn = nn.ModuleList(_attention(out) for _ in range(count))
        if index < len(widths) - 2:
            setattr(level, step, steps[step](out, True))
        levels.append(level)
    return levels


def _residual(inside: int, out: int) -> nn.Module:
    from taming.modules.diffusionmodules.model import ResnetBlock

    block: nn.Module = ResnetBlock(
        in_channels=inside, out_channels=out, dropout=0.0, temb_channels=0
    )
    return block


def _attention(channels: int) -> nn.Module:
    from taming.modules.diffusionmodules.model import AttnBlock

    block: nn.Module = AttnBlock(channels)
    return block


def _pictures(build: Callable[[], Any], write: Callable[[Path], Path], key: str) -> Family:
    def load(path: Path) -> Any:
        model = build()
        kept: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(kept[key])
        return model.eval()

    return Family(
        write,
        load,
        lambda _: F.interpolate(torch.rand(1, 3, 32, 32) * 2 - 1, (SIDE, SIDE), mode="bilinear"),
        lambda model, x: model.encode(x),
        lambda model, codes: model.decode(codes),
    )


def _pretrained(model: Any, folder: Path) -> Path:
    for name, buffer in model.named_buffers():
        if name.endswith(("embed", "embed_sum")):
            buffer.normal_(0, 0.1)
    model.eval().save_pretrained(folder)
    return folder


@torch.no_grad()
def _drawn(model: nn.Module) -> nn.Module:
    """Weights that carry a picture through: the classes' own make all codes one."""
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.normal_(0, weight[0].numel() ** -0.5)
    return model


def _noise(rate: int, seconds: float) -> Tensor:
    return torch.randn(1, 1, round(seconds * rate)) * 0.1


MODELS = {
    "encodec-24k": encodec_24k,
    "dac-44k": dac_44k,
    "mimi": mimi,
    "vqgan-f16": vqgan_f16,
    "llamagen-vq8": llamagen_vq8,
}
