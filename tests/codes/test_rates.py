"""Rates are bits over pixels or seconds, by strides or by what was counted."""

from __future__ import annotations

import math

import pytest

from tests.codes import strategies as some
from vqtok.codes import rates
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError


def test_the_nominal_rate_is_bits_per_pixel_or_thousands_per_second():
    image, audio = some.image(1024)[0].spec, some.audio()[0].spec
    assert rates.nominal(image) == 10 / 64
    assert rates.nominal(audio) == pytest.approx(4 * 10 * 75 / 1000)
    assert rates.nominal(audio, depth=1) == 0.75
    large = (8 * 100, 8 * 100)
    assert rates.bits_of(image, large) / math.prod(large) == rates.nominal(image)


def test_a_rate_that_depends_on_the_size_is_not_given():
    spec = CodeSpec("image", (LevelSpec("codes", ("n",), 16, (), 32),))
    with pytest.raises(CodesError, match="depends on the input's size"):
        rates.nominal(spec)


def test_bits_are_counted_level_by_level():
    levels = (LevelSpec("top", ("h", "w"), 4, (2, 2)), LevelSpec("bottom", ("h", "w"), 8, (1, 1)))
    assert rates.bits(levels, (10, 100)) == 2 * 10 + 3 * 100
    with pytest.raises(ValueError, match="shorter"):
        rates.bits(levels, (10,))


def test_a_rate_is_bits_over_the_size_of_the_signal():
    assert rates.rate(32.0, rates.amount((4, 8), None), "image") == 1.0
    assert rates.rate(12000.0, rates.amount((16000,), 8000.0), "audio") == 6.0
    assert rates.rate(0.0, rates.amount((0,), 8000.0), "audio") == 0.0
    assert rates.unit("image").key == "bits_per_pixel"
    assert rates.unit("audio").key == "kbit_per_s"
