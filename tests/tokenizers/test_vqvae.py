"""Image tokenizers: any size, exact extent, and codes that depend on the image alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqtok import config
from vqtok.errors import ConfigError, UsageError
from vqtok.protocols import Config
from vqtok.tokenizers import vqvae
from vqtok.tokenizers.exact import tiling2d

SMALL = {
    "convnext": {"patch": 2, "widths": [8, 8], "encoder_blocks": [1, 1], "decoder_blocks": [1, 1]},
    "strided": {"widths": [8, 8], "encoder_blocks": [1], "decoder_blocks": [1], "hidden": 4},
}


def build(network: str, quantizer: str = "vq") -> vqvae.VQVAE:
    torch.manual_seed(0)
    quantizers = {
        "vq": {"type": "quantizers/vq", "codebook_size": 50},
        "rvq": {"type": "quantizers/rvq", "codebook_size": 20, "depth": 3},
        "fsq": {"type": "quantizers/fsq", "levels": [5, 4]},
    }
    data = {"type": "tokenizers/vqvae", "network": network, "kernel": 3, "latent": 4}
    data |= SMALL[network] | {"quantizer": quantizers[quantizer]}
    model: vqvae.VQVAE = config.parse(data, Config).build().eval()
    return model


def picture(height: int, width: int, *, seed: int = 0, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, height, width, generator=generator) * 2 - 1


@pytest.mark.parametrize("network", ["convnext", "strided"])
@pytest.mark.parametrize("quantizer", ["vq", "rvq", "fsq"])
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20))
def test_any_size_comes_back_at_its_own_size(
    network: str, quantizer: str, height: int, width: int
) -> None:
    model = build(network, quantizer)
    x = picture(height, width)
    codes = model.encode(x).check()
    y = model.decode(codes)
    assert y.shape == x.shape
    assert codes.extent == (height, width)
    assert y.abs().max() <= 1.0


@pytest.mark.parametrize("network", ["convnext", "strided"])
@pytest.mark.parametrize("quantizer", ["vq", "rvq"])
def test_tiles_give_the_codes_and_pixels_of_the_whole(
    network: str, quantizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(network, quantizer)
    x = picture(61, 90)
    whole = model.encode(x)
    pixels = model.decode(whole)
    monkeypatch.setattr(tiling2d, "TILE", 16)
    tiled = model.encode(x)
    assert torch.equal(whole.levels[0], tiled.levels[0])
    torch.testing.assert_close(model.decode(tiled), pixels, atol=1e-6, rtol=0)


def test_codes_do_not_depend_on_batch_mates() -> None:
    model = build("convnext")
    x = picture(33, 47, batch=4)
    together = model.encode(x).levels[0]
    alone = torch.cat([model.encode(item[None]).levels[0] for item in x])
    assert torch.equal(together, alone)


def test_codes_do_not_depend_on_the_number_of_threads() -> None:
    model = build("convnext")
    x = picture(96, 128)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(model.encode(x).levels[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])


def test_training_and_coding_are_the_same_arithmetic() -> None:
    model = build("convnext")
    x = picture(24, 36)
    result = model(x)
    codes = model.encode(x)
    assert torch.equal(result.codes.levels[0], codes.levels[0])
    torch.testing.assert_close(result.x.clamp(-1, 1), model.decode(codes), atol=1e-6, rtol=0)


def test_gradients_reach_the_first_and_last_layers() -> None:
    model = build("convnext").train()
    result = model(picture(16, 16, batch=2))
    (result.x.square().mean() + result.loss).backward()
    for part in (model.encoder, model.decoder):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


def test_what_is_not_a_batch_of_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\(B, 3, H, W\) expected"):
        build("convnext").encode(torch.zeros(3, 8, 8))


def test_a_config_that_does_not_hold_together_is_refused() -> None:
    data = {"type": "tokenizers/vqvae", "widths": [8], "quantizer": {"type": "quantizers/fsq"}}
    with pytest.raises(ConfigError, match="need 1 numbers"):
        config.parse(data, Config)
