"""Coders give what their tokenizers give, whether these are exact or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vqtok.backends import torch_backend
from vqtok.backends.torch_backend import WholeCoder
from vqtok.errors import CodesError, UsageError
from vqtok.quantizers import rvq, vq
from vqtok.tokenizers import codec, vqvae

RNG = np.random.default_rng(0)


def made(config: Any) -> Any:
    torch.manual_seed(0)
    return config.build().eval()


@pytest.fixture(scope="module")
def images() -> Any:
    quantizer = vq.Config(codebook_size=32)
    return made(vqvae.Config(quantizer=quantizer, widths=(8, 8), patch=2, latent=4))


@pytest.fixture(scope="module")
def speech() -> Any:
    quantizer = rvq.Config(codebook_size=16, depth=3)
    return made(
        codec.Config(quantizer=quantizer, width=8, encoder_blocks=1, decoder_blocks=1, latent=4)
    )


def picture(height: int, width: int) -> np.ndarray:
    return RNG.uniform(-1, 1, (3, height, width)).astype(np.float32)


def sound(length: int, items: int = 1) -> np.ndarray:
    return RNG.uniform(-1, 1, (items, 1, length)).astype(np.float32)


def levels_equal(found: Any, expected: Any) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("exact", [True, False])
def test_windows_tiles_and_batches_of_images_are_those_of_the_tokenizer(images, exact):
    coder: Any = torch_backend.coder(images) if exact else WholeCoder(images)
    x = picture(21, 30)
    expected = images.encode(torch.from_numpy(x)[None])
    codes = coder.encode_windows((21, 30), lambda rows, columns: x[:, rows, columns].copy())
    levels_equal(codes.levels, expected.numpy().levels)
    levels_equal(coder.encode_many([picture(8, 8), x])[1].levels, expected.numpy().levels)
    whole = np.zeros_like(x)
    for rows, columns, pixels in coder.decode_tiles(codes):
        whole[:, rows, columns] = pixels
    np.testing.assert_array_equal(whole, images.decode(expected)[0])
    np.testing.assert_array_equal(coder.decode(codes)[0], whole)


@pytest.mark.parametrize("exact", [True, False])
def test_pieces_of_audio_are_those_of_the_tokenizer(speech, exact):
    coder: Any = torch_backend.coder(speech) if exact else WholeCoder(speech)
    x = sound(50000, items=2)
    expected = speech.encode(torch.from_numpy(x))
    blocks = (block.copy() for block in np.array_split(x, 7, axis=-1))
    pieces = list(coder.encode_stream(blocks))
    levels = tuple(np.concatenate(level, axis=-1) for level in zip(*pieces, strict=True))
    levels_equal(levels, expected.numpy().levels)
    assert levels[0].dtype == np.uint8
    samples = np.concatenate(list(coder.decode_stream(iter([levels]), 50000)), axis=-1)
    np.testing.assert_array_equal(samples, speech.decode(expected))
    unknown = np.concatenate(list(coder.decode_stream(pieces)), axis=-1)
    np.testing.assert_array_equal(unknown[..., :50000], samples)


def test_a_round_trip_is_encode_and_decode(speech):
    coder = torch_backend.coder(speech)
    x = sound(9000)
    trip = coder.round_trip(x, depth=2)
    assert trip.codes is not None
    expected = speech.encode(torch.from_numpy(x)).truncate(2)
    levels_equal(trip.codes.levels, expected.numpy().levels)
    np.testing.assert_array_equal(trip.x, speech.decode(expected))
    assert trip.encode_s > 0 < trip.decode_s


def test_a_round_trip_without_codes_is_latents_and_rendering():
    from vqtok.quantizers import identity

    model = made(vqvae.Config(quantizer=identity.Config(), widths=(8, 8), patch=2, latent=4))
    coder = torch_backend.coder(model)
    x = picture(12, 16)[None]
    trip = coder.round_trip(x)
    assert trip.codes is None
    np.testing.assert_array_equal(trip.latents, model.latents(torch.from_numpy(x)))
    assert trip.x.shape == x.shape
    with pytest.raises(CodesError, match="no codes"):
        coder.round_trip(x, depth=1)


def test_labels_reach_the_decoder():
    quantizer = vq.Config(codebook_size=32)
    config = vqvae.Config(
        quantizer=quantizer, widths=(8, 8), patch=2, latent=4, labels=("cat", "dog")
    )
    model = made(config)
    torch.nn.init.normal_(model.labels.vectors)
    coder = torch_backend.image_coder(model)
    assert coder.labels == ("cat", "dog")
    codes = coder.encode_many([picture(8, 8)])[0]
    assert not np.array_equal(coder.decode(codes, label="cat"), coder.decode(codes, label="dog"))
    with pytest.raises(UsageError):
        list(coder.decode_tiles(codes))
    assert torch_backend.coder(model).device == "cpu"
