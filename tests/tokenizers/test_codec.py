"""The audio codec: exact length, and codes that depend on neither blocks, tiles nor neighbours."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqtok import config
from vqtok.errors import ConfigError, UsageError
from vqtok.protocols import Config
from vqtok.tokenizers import codec

HOP = 8


MEL = {"bands": 6, "warp": 1.3, "colour_db": 3.0}
HEARS = pytest.mark.parametrize("mel", [None, MEL], ids=["bins", "bands"])


def build(quantizer: str = "rvq", *, mel: object = None) -> codec.Codec:
    torch.manual_seed(0)
    quantizers = {
        "rvq": {"type": "quantizers/rvq", "codebook_size": 30, "depth": 3},
        "vq": {"type": "quantizers/vq", "codebook_size": 30},
    }
    data = {"type": "tokenizers/codec", "rate": 800, "frame": 16, "hop": HOP, "width": 12}
    data |= {"encoder_blocks": 2, "decoder_blocks": 2, "kernel": 3, "latent": 4}
    model: codec.Codec = config.parse(
        data | {"quantizer": quantizers[quantizer], "mel": mel}, Config
    ).build()
    return model.eval()


def sound(length: int, *, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 1, length, generator=torch.Generator().manual_seed(length)) * 0.3


@pytest.mark.parametrize("quantizer", ["rvq", "vq"])
@settings(max_examples=15, deadline=None)
@given(length=st.integers(1, 100))
def test_every_length_comes_back_to_the_sample(quantizer: str, length: int) -> None:
    model = build(quantizer)
    codes = model.encode(sound(length)).check()
    assert codes.levels[0].shape[-1] == -(-length // HOP)
    assert model.decode(codes).shape == (1, 1, length)


@HEARS
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 299), max_size=6))
def test_blocks_of_any_lengths_give_the_codes_of_the_whole(mel: object, cuts: list[int]) -> None:
    model, x = build(mel=mel), sound(300)
    edges = [0, *sorted(cuts), 300]
    blocks = [x[..., a:b] for a, b in itertools.pairwise(edges)]
    streamed = torch.cat(list(model.encode_stream(blocks)), dim=-1)
    assert torch.equal(streamed, model.encode(x).levels[0])


@HEARS
def test_tiles_give_the_codes_and_samples_of_the_whole(
    mel: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = build(mel=mel), sound(1003)
    whole = model.encode(x)
    samples = model.decode(whole)
    for tile in (7, 20, 125):
        monkeypatch.setattr(codec, "TILE", tile)
        tiled = model.encode(x)
        assert torch.equal(whole.levels[0], tiled.levels[0])
        torch.testing.assert_close(model.decode(tiled), samples, atol=1e-6, rtol=0)


@HEARS
def test_codes_do_not_depend_on_batch_mates(mel: object) -> None:
    model, x = build(mel=mel), sound(200, batch=3)
    alone = torch.cat([model.encode(item[None]).levels[0] for item in x])
    assert torch.equal(model.encode(x).levels[0], alone)


@HEARS
def test_codes_depend_on_the_past_alone(mel: object) -> None:
    model, x = build(mel=mel), sound(200)
    changed = x.clone()
    changed[..., 120:] = 0.0
    before, after = model.encode(x).levels[0], model.encode(changed).levels[0]
    assert torch.equal(before[..., : 120 // HOP], after[..., : 120 // HOP])


def test_fewer_stages_decode_to_the_same_length() -> None:
    model = build()
    codes = model.encode(sound(77))
    for depth in (1, 2, 3):
        assert model.decode(codes.truncate(depth)).shape == (1, 1, 77)


@HEARS
def test_evaluation_and_coding_are_the_same_arithmetic(mel: object) -> None:
    model, x = build(mel=mel), sound(100)
    result, codes = model(x), model.encode(x)
    assert torch.equal(result.codes.levels[0], codes.levels[0])
    torch.testing.assert_close(result.x.clamp(-1, 1), model.decode(codes), atol=1e-6, rtol=0)


@HEARS
def test_silence_stays_finite(mel: object) -> None:
    model = build(mel=mel).train()
    result = model(torch.zeros(2, 1, 64))
    (result.x.square().mean() + result.loss).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_what_is_not_mono_audio_is_refused() -> None:
    for shape in [(1, 2, 10), (10,), (1, 1, 0)]:
        with pytest.raises(UsageError, match=r"\(B, 1, L\) expected"):
            build().encode(torch.zeros(shape))


def test_a_frame_that_is_no_multiple_of_the_hop_is_refused() -> None:
    data = {"type": "tokenizers/codec", "frame": 100, "quantizer": {"type": "quantizers/rvq"}}
    with pytest.raises(ConfigError, match="not a multiple"):
        config.parse(data, Config)
