from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.examples import in_turn
from vqtok.errors import MediaError, UsageError
from vqtok.media import classical
from vqtok.media.image.pixels import to_uint8

IMAGE = [name for name, kind in classical.KINDS.items() if kind == "image"]
AUDIO = [name for name, kind in classical.KINDS.items() if kind == "audio"]
here = pytest.mark.parametrize(
    "name", [name for name in classical.KINDS if classical.missing(name) is None]
)
ENOUGH = 1e12


def picture(height: int = 48, width: int = 64, *, seed: int = 0) -> np.ndarray:
    """Smooth colours with some noise, (3, H, W)."""
    y, x = np.mgrid[0:height, 0:width] / 16
    waves = np.stack([np.sin(x + y), np.cos(x - y), np.sin(2 * y)]) * 0.7
    noise = np.random.default_rng(seed).normal(0, 0.1, waves.shape)
    return np.clip(waves + noise, -1, 1).astype(np.float32)


def recording(seconds: float = 0.5, *, rate: int = 24000, channels: int = 1) -> np.ndarray:
    t = np.arange(int(seconds * rate)) / rate
    tones = [np.sin(2 * np.pi * 220 * (c + 1) * t) * np.sin(7 * t) for c in range(channels)]
    noise = np.random.default_rng(0).normal(0, 0.01, (channels, len(t)))
    return (0.5 * np.stack(tones) + noise).astype(np.float32)


def code(name: str, bits: float) -> tuple[np.ndarray, classical.Coded]:
    if classical.KINDS[name] == "image":
        x = picture()
        return x, classical.code_image(x, name, bits)
    x = recording()
    return x, classical.code_audio(x, name, bits, rate=24000)


def error(x: np.ndarray, coded: classical.Coded) -> float:
    return float(np.mean((x - coded.signal) ** 2))


@here
def test_more_bits_are_kept_to_and_buy_a_smaller_error(name: str) -> None:
    x, least = code(name, 0)
    _, most = code(name, ENOUGH)
    assert least.bits < most.bits
    budgets = [least.bits * (most.bits / least.bits) ** (i / 3) for i in range(4)]
    found = [code(name, bits)[1] for bits in budgets]
    for bits, coded in zip(budgets, found, strict=True):
        assert coded.bits <= bits
        assert coded.signal.shape == x.shape
        assert coded.signal.dtype == np.float32
    errors = [error(x, coded) for coded in found]
    # A codec for ears may err more while it sounds better, but not from one end to the other.
    assert min(errors) == errors[-1] < 0.7 * errors[0], errors
    if name in IMAGE:
        assert all(fine < rough for rough, fine in pairwise(errors)), errors


@here
def test_where_no_setting_is_small_enough_the_smallest_file_is_taken(name: str) -> None:
    _, coded = code(name, 1)
    assert coded.bits > 1
    assert coded.bits == code(name, 0)[1].bits


@here
def test_the_same_bits_give_the_same_file(name: str) -> None:
    a, b = (code(name, 9000)[1] for _ in range(2))
    assert a.bits == b.bits
    np.testing.assert_array_equal(a.signal, b.signal)


@pytest.mark.parametrize("name", ["jpeg", "webp"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_no_higher_setting_would_be_within_the_bits(name: str, share: float) -> None:
    image = Image.fromarray(to_uint8(picture()).transpose(1, 2, 0))
    options: dict[str, object] = {"optimize": True, "progressive": True}
    sizes = []
    for quality in range(1, 96):
        out = io.BytesIO()
        image.save(out, name, **({"method": 6} if name == "webp" else options), quality=quality)
        sizes.append(8 * len(out.getvalue()))
    budget = sizes[0] + share * (sizes[-1] - sizes[0])
    assert code(name, budget)[1].bits == max(size for size in sizes if size <= budget)


@given(
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=40),
    bits=st.integers(0, 5000),
)
def test_the_search_ends_at_the_largest_file_within_the_bits(sizes: list[int], bits: int) -> None:
    sizes.sort()
    asked: list[int] = []

    def encode(step: int) -> bytes:
        asked.append(step)
        return bytes(sizes[step])

    data, seconds = classical._within(encode, len(sizes), bits)
    fitting = [size for size in sizes if 8 * size <= bits]
    assert len(data) == max(fitting, default=sizes[0])
    assert seconds >= 0
    assert len(asked) <= 2 + len(sizes).bit_length()


@pytest.mark.parametrize("name", IMAGE)
def test_grey_pictures_cost_no_bits_for_colour_and_stay_grey(name: str) -> None:
    grey = np.broadcast_to(picture().mean(0), (3, 48, 64))
    coded = classical.code_image(grey, name, ENOUGH, grey=True)
    np.testing.assert_array_equal(coded.signal[0], coded.signal[1])
    np.testing.assert_array_equal(coded.signal[0], coded.signal[2])
    assert coded.bits <= classical.code_image(grey, name, ENOUGH).bits
    assert error(grey, coded) < 0.001


@settings(max_examples=15)
@given(height=st.integers(1, 40), width=st.integers(1, 40), name=st.sampled_from(["jpeg", "webp"]))
def test_pictures_of_any_size_come_back_at_that_size(height: int, width: int, name: str) -> None:
    x = picture(height, width)
    assert classical.code_image(x, name, 4000).signal.shape == x.shape


def test_a_picture_that_the_format_cannot_hold_is_an_error() -> None:
    with pytest.raises(MediaError, match="WebP cannot hold 16384x1 pixels"):
        classical.code_image(np.zeros((3, 1, 16384), np.float32), "webp", 1000)


@pytest.mark.parametrize("name", AUDIO)
@pytest.mark.parametrize(
    ("rate", "channels"), in_turn([8000, 22050, 24000, 48000, 96000], [1, 2, 3])
)
def test_recordings_of_any_rate_come_back_aligned(name: str, rate: int, channels: int) -> None:
    x = recording(0.4, rate=rate, channels=channels)
    coded = classical.code_audio(x, name, ENOUGH, rate=rate)
    assert coded.signal.shape == x.shape
    middle = slice(rate // 10, -rate // 10)
    ratio = np.mean(x[:, middle] ** 2) / np.mean((x - coded.signal)[:, middle] ** 2)
    assert 10 * np.log10(ratio) > 15  # a delay of one sample of the loudest tone costs more


@pytest.mark.parametrize("name", AUDIO)
@pytest.mark.parametrize("length", [1, 7, 100, 1153])
def test_short_recordings_keep_their_length(name: str, length: int) -> None:
    x = recording(0.1)[:, :length]
    assert classical.code_audio(x, name, 1000, rate=24000).signal.shape == x.shape


def test_three_channels_cost_the_bits_of_three_files() -> None:
    x = recording(0.4, channels=3)
    together = classical.code_audio(x, "opus", 3 * 8000, rate=24000)
    each = [classical.code_audio(row[None], "opus", 8000, rate=24000) for row in x]
    assert together.bits == sum(coded.bits for coded in each)
    np.testing.assert_array_equal(together.signal, np.concatenate([c.signal for c in each]))


@pytest.mark.parametrize(
    ("name", "target", "answer", "library"),
    [
        ("avif", "vqtok.media.classical.features.check", lambda name: False, "Pillow"),
        ("opus", "vqtok.media.classical.soundfile.available_subtypes", lambda _: {}, "libsndfile"),
    ],
)
def test_a_codec_that_is_not_here_is_named_with_its_library(
    name: str,
    target: str,
    answer: Callable[[str], object],
    library: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert classical.missing("jpeg") is None
    monkeypatch.setattr(target, answer)
    with pytest.raises(UsageError, match=f"-m {name}: this {library}"):
        classical.require(name)
