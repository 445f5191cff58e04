"""Channels there and back, for models of one channel and of several."""

from __future__ import annotations

import numpy as np
import pytest

from vqtok.codes.header import Header, Source
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError, MediaError
from vqtok.pipeline import recordings


def header(together: int, *, coded: int = 1, original: int | None = None) -> Header:
    spec = CodeSpec("audio", (LevelSpec("codes", ("t",), 4, (1,)),), rate=8.0, channels=together)
    return Header(spec=spec, extent=(5,), channels=coded, source=Source(channels=original))


@pytest.mark.parametrize(("count", "together"), [(1, 1), (3, 1), (1, 2), (2, 2)])
def test_channels_come_back(count: int, together: int):
    samples = np.arange(5.0 * count, dtype=np.float32).reshape(count, 5)
    given = recordings.grouped(samples, together, name="a.wav")
    assert given.shape[1] == together
    assert len(given) == recordings.items_of(count, together)
    np.testing.assert_array_equal(recordings.ungrouped(given, count), samples)


def test_channels_that_no_model_of_two_takes_are_refused():
    with pytest.raises(MediaError, match=r"a\.wav: 3 channels"):
        recordings.grouped(np.zeros((3, 5), np.float32), 2, name="a.wav")


def test_a_header_tells_how_many_channels_to_restore():
    assert recordings.channels_of(header(1, coded=3)) == 3
    assert recordings.channels_of(header(2, original=1)) == 1
    assert recordings.channels_of(header(2)) == 2


@pytest.mark.parametrize(("coded", "original"), [(2, 2), (1, 3), (1, 64)])
def test_a_header_that_contradicts_itself_is_refused(coded: int, original: int):
    with pytest.raises(CodesError, match="channels"):
        recordings.channels_of(header(2, coded=coded, original=original))
