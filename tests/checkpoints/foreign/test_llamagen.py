"""LlamaGen's tokenizers against a second statement of them."""

from __future__ import annotations

import argparse
from pathlib import Path

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

WIDTHS = (32, 32, 64)
BLOCKS = 2


def made(seed: int = 0) -> State:
    m = Maker(seed)
    m.conv("encoder.conv_in", 3, 32, 3)
    inside = 32
    for i, width in enumerate(WIDTHS):
        for j in range(BLOCKS):
            m.res(f"encoder.conv_blocks.{i}.res.{j}", inside, width)
            inside = width
            if i == len(WIDTHS) - 1:
                m.attn(f"encoder.conv_blocks.{i}.attn.{j}", width)
        if i < len(WIDTHS) - 1:
            m.conv(f"encoder.conv_blocks.{i}.downsample.conv", width, width, 3)
    for side in ("encoder", "decoder"):
        m.res(f"{side}.mid.0", inside, inside)
        m.attn(f"{side}.mid.1", inside)
        m.res(f"{side}.mid.2", inside, inside)
    m.norm("encoder.norm_out", inside)
    m.conv("encoder.conv_out", inside, 16, 3)
    m.conv("quant_conv", 16, 4, 1)
    m.state["quantize.embedding.weight"] = m.random(50, 4)
    m.state["quantize.codebook_used"] = torch.zeros(65536)
    m.conv("post_quant_conv", 4, 16, 1)
    m.conv("decoder.conv_in", 16, inside, 3)
    for i, width in enumerate(reversed(WIDTHS)):
        for j in range(BLOCKS + 1):
            m.res(f"decoder.conv_blocks.{i}.res.{j}", inside, width)
            inside = width
            if i == 0:
                m.attn(f"decoder.conv_blocks.{i}.attn.{j}", width)
        if i < len(WIDTHS) - 1:
            m.conv(f"decoder.conv_blocks.{i}.upsample.conv", width, width, 3)
    m.norm("decoder.norm_out", inside)
    m.conv("decoder.conv_out", inside, 3, 3)
    return m.state


def levels(s: State, side: str, h: Tensor, *, blocks: int, attends: int) -> Tensor:
    for i in range(len(WIDTHS)):
        for j in range(blocks):
            h = res(s, f"{side}.conv_blocks.{i}.res.{j}", h)
            if i == attends:
                h = attn(s, f"{side}.conv_blocks.{i}.attn.{j}", h)
        if i < len(WIDTHS) - 1:
            step = (halved, "downsample") if side == "encoder" else (doubled, "upsample")
            h = step[0](s, f"{side}.conv_blocks.{i}.{step[1]}.conv", h)
    return h


def middle(s: State, side: str, h: Tensor) -> Tensor:
    return res(s, f"{side}.mid.2", attn(s, f"{side}.mid.1", res(s, f"{side}.mid.0", h)))


def expected(s: State, x: Tensor) -> tuple[Tensor, Tensor]:
    h = conv(s, "encoder.conv_in", x, padding=1)
    h = middle(s, "encoder", levels(s, "encoder", h, blocks=BLOCKS, attends=len(WIDTHS) - 1))
    z = conv(s, "encoder.conv_out", swish(norm(s, "encoder.norm_out", h)), padding=1)
    z = F.normalize(conv(s, "quant_conv", z), dim=1)
    table = F.normalize(s["quantize.embedding.weight"], dim=1)
    codes = closest(z, table)
    h = conv(s, "post_quant_conv", table[codes].movedim(-1, 1))
    h = middle(s, "decoder", conv(s, "decoder.conv_in", h, padding=1))
    h = levels(s, "decoder", h, blocks=BLOCKS + 1, attends=0)
    return codes, conv(s, "decoder.conv_out", swish(norm(s, "decoder.norm_out", h)), padding=1)


@pytest.mark.parametrize("key", ["model", "ema"])
def test_codes_and_pixels_are_those_of_llamagen(tmp_path: Path, key: str):
    state = made()
    held = {"model": made(1), "args": argparse.Namespace(codebook_size=50), key: state}
    torch.save(held, tmp_path / "vq_ds16_c2i.pt")
    x = picture(32, 40)
    codes, shown = expected(state, x)
    agrees(tmp_path / "vq_ds16_c2i.pt", x, [codes], shown)
    assert foreign.recognise(tmp_path / "vq_ds16_c2i.pt").family == "LlamaGen VQ-8, VQ-16"
