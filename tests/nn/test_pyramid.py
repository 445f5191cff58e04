"""Networks of images keep to the receptive field that they state: tiling rests on it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vqtok.nn.convnext import Block, ChannelNorm
from vqtok.nn.pyramid import Decoder, Encoder, Sizes, StridedDecoder, StridedEncoder

SIZES = Sizes((8, 8), 4, patch=2, kernel=3, hidden=4)
STRIDE = 4


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "encoder": Encoder(3, SIZES, blocks=(1, 1)),
        "decoder": Decoder(3, SIZES, blocks=(1, 1)),
        "strided encoder": StridedEncoder(3, SIZES, blocks=1),
        "strided decoder": StridedDecoder(3, SIZES, blocks=1),
    }


@pytest.mark.parametrize("name", list(networks()))
def test_nothing_beyond_the_stated_receptive_field_changes_an_output(name: str) -> None:
    network = networks()[name].eval()
    encoding = "encoder" in name
    side = 32 * STRIDE if encoding else 32
    x = torch.randn(1, 3 if encoding else 4, side, side)
    changed = x.clone()
    changed[..., : side // 2] += 1.0
    with torch.no_grad():
        moved = (network(x) - network(changed)).abs().amax((0, 1, 2)) > 0  # by column
    edge = moved.shape[0] // 2
    seen = network.receptive_field
    beyond = -(-seen // STRIDE) if encoding else seen
    assert moved[:edge].any()
    assert not moved[edge + beyond :].any()


@pytest.mark.parametrize("name", list(networks()))
def test_shapes_follow_the_stride(name: str) -> None:
    network = networks()[name]
    if "encoder" in name:
        assert network(torch.zeros(2, 3, 12, 20)).shape == (2, 4, 3, 5)
    else:
        assert network(torch.zeros(2, 4, 3, 5)).shape == (2, 3, 12, 20)


def test_a_causal_block_looks_back_only() -> None:
    block = Block(4, kernel=(1, 5), causal=True)
    x = torch.randn(1, 4, 1, 20, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[..., 10:] += 1.0
    with torch.no_grad():
        same = (block(x) == block(changed)).all(0)[:, 0].all(0)
    assert same[:10].all()
    assert not same[10:].any()


def test_channel_norm_is_layer_norm_at_each_position() -> None:
    norm = ChannelNorm(6)
    x = torch.randn(2, 6, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.stack(
        [
            (p - p.mean()) / (p.var(correction=0) + 1e-5).sqrt()
            for p in x.movedim(1, 3).reshape(-1, 6)
        ]
    )
    got = norm(x).movedim(1, 3).reshape(-1, 6)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
