"""Open-MAGVIT2 against a second statement of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.checkpoints.foreign.conftest import agrees, picture
from tests.checkpoints.foreign.published import Maker, State, conv, norm, res, swish
from vqtok.checkpoints import foreign

WIDTHS, BLOCKS, BITS = (64, 64, 128), 1, 7


def block(m: Maker, name: str, inside: int, out: int) -> None:
    m.norm(f"{name}.norm1", inside)
    m.conv(f"{name}.conv1", inside, out, 3, bias=False)
    m.norm(f"{name}.norm2", out)
    m.conv(f"{name}.conv2", out, out, 3, bias=False)
    if inside != out:
        m.conv(f"{name}.nin_shortcut", inside, out, 1, bias=False)


def made(seed: int = 0) -> State:
    m = Maker(seed)
    m.conv("encoder.conv_in", 3, 64, 3, bias=False)
    for i, width in enumerate(WIDTHS):
        for j in range(BLOCKS):
            before = WIDTHS[max(i - 1, 0)]
            block(m, f"encoder.down.{i}.block.{j}", width if j else before, width)
        if i < len(WIDTHS) - 1:
            m.conv(f"encoder.down.{i}.downsample", width, width, 3)
        above = WIDTHS[min(i + 1, len(WIDTHS) - 1)]
        for j in range(BLOCKS):
            block(m, f"decoder.up.{i}.block.{j}", width if j else above, width)
        if i > 0:
            m.conv(f"decoder.up.{i}.upsample.conv1", width, 4 * width, 3)
        m.linear(f"decoder.adaptive.{i}.gamma", BITS, above)
        m.linear(f"decoder.adaptive.{i}.beta", BITS, above)
    for side, width in (("encoder", WIDTHS[-1]), ("decoder", WIDTHS[0])):
        for j in range(BLOCKS):
            block(m, f"{side}.mid_block.{j}", WIDTHS[-1], WIDTHS[-1])
        m.norm(f"{side}.norm_out", width)
    m.conv("encoder.conv_out", WIDTHS[-1], BITS, 1)
    m.conv("decoder.conv_in", BITS, WIDTHS[-1], 3)
    m.conv("decoder.conv_out", WIDTHS[0], 3, 3)
    return m.state


def spread(x: Tensor) -> Tensor:
    """Depth to space with the position in the slow part of the channels."""
    batch, channels, height, width = x.shape
    out = x.new_empty(batch, channels // 4, 2 * height, 2 * width)
    for part in range(4):
        of_part = x[:, part * channels // 4 : (part + 1) * channels // 4]
        out[:, :, part // 2 :: 2, part % 2 :: 2] = of_part
    return out


def expected(s: State, x: Tensor) -> tuple[Tensor, Tensor]:
    h = conv(s, "encoder.conv_in", x, padding=1)
    for i in range(len(WIDTHS)):
        for j in range(BLOCKS):
            h = res(s, f"encoder.down.{i}.block.{j}", h)
        if i < len(WIDTHS) - 1:
            h = conv(s, f"encoder.down.{i}.downsample", h, stride=2, padding=1)
    for j in range(BLOCKS):
        h = res(s, f"encoder.mid_block.{j}", h)
    z = conv(s, "encoder.conv_out", swish(norm(s, "encoder.norm_out", h)))
    signs = torch.where(z > 0, 1.0, -1.0)
    codes = sum((z[:, bit] > 0).long() * 2**bit for bit in range(BITS))
    h = conv(s, "decoder.conv_in", signs, padding=1)
    for j in range(BLOCKS):
        h = res(s, f"decoder.mid_block.{j}", h)
    for i in range(len(WIDTHS) - 1, -1, -1):
        name = f"decoder.adaptive.{i}"
        deviation = (signs.flatten(2).var(dim=2) + 1e-6).sqrt()
        scale = F.linear(deviation, s[f"{name}.gamma.weight"], s[f"{name}.gamma.bias"])
        mean = signs.flatten(2).mean(dim=2)
        shift = F.linear(mean, s[f"{name}.beta.weight"], s[f"{name}.beta.bias"])
        h = F.group_norm(h, 32, eps=1e-6) * scale[..., None, None] + shift[..., None, None]
        for j in range(BLOCKS):
            h = res(s, f"decoder.up.{i}.block.{j}", h)
        if i > 0:
            h = spread(conv(s, f"decoder.up.{i}.upsample.conv1", h, padding=1))
    shown = conv(s, "decoder.conv_out", swish(norm(s, "decoder.norm_out", h)), padding=1)
    assert isinstance(codes, Tensor)
    return codes, shown


@pytest.mark.parametrize("averages", [False, True])
def test_codes_and_pixels_are_those_of_open_magvit2(tmp_path: Path, averages: bool):
    state = made()
    held = {**(made(7) if averages else state), "loss.discriminator.main.0.weight": torch.ones(1)}
    if averages:
        held |= {f"model_ema.{name.replace('.', '')}": value for name, value in state.items()}
    torch.save({"state_dict": held}, tmp_path / "imagenet_256_L.ckpt")
    x = picture(32, 48)
    codes, shown = expected(state, x)
    agrees(tmp_path / "imagenet_256_L.ckpt", x, [codes], shown)
    assert foreign.recognise(tmp_path / "imagenet_256_L.ckpt").family == "Open-MAGVIT2"


def test_a_picture_of_one_code_is_still_numbers(tmp_path: Path):
    torch.save({"state_dict": made()}, tmp_path / "x.ckpt")
    ours: Any = foreign.open(tmp_path / "x.ckpt")
    x = picture(3, 2, batch=1)
    assert ours.decode(ours.encode(x)).isfinite().all()
