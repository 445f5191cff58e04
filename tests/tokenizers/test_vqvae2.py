"""Tokenizers of several levels: any size, exact extent, every level conditioned on the last."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.tokenizers.test_vqvae import picture
from vqtok import config
from vqtok.codes import rates
from vqtok.codes.container import Codes
from vqtok.errors import ConfigError, UsageError
from vqtok.protocols import Config
from vqtok.tokenizers import vqvae2

QUANTIZERS: dict[str, dict[str, Any]] = {
    "vq": {"type": "quantizers/vq", "codebook_size": 50},
    "rvq": {"type": "quantizers/rvq", "codebook_size": 20, "depth": 3},
    "fsq": {"type": "quantizers/fsq", "levels": [5, 4]},
}

FORMS = [("convnext", 2), ("convnext", 3), ("strided", 2), ("strided", 3)]


def data(network: str, levels: int = 2, quantizer: str = "vq", **more: Any) -> dict[str, Any]:
    blocks = [1] * levels
    return {
        "type": "tokenizers/vqvae2",
        "network": network,
        "patch": 2 if network == "convnext" else 4,
        "widths": [8, 10, 6][:levels],
        "encoder_blocks": blocks,
        "decoder_blocks": blocks,
        "kernel": 3,
        "hidden": 4,
        "latent": 4,
        "quantizer": QUANTIZERS[quantizer],
    } | more


def build(network: str, levels: int = 2, quantizer: str = "vq", **more: Any) -> vqvae2.VQVAE2:
    parsed = config.parse(data(network, levels, quantizer, **more), Config)
    torch.manual_seed(0)
    weights = spread(parsed.build().eval()).state_dict()
    model: vqvae2.VQVAE2 = parsed.build().eval()  # one that has not coded anything yet
    model.load_state_dict(weights)
    return model


built = cache(build)


def spread(model: vqvae2.VQVAE2) -> vqvae2.VQVAE2:
    """Untrained latents all lie in one corner of the codebook: pull them apart, level by level."""
    x = picture(64, 64, seed=9, batch=2)
    for level, head in enumerate(model.encoder.heads):
        *_, last = (each for each in head.modules() if hasattr(each, "weight"))
        z = model.latents(x)[level]
        mean, scale = z.mean(dim=(0, 2, 3)), z.std(dim=(0, 2, 3))
        with torch.no_grad():
            last.bias.sub_(mean).div_(scale)
            last.weight.div_(scale.reshape(-1, *[1] * (last.weight.ndim - 1)))
    return model


def same(one: Codes, other: Codes) -> bool:
    return len(one.levels) == len(other.levels) and all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b))
        for a, b in zip(one.levels, other.levels, strict=True)
    )


@pytest.mark.parametrize(("network", "levels"), FORMS)
@pytest.mark.parametrize("quantizer", QUANTIZERS)
@examples(4, many=8, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_size_comes_back_at_its_own_size(
    network: str, levels: int, quantizer: str, height: int, width: int
) -> None:
    model = built(network, levels, quantizer)
    x = picture(height, width)
    codes = model.encode(x).check()
    y = model.decode(codes)
    assert y.shape == x.shape
    assert codes.extent == (height, width)
    assert y.abs().max() <= 1.0
    torch.testing.assert_close(y, model(x).x.clamp(-1, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("network", "levels"), FORMS)
def test_training_and_coding_are_the_same_arithmetic(network: str, levels: int) -> None:
    model = build(network, levels)
    x = picture(37, 58, batch=2)
    assert same(model(x).codes, model.encode(x))


def test_levels_are_named_from_coarse_to_fine_with_their_strides() -> None:
    two, three = build("strided", 2).spec, build("convnext", 3).spec
    assert [(each.name, each.stride) for each in two.levels] == [
        ("top", (8, 8)),
        ("bottom", (4, 4)),
    ]
    assert [(each.name, each.stride) for each in three.levels] == [
        ("top", (8, 8)),
        ("middle", (4, 4)),
        ("bottom", (2, 2)),
    ]


@pytest.mark.parametrize(("network", "levels"), FORMS)
def test_every_level_is_told_the_codes_of_those_before(network: str, levels: int) -> None:
    model = build(network, levels)
    x = picture(48, 48)
    latents = model.latents(x)
    for changed in range(levels - 1):
        quantizer = model.quantizer[changed]
        decode = quantizer.decode
        quantizer.decode = lambda codes, decode=decode: -decode(codes)
        others = model.latents(x)
        del quantizer.decode
        moved = [not torch.equal(a, b) for a, b in zip(latents, others, strict=True)]
        assert moved == [level > changed for level in range(levels)]


@pytest.mark.parametrize(("network", "levels"), FORMS)
def test_the_decoder_reads_every_level(network: str, levels: int) -> None:
    model = build(network, levels)
    codes = model.encode(picture(48, 48))
    y = model.decode(codes)
    for level in range(levels):
        others = [each.clone() for each in codes.levels]
        others[level][0, 1, 1] = (others[level][0, 1, 1] + 7) % 50
        other = model.decode(Codes(codes.spec, tuple(others), codes.extent))
        stride = codes.spec.levels[level].stride[0]
        there = (other - y).abs().amax(dim=(0, 1)) > 1e-6
        assert there[stride : 2 * stride, stride : 2 * stride].any()


@pytest.mark.parametrize(("network", "levels"), FORMS)
def test_training_reaches_everything(network: str, levels: int) -> None:
    model = build(network, levels).train()
    result = model(picture(32, 48, batch=2))
    (result.x.square().mean() + result.loss).backward()
    silent = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert silent == []


def test_the_loss_is_the_sum_over_levels_and_names_them() -> None:
    model = build("convnext", 3)
    result = model(picture(32, 32))
    assert set(result.terms) == {f"commitment_{name}" for name in ("top", "middle", "bottom")}
    torch.testing.assert_close(torch.stack([*result.terms.values()]).sum(), result.loss)
    z = model.latents(picture(32, 32))
    for name, quantizer, latents in zip(
        ("top", "middle", "bottom"), model.quantizer, z, strict=True
    ):
        torch.testing.assert_close(result.terms[f"commitment_{name}"], quantizer(latents).loss)


def test_a_level_may_have_a_quantizer_of_its_own() -> None:
    model = build("convnext", 3, quantizers={"middle": QUANTIZERS["rvq"]})
    assert [level.codebook_size for level in model.spec.levels] == [50, 20, 50]
    x = picture(20, 33)
    codes = model.encode(x).check()
    assert [tuple(each.shape) for each in codes.levels] == [(1, 3, 5), (1, 3, 5, 9), (1, 10, 17)]
    assert same(model(x).codes, codes)
    read = config.parse(config.dump(model.config), Config)
    assert read == model.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": [8]}, "1 levels"),
        ({"widths": [8, 8, 8, 8]}, "4 levels"),
        ({"encoder_blocks": [1]}, "need 2 numbers"),
        ({"network": "strided", "patch": 3}, "power of 2"),
        ({"kernel": 4}, "odd"),
        ({"quantizers": {"middle": QUANTIZERS["vq"]}}, "top, bottom"),
        ({"quantizers": {"top": {"type": "tokenizers/codec"}}}, "top"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"quantizer": {"type": "quantizers/identity"}}, "continuous"),
        ({"quantizers": {"top": {"type": "quantizers/gaussian"}}}, "continuous"),
        ({"quantizers": {"top": QUANTIZERS["rvq"] | {"dropout": 0.5}}}, "all stages"),
    ],
)
def test_configs_that_do_not_hold_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config.parse(data("convnext") | changes, Config).build()


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    model = build("convnext")
    for way in (model.encode, model.latents):
        with pytest.raises(UsageError, match=r"\(B, 3, H, W\) expected"):
            way(torch.zeros(shape))


@pytest.mark.parametrize(("network", "levels"), FORMS)
@pytest.mark.parametrize("output", ["plain", "logits", "logit-laplace"])
def test_latents_that_are_quantized_and_rendered_are_the_reconstruction(
    network: str, levels: int, output: str
) -> None:
    model = build(network, levels, output=output)
    x = picture(45, 30, batch=2)
    result = model(x)
    z_qs = [q(z).z_q for q, z in zip(model.quantizer, model.latents(x), strict=True)]
    y = model.render(z_qs, (45, 30))
    torch.testing.assert_close(y, result.x.clamp(-1, 1).detach(), atol=1e-5, rtol=0)
    assert (result.raw is None) == (output == "plain")


def test_the_papers_grids_and_size() -> None:
    model = config.parse(
        {
            "type": "tokenizers/vqvae2",
            "network": "strided",
            "widths": [128, 128],
            "encoder_blocks": [2, 2],
            "condition_blocks": 2,
            "decoder_blocks": [2, 0],
            "hidden": 32,
            "latent": 64,
            "quantizer": {"type": "quantizers/vq", "codebook_size": 512},
        },
        Config,
    ).build()
    # Section 3.1: 256x256 pixels become 32x32 and 64x64 codes.
    assert model.spec.shapes((256, 256)) == ((32, 32), (64, 64))
    assert rates.nominal(model.spec) == pytest.approx(9 / 64 + 9 / 16)

    def conv(inputs: int, outputs: int, side: int) -> int:
        return inputs * outputs * side**2 + outputs

    residual = 2 * (conv(128, 32, 3) + conv(32, 128, 1))
    expected = (
        conv(3, 64, 4) + conv(64, 128, 4) + conv(128, 128, 3) + residual  # pixels → bottom
        + conv(128, 64, 4) + conv(64, 128, 3) + residual  # bottom → top
        + conv(128, 64, 1) + conv(128 + 64, 64, 1)  # to latents
        + conv(64, 128, 3) + residual + conv(128, 64, 4)  # what the bottom is told
        + conv(64, 64, 4)  # the top in the decoder
        + conv(64 + 64, 128, 3) + residual + conv(128, 64, 4) + conv(64, 3, 4)
    )  # fmt: skip
    assert sum(p.numel() for p in model.parameters()) == expected
