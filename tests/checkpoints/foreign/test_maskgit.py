"""MaskGIT's VQGAN against a second statement of it."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.checkpoints.foreign.conftest import agrees, picture
from tests.checkpoints.foreign.published import Maker, State, closest, conv, doubled, norm, swish
from vqtok.checkpoints import foreign

WIDTHS, BLOCKS, DIM, SIZE = (32, 32, 64), 2, 8, 50


def block(m: Maker, name: str, inside: int, out: int) -> None:
    m.norm(f"{name}.norm1", inside)
    m.conv(f"{name}.conv1", inside, out, 3, bias=False)
    m.norm(f"{name}.norm2", out)
    m.conv(f"{name}.conv2", out, out, 3, bias=False)
    if inside != out:
        m.conv(f"{name}.nin_shortcut", out, out, 1, bias=False)


def decoder(m: Maker, name: str = "decoder", *, widths: tuple[int, ...] = WIDTHS) -> None:
    m.conv(f"{name}.conv_in", DIM, widths[-1], 3)
    for j in range(BLOCKS):
        block(m, f"{name}.mid.{j}", widths[-1], widths[-1])
    for i, width in enumerate(widths):
        above = widths[min(i + 1, len(widths) - 1)]
        for j in range(BLOCKS):
            block(m, f"{name}.up.{i}.block.{j}", width if j else above, width)
        if i > 0:
            m.conv(f"{name}.up.{i}.upsample_conv", width, width, 3)
    m.norm(f"{name}.norm_out", widths[0])
    m.conv(f"{name}.conv_out", widths[0], 3, 3)
    m.state[f"{name}.conv_out.weight"] *= 0.3  # pixels in the range of pixels
    m.state[f"{name}.conv_out.bias"] += 0.5


def made() -> State:
    m = Maker()
    m.conv("encoder.conv_in", 3, WIDTHS[0], 3, bias=False)
    for i, width in enumerate(WIDTHS):
        for j in range(BLOCKS):
            block(m, f"encoder.down.{i}.block.{j}", width if j else WIDTHS[max(i - 1, 0)], width)
    for j in range(BLOCKS):
        block(m, f"encoder.mid.{j}", WIDTHS[-1], WIDTHS[-1])
    m.norm("encoder.norm_out", WIDTHS[-1])
    m.conv("encoder.conv_out", WIDTHS[-1], DIM, 1)
    m.state["quantize.embedding.weight"] = m.random(SIZE, DIM)
    decoder(m)
    return m.state


def res(s: State, name: str, x: Tensor) -> Tensor:
    h = conv(s, f"{name}.conv1", swish(norm(s, f"{name}.norm1", x)), padding=1)
    h = conv(s, f"{name}.conv2", swish(norm(s, f"{name}.norm2", h)), padding=1)
    projected = f"{name}.nin_shortcut.weight" in s
    return h + (conv(s, f"{name}.nin_shortcut", h) if projected else x)


def painted(s: State, z_q: Tensor, name: str = "decoder", *, levels: int = len(WIDTHS)) -> Tensor:
    h = conv(s, f"{name}.conv_in", z_q, padding=1)
    for j in range(BLOCKS):
        h = res(s, f"{name}.mid.{j}", h)
    for i in range(levels - 1, -1, -1):
        for j in range(BLOCKS):
            h = res(s, f"{name}.up.{i}.block.{j}", h)
        if i > 0:
            h = doubled(s, f"{name}.up.{i}.upsample_conv", h)
    return conv(s, f"{name}.conv_out", swish(norm(s, f"{name}.norm_out", h)), padding=1)


def expected(s: State, x: Tensor) -> tuple[Tensor, Tensor]:
    h = conv(s, "encoder.conv_in", (x + 1) / 2, padding=1)
    for i in range(len(WIDTHS)):
        for j in range(BLOCKS):
            h = res(s, f"encoder.down.{i}.block.{j}", h)
        if i < len(WIDTHS) - 1:
            h = F.avg_pool2d(h, 2)
    for j in range(BLOCKS):
        h = res(s, f"encoder.mid.{j}", h)
    z = conv(s, "encoder.conv_out", swish(norm(s, "encoder.norm_out", h)))
    codes = closest(z, s["quantize.embedding.weight"])
    z_q = s["quantize.embedding.weight"][codes].movedim(-1, 1)
    return codes, painted(s, z_q).clamp(0, 1) * 2 - 1


def test_codes_and_pixels_are_those_of_maskgit(tmp_path: Path):
    state = made()
    path = tmp_path / "maskgit-vqgan-imagenet-f16-256.bin"
    torch.save(state, path)
    x = picture(32, 48)
    codes, shown = expected(state, x)
    agrees(path, x, [codes], shown)
    assert foreign.recognise(path).family == "MaskGIT VQGAN"
