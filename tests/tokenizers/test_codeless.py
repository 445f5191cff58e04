"""Tokenizers over continuous quantizers: they reconstruct, train and refuse to make codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.tokenizers.test_vqvae import SMALL, picture
from vqtok import config
from vqtok.codes.container import Codes
from vqtok.errors import UsageError
from vqtok.protocols import Config
from vqtok.tokenizers import vqvae
from vqtok.tokenizers.exact import tiling2d

METHODS = ["identity", "gaussian"]


def image_model(name: str, network: str = "convnext", **more: Any) -> vqvae.VQVAE:
    torch.manual_seed(0)
    data = {"type": "tokenizers/vqvae", "network": network, "kernel": 3, "latent": 4}
    data |= SMALL[network] | {"quantizer": {"type": f"quantizers/{name}"}} | more
    model: vqvae.VQVAE = config.parse(data, Config).build().eval()
    return model


def audio_model(name: str) -> Any:
    torch.manual_seed(0)
    data = {"type": "tokenizers/codec", "rate": 800, "frame": 16, "hop": 8, "width": 8, "latent": 4}
    return config.parse(data | {"quantizer": {"type": f"quantizers/{name}"}}, Config).build().eval()


def passed(model: Any, x: Tensor) -> Tensor:
    """x through ``latents``, the quantizer and ``render``."""
    with torch.inference_mode():
        y: Tensor = model.render(model.quantizer(model.latents(x)).z_q, tuple(x.shape[2:]))
    return y


@pytest.mark.parametrize("network", ["convnext", "strided"])
@pytest.mark.parametrize("name", [*METHODS, "vq"])
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), batch=st.integers(1, 3))
def test_any_size_passes_as_in_a_forward_call(
    name: str, network: str, height: int, width: int, batch: int
) -> None:
    model = image_model(name, network)
    x = picture(height, width, batch=batch)
    result = model(x)
    assert result.x.shape == x.shape
    torch.testing.assert_close(passed(model, x), result.x.detach().clamp(-1, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("network", ["convnext", "strided"])
def test_large_images_pass_in_tiles_as_if_whole(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = image_model("gaussian", network)
    x = picture(61, 90, batch=2)
    whole = passed(model, x)
    monkeypatch.setattr(tiling2d, "TILE", 16)
    seen: list[tuple[int, ...]] = []
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    torch.testing.assert_close(passed(model, x), whole, atol=1e-6, rtol=0)
    assert sum(each[0] for each in seen) > 40  # otherwise nothing was cut


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("length", [1, 8, 101])
def test_audio_passes_as_in_a_forward_call(name: str, length: int) -> None:
    model = audio_model(name)
    x = torch.rand(2, 1, length, generator=torch.Generator().manual_seed(1)) - 0.5
    result = model(x)
    assert result.x.shape == x.shape
    assert model.latents(x).shape == (2, 4, -(-length // 8))
    torch.testing.assert_close(passed(model, x), result.x.detach().clamp(-1, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("make", [image_model, audio_model])
def test_there_are_no_levels_and_training_reaches_everything(
    name: str, make: Callable[[str], Any]
) -> None:
    model = make(name).train()
    x = picture(16, 24, batch=2) if model.spec.modality == "image" else torch.rand(2, 1, 64) - 0.5
    result = model(x)
    assert model.spec.levels == result.codes.spec.levels == result.codes.levels == ()
    assert result.codes.extent == tuple(x.shape[2:])
    assert set(result.terms) == ({"kl"} if name == "gaussian" else set())
    (result.x.square().mean() + result.loss).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_every_way_to_codes_is_refused_with_the_models_name(name: str) -> None:
    image, audio = image_model(name), audio_model(name)
    image.name = audio.name = "mine"
    x, sound = picture(8, 8), torch.zeros(1, 1, 64)
    grid = torch.zeros(1, 1, 1, dtype=torch.int64)
    ways: list[Callable[[], object]] = [
        lambda: image.encode(x),
        lambda: image.encode_many([x[0]]),
        lambda: image.encode_windows((8, 8), lambda rows, columns: x[0, :, rows, columns]),
        lambda: image.decode(Codes(image.spec, (grid,), (8, 8))),
        lambda: list(image.decode_tiles(Codes(image.spec, (grid,), (8, 8)))),
        lambda: audio.encode(sound),
        lambda: audio.encode_many([sound[0]]),
        lambda: list(audio.encode_stream([sound])),
        lambda: audio.decode(Codes(audio.spec, (grid[0],), (64,))),
        lambda: list(audio.decode_stream([grid[0]])),
    ]
    for way in ways:
        with pytest.raises(UsageError, match=r"^mine: an autoencoder without codes") as told:
            way()
        assert "quantizers/vq" in (told.value.hint or "")
