"""What a header says of the size is held against the file: all is read, or it is refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from tests.media.files import Pipe
from vqtok.errors import MediaError
from vqtok.media import audio

LENGTH = 6000
SIZE = 2 * LENGTH
# Format: the mark before the size; how it is packed; what it counts beside the samples.
SIZES = {
    "WAV": (b"data", "<4xI", 0),
    "RF64": (b"ds64", "<16xQ", 0),
    "AIFF": (b"SSND", ">4xI", 8),
    "W64": (b"data", "<16xQ", 24),
    "CAF": (b"data", ">4xQ", 4),
    "AU": (b".snd", ">8xI", 0),
}
ID3V1 = b"TAG" + bytes(125)


def encoded(format: str, *, length: int = LENGTH, seed: int = 0) -> bytes:
    walk = np.cumsum(np.random.default_rng(seed).standard_normal(length))
    buffer = io.BytesIO()
    samples = 0.5 * walk / np.abs(walk).max(initial=1)
    soundfile.write(buffer, samples, 8000, format=format, subtype="PCM_16")
    return buffer.getvalue()


def sized(data: bytes, format: str, size: int) -> bytes:
    """Declare another size of the samples."""
    mark, packed, beside = SIZES[format]
    out = bytearray(data)
    at = out.rindex(mark) + struct.calcsize(packed) - struct.calcsize(packed[-1])
    value = size if size < 0 else size + beside
    width = struct.calcsize(packed[0] + packed[-1])
    order = "little" if packed[0] == "<" else "big"
    out[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)
    return bytes(out)


def outcome(data: bytes) -> int | str:
    """Samples, or the reason why there are none."""
    try:
        return audio.read(io.BytesIO(data))[0].shape[1]
    except MediaError as error:
        assert "\n" not in str(error)
        return str(error)


@pytest.mark.parametrize("format", SIZES)
def test_the_right_size_is_taken(format: str) -> None:
    data = encoded(format)
    assert sized(data, format, SIZE) == data
    assert outcome(data) == LENGTH


@pytest.mark.parametrize("format", SIZES)
def test_a_size_that_is_too_large_is_truncation(format: str) -> None:
    assert "truncated" in str(outcome(sized(encoded(format), format, 2 * SIZE)))
    assert "truncated" in str(outcome(encoded(format)[: -SIZE // 2]))


@pytest.mark.parametrize("format", SIZES)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_size_that_is_too_small_loses_no_sample_in_silence(format: str, share: float) -> None:
    found = outcome(sized(encoded(format), format, int(SIZE * share)))
    assert found == LENGTH if format == "AU" else "behind the declared samples" in str(found)


@pytest.mark.parametrize(
    ("format", "size"), [(f, s) for f in ("WAV", "AU", "W64") for s in (0, -1)]
)
def test_a_size_that_was_never_filled_in_means_to_the_end(format: str, size: int) -> None:
    assert outcome(sized(encoded(format), format, size)) == LENGTH


def test_caf_to_the_end() -> None:
    assert outcome(sized(encoded("CAF"), "CAF", -1)) == LENGTH


@pytest.mark.parametrize("format", ["WAV", "RF64", "AIFF"])
@pytest.mark.parametrize(
    "behind", [ID3V1, bytes(5000), b"LIST\4\0\0\0INFO", b"\0", b"id3 \0\0\0\0" + ID3V1, b"junk" * 9]
)
def test_what_lies_behind_the_samples_is_no_damage(format: str, behind: bytes) -> None:
    if format == "AIFF":
        behind = behind.replace(b"\4\0\0\0", b"\0\0\0\4")
    assert outcome(encoded(format) + behind) == LENGTH


def test_a_byte_of_padding_that_is_missing_is_no_damage() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(99), 8000, format="WAV", subtype="PCM_U8")
    data = buffer.getvalue()
    start = data.index(b"data") + 8
    tail = b"LIST\4\0\0\0INFO"
    whole = data[: start + 99] + tail
    whole = whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    assert outcome(whole) == 99


def test_two_wavs_or_two_pieces_of_samples_in_one_file_are_refused() -> None:
    data = encoded("WAV")
    for whole in (data + data, data + data[data.index(b"data") :]):
        assert "behind the declared samples" in str(outcome(whole))


def test_a_wav_in_a_pipe_is_held_to_the_same() -> None:
    for data in (sized(encoded("WAV"), "WAV", SIZE // 2), encoded("WAV") * 2):
        with (
            pytest.raises(MediaError, match="behind the declared samples") as caught,
            audio.listen(io.BufferedReader(Pipe(data))) as arriving,
        ):
            list(arriving.blocks())
        assert "ignore_length" in str(caught.value.hint)


def test_bw64_is_read_as_rf64_is() -> None:
    data = encoded("RF64")
    assert outcome(b"BW64" + data[4:]) == LENGTH


@pytest.mark.parametrize("format", SIZES)
def test_files_without_samples_say_so(format: str) -> None:
    assert "samples" in str(outcome(encoded(format, length=0)))


def test_a_count_of_gsm_in_aiff_that_is_too_small_is_refused() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(LENGTH), 8000, format="AIFF", subtype="GSM610")
    data = bytearray(buffer.getvalue())
    assert outcome(bytes(data)) == LENGTH
    at = data.index(b"COMM") + 10
    for count in (0, 1000, LENGTH - 200):
        data[at : at + 4] = struct.pack(">I", count)
        assert "file holds" in str(outcome(bytes(data)))
