"""Published audio codecs behind our contract: lengths, tiles, batch-mates, depth, disk."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.published import TINY, sound, tiny
from vqtok.checkpoints import directory
from vqtok.errors import UsageError
from vqtok.tokenizers.published import dac, encodec

EXACT = ("dac", "encodec")

names = pytest.mark.parametrize("name", sorted(TINY))


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: tiny(name) for name in TINY}


@names
@settings(max_examples=12, deadline=None)
@given(length=st.integers(1, 100))
def test_every_length_comes_back_to_the_sample(models: dict[str, Any], name: str, length: int):
    model = models[name]
    codes = model.encode(sound(length)).check()
    assert codes.levels[0].shape[-1] == -(-length // model.network.hop)
    assert model.decode(codes).shape == (1, 1, length)


@names
def test_codes_vary(models: dict[str, Any], name: str):
    codes = models[name].encode(sound(900)).levels[0]
    assert all(len(stage.unique()) > 3 for stage in codes[0])


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 599), max_size=5))
def test_blocks_of_any_lengths_give_the_codes_of_the_whole(
    models: dict[str, Any], name: str, cuts: list[int]
):
    model, x = models[name], sound(600)
    edges = [0, *sorted(cuts), 600]
    blocks = [x[..., a:b] for a, b in itertools.pairwise(edges)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.network, "tile", 20)
        streamed = torch.cat(list(model.encode_stream(blocks)), dim=-1)
        assert torch.equal(streamed, model.encode(x).levels[0])


@pytest.mark.parametrize("tile", [9, 20, 61])
@pytest.mark.parametrize("name", EXACT)
def test_tiles_give_the_codes_and_samples_of_one_pass(
    models: dict[str, Any], name: str, tile: int, monkeypatch: pytest.MonkeyPatch
):
    model, x = models[name], sound(1003, batch=2)
    whole, z = model.encode(x), model.latents(x)
    samples = model.decode(whole)
    monkeypatch.setattr(model.network, "tile", tile)
    torch.testing.assert_close(model.latents(x), z, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.decode(whole), samples, atol=1e-6, rtol=1e-5)
    assert torch.equal(model.encode(x).levels[0], whole.levels[0])


@pytest.mark.parametrize("name", EXACT)
def test_less_context_than_the_networks_reach_would_show(
    models: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
):
    model, x = models[name], sound(1003)
    whole = model.latents(x)
    monkeypatch.setattr(model.network, "tile", 20)
    monkeypatch.setattr(model.network, "encoder_receptive_field", (0, 0))
    assert not torch.allclose(model.latents(x), whole, atol=1e-4)


@names
def test_codes_do_not_depend_on_batch_mates(models: dict[str, Any], name: str):
    model, x = models[name], sound(200, batch=3)
    alone = torch.cat([model.encode(item[None]).levels[0] for item in x])
    assert torch.equal(model.encode(x).levels[0], alone)
    many = model.encode_many([item[:, : 50 * (i + 1)] for i, item in enumerate(x)])
    assert torch.equal(many[1].levels[0], model.encode(x[1:2, :, :100]).levels[0])


@names
def test_fewer_stages_decode_to_the_same_length_and_to_another_sound(
    models: dict[str, Any], name: str
):
    model = models[name]
    codes = model.encode(sound(77))
    heard = [model.decode(codes.truncate(depth)) for depth in range(1, model.spec.depth + 1)]
    assert {each.shape for each in heard} == {(1, 1, 77)}
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(heard))


@names
def test_training_and_coding_are_the_same_arithmetic(models: dict[str, Any], name: str):
    model, x = models[name], sound(100)
    result, codes = model(x), model.encode(x)
    assert torch.equal(result.codes.levels[0], codes.levels[0])
    # z + (z_q - z) is z_q only up to rounding.
    torch.testing.assert_close(result.x, model.decode(codes), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        model.render(model.network.unquantize(codes.levels[0]), (100,)), model.decode(codes)
    )


@names
def test_gradients_reach_the_encoder_through_the_codes(name: str):
    model = tiny(name).requires_grad_(True)
    result = model(sound(100))
    (result.x.square().mean() + result.loss).backward()
    assert all(p.grad is not None for p in model.network.encoder.parameters())


@names
def test_a_model_directory_holds_all_of_it(models: dict[str, Any], name: str, tmp_path: Path):
    before, x = models[name], sound(333)
    before.encode(x)  # whatever it caches must not survive the loading
    directory.save(tmp_path / "m", before)
    after = directory.load(tmp_path / "m")
    codes = before.encode(x)
    assert torch.equal(after.encode(x).levels[0], codes.levels[0])
    assert torch.equal(after.decode(codes), before.decode(codes))


def test_weights_that_replace_used_ones_replace_the_codebooks_too(models: dict[str, Any]):
    used, x = tiny("mimi"), sound(200)
    used.encode(x)
    state = {k: v + 0.1 for k, v in used.state_dict().items()}
    fresh = TINY["mimi"]().eval()
    for model in (used, fresh):
        model.load_state_dict(state)
    assert torch.equal(used.encode(x).levels[0], fresh.encode(x).levels[0])


def test_only_local_or_carried_networks_are_called_exact(models: dict[str, Any]):
    assert {name for name, model in models.items() if model.exact} == set(EXACT)


def test_the_delay_of_odd_strides_is_eight_samples_in_dac_24k():
    small = {"encoder_hidden_size": 2, "decoder_hidden_size": 16, "codebook_size": 4}
    model = dac.Config(downsampling_ratios=(2, 4, 5, 8), **small).build().requires_grad_(False)
    assert model.network.delay == 8
    z = model.latents(sound(320 * 4))
    assert model.network.decoder(z).shape[-1] == 320 * 4 - 8
    samples = model.render(z, (320 * 4,))
    assert torch.equal(samples[..., 8:], model.network.decoder(z.clone()))
    assert dac.Config(downsampling_ratios=(2, 4, 8, 8), **small).build().network.delay == 0


def test_what_is_not_mono_audio_is_refused(models: dict[str, Any]):
    for shape in [(1, 2, 10), (10,), (1, 1, 0)]:
        with pytest.raises(UsageError, match=r"\(B, 1, L\) expected"):
            models["encodec"].encode(torch.zeros(shape))


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers.models.encodec.configuration_encodec", None)
    monkeypatch.setitem(sys.modules, "transformers.models.encodec.modeling_encodec", None)
    with pytest.raises(UsageError, match="transformers") as caught:
        encodec.Config().build()
    assert caught.value.hint == "pip install 'vqtok[hf]'"
