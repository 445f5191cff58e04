"""Groups of channels that are quantized by themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from vqtok import config
from vqtok.errors import ConfigError
from vqtok.protocols import Config
from vqtok.quantizers import fsq, grouped, gumbel, lfq, rvq, vq

RVQ = rvq.Config(codebook_size=16, depth=3, warmup=0, samples=4)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ready(inner: Any, *, groups: int, dim: int) -> grouped.Grouped:
    torch.manual_seed(0)
    quantizer: grouped.Grouped = grouped.Config(inner, groups).build(dim=dim)
    quantizer.generator = torch.Generator().manual_seed(1)
    for step in range(3):
        quantizer(gaussian(4, dim, 40, seed=100 + step))
    return quantizer


@pytest.mark.parametrize("inner", [RVQ, vq.Config(16, warmup=0), fsq.Config((4, 5)), lfq.Config(3)])
def test_each_group_is_quantized_as_if_alone(inner: Any) -> None:
    quantizer = ready(inner, groups=3, dim=12).eval()
    z = gaussian(2, 12, 5, 4)
    out = quantizer(z)
    alone = [part(cut) for part, cut in zip(quantizer.parts, z.chunk(3, dim=1), strict=True)]
    assert torch.equal(out.z_q, torch.cat([each.z_q for each in alone], dim=1))
    torch.testing.assert_close(out.loss, sum(each.loss for each in alone) / 3)
    for index, each in enumerate(alone):
        single = quantizer.parts[index].depth is None
        mine = each.codes[:, None] if single else each.codes
        assert torch.equal(out.codes[:, index::3], mine)


def test_the_first_codes_are_the_first_stages_of_all_groups() -> None:
    quantizer = ready(RVQ, groups=2, dim=8).eval()
    assert quantizer.depth == 6
    z = gaussian(2, 8, 30)
    codes = quantizer(z).codes
    decoded = quantizer.decode(codes[:, :4])
    cuts = [part(cut).codes for part, cut in zip(quantizer.parts, z.chunk(2, dim=1), strict=True)]
    parts = [part.decode(cut[:, :2]) for part, cut in zip(quantizer.parts, cuts, strict=True)]
    assert torch.equal(decoded, torch.cat(parts, dim=1))


def test_groups_without_a_code_are_zeros() -> None:
    quantizer = ready(vq.Config(16, warmup=0), groups=4, dim=8).eval()
    codes = quantizer(gaussian(2, 8, 30)).codes
    decoded, whole = quantizer.decode(codes[:, :3]), quantizer.decode(codes)
    assert torch.equal(decoded[:, :6], whole[:, :6])
    assert torch.equal(decoded[:, 6:], torch.zeros(2, 2, 30))


def test_more_codes_come_nearer() -> None:
    quantizer = ready(RVQ, groups=2, dim=8).eval()
    z = gaussian(2, 8, 30)
    codes = quantizer(z).codes
    errors = [float((quantizer.decode(codes[:, :n]) - z).square().mean()) for n in range(1, 7)]
    assert errors == sorted(errors, reverse=True)


def test_groups_draw_from_the_one_generator() -> None:
    one, other = (ready(gumbel.Config(16), groups=2, dim=8) for _ in range(2))
    assert one.generator is one.parts[0].generator is one.parts[1].generator
    torch.manual_seed(5)  # the global generator does not matter
    z = gaussian(2, 8, 30)
    assert torch.equal(one(z).z_q, other(z).z_q)
    assert not torch.equal(one(z).z_q, other(z).z_q[:, [4, 5, 6, 7, 0, 1, 2, 3]])


def test_a_config_names_the_groups_quantizer() -> None:
    data = {"type": "quantizers/grouped", "quantizer": {"type": "quantizers/fsq", "levels": [4, 5]}}
    made = config.parse(data, Config)
    assert made == grouped.Config(fsq.Config((4, 5)))
    assert config.parse(json.loads(json.dumps(config.dump(made))), Config) == made


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        ({"type": "tokenizers/vqvae"}, "does not fit here"),
        (
            {"type": "quantizers/grouped", "quantizer": {"type": "quantizers/fsq"}},
            "has groups itself",
        ),
    ],
)
def test_only_a_plain_quantizer_is_grouped(quantizer: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.parse({"type": "quantizers/grouped", "quantizer": quantizer}, Config)


def test_channels_must_divide_into_groups() -> None:
    with pytest.raises(ConfigError, match="3 does not divide 8"):
        grouped.Config(fsq.Config(), 3).build(dim=8)
    with pytest.raises(ConfigError, match="groups: 0"):
        config.parse({"groups": 0, "quantizer": {"type": "quantizers/fsq"}}, grouped.Config)
