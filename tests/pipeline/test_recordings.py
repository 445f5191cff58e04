"""Codes do not depend on the form they leave in, nor on the pieces in which the sound arrived."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.media.audio.test_arriving import pipe
from tests.media.audio.test_sinks import Out
from vqtok.backends.torch_backend import coder
from vqtok.checkpoints import directory
from vqtok.codes import files
from vqtok.media.plan import Job
from vqtok.pipeline.decode import DecodeOptions, decode
from vqtok.pipeline.encode import EncodeOptions, encode
from vqtok.pipeline.results import Done, Failed

SOUND = Job(None, None, "audio")
CODES = Job(None, None, "codes")


@pytest.fixture(scope="module")
def codec(shelf: Path) -> Any:
    return coder(directory.load(shelf / "audio-24k"))


def wav(seconds: float, rate: int = 11025, channels: int = 1) -> bytes:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (int(seconds * rate), channels))
    file = io.BytesIO()
    soundfile.write(file, x, rate, format="WAV")
    return file.getvalue()


def coded(codec: Any, source: Any, **options: Any) -> tuple[bytes, Done | Failed]:
    out = Out()
    made = encode(
        [SOUND],
        coder_for=lambda kind: codec,
        options=EncodeOptions(**options),
        stdin=source,
        stdout=out,
    )
    (result,) = made
    return out.data, result


def played(codec: Any, source: Any, **options: Any) -> tuple[bytes, Done | Failed]:
    out = Out()
    (result,) = decode(
        [CODES],
        coder_for=lambda header: codec,
        options=DecodeOptions(**options),
        stdin=source,
        stdout=out,
    )
    return out.data, result


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 65536), min_size=1, max_size=3),
    rate=st.sampled_from((8000, 11025, 24000)),
    channels=st.integers(1, 2),
    seconds=st.sampled_from((0.01, 3.3, 7.5, 8.01)),
    form=st.sampled_from(("stream", "npy", "safetensors")),
)
def test_codes_are_those_of_the_file_whatever_the_pieces(
    codec, sizes, rate, channels, seconds, form
):
    data = wav(seconds, rate, channels)
    expected, _ = coded(codec, io.BytesIO(data), format="npy")
    found, result = coded(codec, pipe(data, *sizes), format=form)
    assert isinstance(result, Done), result
    codes, header = files.read(io.BytesIO(found))
    wanted, wanted_header = files.read(io.BytesIO(expected))
    np.testing.assert_array_equal(codes.levels[0], wanted.levels[0])
    assert header == wanted_header
    assert result.tokens == codes.tokens
    assert result.shapes == (codes.levels[0].shape[1:],)


def test_the_same_bytes_leave_whatever_the_pieces(codec):
    data = wav(17, 8000, 2)
    first, _ = coded(codec, pipe(data))
    assert first[128:].startswith(b'{"stream":1,')
    for size in (1, 777, 40_000):
        assert coded(codec, pipe(data, size))[0] == first


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 65536), min_size=1, max_size=3),
    rate=st.sampled_from((8000, 11025, 24000)),
    channels=st.integers(1, 2),
    seconds=st.sampled_from((0.01, 7.5, 8.01)),
    native=st.booleans(),
)
def test_sound_is_that_of_the_file_but_for_its_unknown_length(
    codec, sizes, rate, channels, seconds, native
):
    data = wav(seconds, rate, channels)
    expected, _ = played(
        codec, io.BytesIO(coded(codec, io.BytesIO(data), format="npy")[0]), native_rate=native
    )
    stream, _ = coded(codec, io.BytesIO(data))
    found, result = played(codec, pipe(stream, *sizes), native_rate=native)
    assert isinstance(result, Done), result
    assert found[44:] == expected[44:]
    assert soundfile.info(io.BytesIO(expected)).frames == (len(expected) - 44) // 2 // channels


def test_a_stream_in_a_file_is_decoded_as_any_codes(codec, tmp_path: Path):
    path, back = tmp_path / "a.npy", tmp_path / "a.wav"
    path.write_bytes(coded(codec, pipe(wav(8.01)))[0])
    (result,) = decode([Job(path, back, "codes")], coder_for=lambda header: codec)
    assert isinstance(result, Done), result
    info = soundfile.info(back)
    assert (info.frames, info.samplerate) == (int(8.01 * 11025), 11025)


def test_a_stream_to_a_file_has_an_exact_header(codec, tmp_path: Path):
    back = tmp_path / "a.wav"
    stream, _ = coded(codec, pipe(wav(8.01)))
    job = Job(None, back, "codes")
    (result,) = decode([job], coder_for=lambda header: codec, stdin=pipe(stream, 100))
    assert isinstance(result, Done), result
    assert soundfile.info(back).frames == int(8.01 * 11025)
    assert back.read_bytes()[:4] == b"RIFF"


def test_depth_is_chosen_at_either_end_of_a_flow(codec):
    data = wav(8.01)
    rough, result = coded(codec, pipe(data), depth=1)
    assert isinstance(result, Done)
    assert result.shapes[0][0] == 1
    whole, _ = coded(codec, pipe(data))
    assert played(codec, pipe(rough))[0] == played(codec, pipe(whole), depth=1)[0]
    _, result = coded(codec, pipe(data), depth=4)
    assert isinstance(result, Failed)
    assert "depth 4 is not between 1 and 3" in str(result.error)


def test_mono_is_mixed_on_the_way(codec):
    data = wav(2, channels=2)
    found, _ = coded(codec, pipe(data, 999), mono=True)
    expected, _ = coded(codec, io.BytesIO(data), mono=True, format="npy")
    codes, header = files.read(io.BytesIO(found))
    np.testing.assert_array_equal(codes.levels[0], files.read(io.BytesIO(expected))[0].levels[0])
    assert header.channels == 1


def test_a_cut_recording_fails_and_its_stream_is_not_closed(codec):
    found, result = coded(codec, pipe(wav(17)[:-2]))
    assert isinstance(result, Failed)
    assert "stream: truncated: header says" in str(result.error)
    sound, failure = played(codec, pipe(found))
    assert isinstance(failure, Failed)
    assert "ends without its closing record" in str(failure.error)
    assert len(sound) > 44 + 2 * 11025 * 14


def test_a_stream_of_another_format_is_spooled_and_plays_too(codec):
    flac = io.BytesIO()
    soundfile.write(flac, np.zeros(9000), 8000, format="FLAC")
    stream, result = coded(codec, pipe(flac.getvalue()))
    assert isinstance(result, Done)
    assert result.extent == (9000,)
    sound, _ = played(codec, pipe(stream), format="flac")
    assert soundfile.info(io.BytesIO(sound)).frames == 9000


def test_a_header_that_promises_years_of_silence_is_refused(codec):
    stream, _ = coded(codec, pipe(wav(1, 8000)))
    lying = stream.replace(b'"length":8000', b'"length":8999')
    assert lying != stream
    _, result = played(codec, pipe(lying))
    assert isinstance(result, Failed)
    assert "damaged header: 8999 samples at 8000 Hz are not 8000 at 8000 Hz" in str(result.error)
