"""VAR's tokenizer against a second statement of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.checkpoints.foreign.conftest import agrees, picture
from tests.checkpoints.foreign.published import (
    Maker,
    State,
    attn,
    closest,
    conv,
    doubled,
    halved,
    norm,
    res,
    swish,
)
from vqtok.checkpoints import foreign

WIDTHS, BLOCKS, DIM, SIZE = (32, 64), 1, 6, 60
SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
SHARED = (0, 0, 1, 1, 1, 2, 2, 3, 3, 3)
"""Which of the four convolutions each scale has: the nearest of four ticks from 1/12 to 11/12. In
float64 the third and the eighth scale, which lie between two, have these."""


def attention(m: Maker, name: str, width: int) -> None:
    m.norm(f"{name}.norm", width)
    m.conv(f"{name}.qkv", width, 3 * width, 1)
    m.conv(f"{name}.proj_out", width, width, 1)


def made() -> State:
    m = Maker()
    last = len(WIDTHS) - 1
    m.conv("encoder.conv_in", 3, WIDTHS[0], 3)
    m.conv("decoder.conv_in", DIM, WIDTHS[-1], 3)
    for i, width in enumerate(WIDTHS):
        below, above = WIDTHS[max(i - 1, 0)], WIDTHS[min(i + 1, last)]
        for j in range(BLOCKS):
            m.res(f"encoder.down.{i}.block.{j}", width if j else below, width)
            if i == last:
                attention(m, f"encoder.down.{i}.attn.{j}", width)
        for j in range(BLOCKS + 1):
            m.res(f"decoder.up.{i}.block.{j}", width if j else above, width)
            if i == last:
                attention(m, f"decoder.up.{i}.attn.{j}", width)
        if i < last:
            m.conv(f"encoder.down.{i}.downsample.conv", width, width, 3)
        if i > 0:
            m.conv(f"decoder.up.{i}.upsample.conv", width, width, 3)
    for side, width, out in (("encoder", WIDTHS[-1], DIM), ("decoder", WIDTHS[0], 3)):
        m.res(f"{side}.mid.block_1", WIDTHS[-1], WIDTHS[-1])
        attention(m, f"{side}.mid.attn_1", WIDTHS[-1])
        m.res(f"{side}.mid.block_2", WIDTHS[-1], WIDTHS[-1])
        m.norm(f"{side}.norm_out", width)
        m.conv(f"{side}.conv_out", width, out, 3)
    m.conv("quant_conv", DIM, DIM, 3)
    m.conv("post_quant_conv", DIM, DIM, 3)
    m.state["quantize.embedding.weight"] = m.random(SIZE, DIM) * 0.3
    m.state["quantize.ema_vocab_hit_SV"] = torch.zeros(len(SCALES), SIZE)
    for k in range(4):
        m.conv(f"quantize.quant_resi.qresi_ls.{k}", DIM, DIM, 3)
    return m.state


def middle(s: State, side: str, h: Tensor) -> Tensor:
    h = attn(s, f"{side}.mid.attn_1", res(s, f"{side}.mid.block_1", h))
    return res(s, f"{side}.mid.block_2", h)


def level(s: State, name: str, h: Tensor, blocks: int) -> Tensor:
    for j in range(blocks):
        h = res(s, f"{name}.block.{j}", h)
        if f"{name}.attn.{j}.qkv.weight" in s:
            h = attn(s, f"{name}.attn.{j}", h)
    return h


def part(s: State, index: int, codes: Tensor) -> Tensor:
    entries = s["quantize.embedding.weight"][codes].movedim(-1, 1)
    if codes.shape[-1] != 16:
        entries = F.interpolate(entries, size=(16, 16), mode="bicubic")
    tick = SHARED[index]
    return 0.5 * entries + 0.5 * conv(s, f"quantize.quant_resi.qresi_ls.{tick}", entries, padding=1)


def expected(s: State, x: Tensor) -> tuple[list[Tensor], Tensor]:
    h = conv(s, "encoder.conv_in", x, padding=1)
    for i in range(len(WIDTHS)):
        h = level(s, f"encoder.down.{i}", h, BLOCKS)
        if i < len(WIDTHS) - 1:
            h = halved(s, f"encoder.down.{i}.downsample.conv", h)
    h = swish(norm(s, "encoder.norm_out", middle(s, "encoder", h)))
    f = conv(s, "quant_conv", conv(s, "encoder.conv_out", h, padding=1), padding=1)
    rest, total, codes = f.clone(), torch.zeros_like(f), []
    for index, side in enumerate(SCALES):
        shrunk = F.adaptive_avg_pool2d(rest, side)
        codes.append(closest(shrunk, s["quantize.embedding.weight"]))
        rest = rest - part(s, index, codes[-1])
        total = total + part(s, index, codes[-1])
    h = middle(
        s,
        "decoder",
        conv(s, "decoder.conv_in", conv(s, "post_quant_conv", total, padding=1), padding=1),
    )
    for i in range(len(WIDTHS) - 1, -1, -1):
        h = level(s, f"decoder.up.{i}", h, BLOCKS + 1)
        if i > 0:
            h = doubled(s, f"decoder.up.{i}.upsample.conv", h)
    shown = conv(s, "decoder.conv_out", swish(norm(s, "decoder.norm_out", h)), padding=1)
    return codes, shown


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(made(), tmp_path / "vae_ch160v4096z32.pth")
    return tmp_path / "vae_ch160v4096z32.pth"


def test_codes_of_all_scales_and_pixels_are_those_of_var(path: Path):
    x = picture(32, 32)
    codes, shown = expected(made(), x)
    ours: Any = agrees(path, x, codes, shown, fewest=1)
    assert [each.depth for each in ours.spec.levels] == [side * side for side in SCALES]
    assert foreign.recognise(path).family == "VAR"


def test_pictures_of_other_sizes_are_brought_to_the_one_and_back(path: Path):
    ours: Any = foreign.open(path)
    x = picture(45, 29, batch=1)
    codes = ours.encode(x).check()
    fitted = F.interpolate(x, size=(32, 32), mode="bicubic", antialias=True)
    for mine, theirs in zip(codes.levels, expected(made(), fitted)[0], strict=True):
        assert torch.equal(mine, theirs.flatten(1))
    assert ours.decode(codes).shape == x.shape
