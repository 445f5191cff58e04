"""All that players play is decoded, whatever a header claims and whatever lies around it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from tests.media.audio import ffmpeg
from vqtok.errors import MediaError
from vqtok.media import audio
from vqtok.media.audio import flac, mpeg, ogg
from vqtok.media.audio.excerpt import excerpt, glance

RATE, LENGTH = 22050, 15_000
ID3V1 = b"TAG" + bytes(range(1, 126))


def id3v2(size: int) -> bytes:
    return b"ID3\x04\0\0" + bytes(size >> 7 * n & 0x7F for n in (3, 2, 1, 0)) + b"A" * size


def ape(size: int) -> bytes:
    """A tag with header and footer around items."""
    fields = (2000, size // 2 * 2 + 32, 1)
    head, foot = (b"APETAGEX" + struct.pack("<IIIIQ", *fields, at << 28, 0) for at in (10, 8))
    return head + b"\xff\xfb" * (size // 2) + foot


def noise(length: int = LENGTH, channels: int = 1, seed: int = 0) -> np.ndarray:
    walk = np.cumsum(np.random.default_rng(seed).standard_normal((length, channels)), axis=0)
    found: np.ndarray = (0.5 * walk / np.abs(walk).max()).astype(np.float32)
    return found


def encoded(
    format: str, subtype: str | None = None, *, seed: int = 0, rate: int = RATE, channels: int = 1
) -> bytes:
    buffer = io.BytesIO()
    rate = 24000 if subtype == "OPUS" else rate
    samples = noise(channels=channels, seed=seed)
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def read(data: bytes) -> np.ndarray:
    return audio.read(io.BytesIO(data))[0]


@pytest.fixture(scope="module")
def mp3() -> bytes:
    return encoded("MP3")


def xing(data: bytes, *, frames: int | None, size: int | None) -> bytes:
    """Declare so many frames and bytes in the header of an MP3; None: leave the field out."""
    at = data.index(b"Xing") if b"Xing" in data[:200] else data.index(b"Info")
    flags = int.from_bytes(data[at + 4 : at + 8], "big")
    assert flags & 3 == 3
    fields = [(1, frames), (2, size)]
    kept = b"".join(struct.pack(">I", value) for _, value in fields if value is not None)
    flags = flags & ~3 | sum(bit for bit, value in fields if value is not None)
    rest = data[at + 16 :]
    # Fields are optional: what comes behind them moves up, and padding fills the frame.
    frame = mpeg.frame_size(data[:4])
    assert frame is not None
    head = data[: at + 4] + struct.pack(">I", flags) + kept + rest[: frame - at - 16]
    return head.ljust(frame, b"\0") + data[frame:]


def claims(data: bytes) -> tuple[int, int]:
    header = mpeg.parts(io.BytesIO(data))[0].header
    assert header is not None and header.frames and header.bytes
    return header.frames, header.bytes


@pytest.mark.parametrize("factor", [0, None, 0.5, 0.1, 2])
@pytest.mark.parametrize("sized", ["right", "zero", "missing"])
def test_an_mp3_whose_count_is_wrong_is_decoded_wholly(
    mp3: bytes, factor: float | None, sized: str, capfd: pytest.CaptureFixture[str]
) -> None:
    frames, size = claims(mp3)
    claimed = {"right": size, "zero": 0, "missing": None}[sized]
    count = None if factor is None else int(frames * factor)
    data = xing(mp3, frames=count, size=claimed)
    if factor == 2 and sized != "right":
        with pytest.raises(MediaError, match="truncated"):  # nothing says that it is whole
            read(data)
        return
    np.testing.assert_array_equal(read(data), read(mp3))
    assert glance(io.BytesIO(data)).length >= LENGTH
    assert capfd.readouterr().err == ""


def test_all_fields_of_a_header_are_optional(mp3: bytes) -> None:
    at = mp3.index(b"Info") if b"Info" in mp3[:200] else mp3.index(b"Xing")
    data = mp3[: at + 4] + bytes(4) + mp3[at + 8 :]
    np.testing.assert_array_equal(read(data), read(mp3))


@pytest.mark.parametrize("between", [b"", ID3V1, id3v2(3000), ape(700), bytes(5000), b"\xff" * 99])
def test_joined_mp3s_are_decoded_one_after_the_other(
    mp3: bytes, between: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    second = encoded("MP3", seed=1)
    found = read(mp3 + between + second + ID3V1)
    np.testing.assert_array_equal(found, np.concatenate([read(mp3), read(second)], axis=1))
    assert capfd.readouterr().err == ""


def test_an_mp3_without_a_header_goes_on_behind_one_that_has(mp3: bytes) -> None:
    second = encoded("MP3", seed=1)
    frame = mpeg.frame_size(second)
    assert frame is not None
    found = read(mp3 + second[frame:])
    # The decoder's delay is left out once, nothing else.
    assert 2 * LENGTH <= found.shape[1] < 2 * LENGTH + 2 * 576 + 4096


@pytest.mark.parametrize(
    "junk", [ID3V1, id3v2(400), ape(300), bytes(2000), b"\xff\xfb\x90\x64" * 3, b"LYRICSBEGIN" * 9]
)
def test_what_lies_between_frames_of_an_mp3_is_passed_over(mp3: bytes, junk: bytes) -> None:
    frame, at = mpeg.frame_size(mp3), 0
    assert frame is not None
    for _ in range(9):
        at += mpeg.frame_size(mp3[at : at + 4]) or 0
    expected = read(mp3)
    np.testing.assert_array_equal(read(mp3[:at] + junk + mp3[at:]), expected)
    np.testing.assert_array_equal(read(junk + mp3), expected)
    np.testing.assert_array_equal(read(mp3 + junk), expected)


def test_free_format_is_refused_by_name(mp3: bytes) -> None:
    data, at = bytearray(mp3[mpeg.frame_size(mp3) or 0 :]), 0
    while size := mpeg.frame_size(bytes(data[at : at + 4])):
        data[at + 2] &= 0x0F
        at += size
    for tag in (b"", id3v2(99)):
        with pytest.raises(MediaError, match="free format"):
            read(tag + bytes(data))


def test_joined_layer_ii_of_two_bit_rates_is_never_decoded_in_part() -> None:
    one, two = (ffmpeg.encoded(noise().T, RATE, ".mp2", "-b:a", kbits) for kbits in ("64k", "96k"))
    frames = -(-LENGTH // 1152)
    assert read(one).shape == read(two).shape == (1, frames * 1152)
    assert read(one + one).shape == (1, 2 * frames * 1152)
    assert read(one + two).shape == (1, 2 * frames * 1152)
    with pytest.raises(MediaError, match="can be decoded"):
        read(two + one)


def test_a_vbri_header_with_a_wrong_count(mp3: bytes) -> None:
    frame = mpeg.frame_size(mp3)
    assert frame is not None
    plain = read(mp3[frame:])
    for count in (0, 3, claims(mp3)[0]):
        body = b"VBRI" + struct.pack(">HHHIIHHHH", 1, 0, 75, len(mp3), count, 1, 1, 2, 1)
        head = mp3[:4].ljust(36, b"\0") + body
        found = read(head.ljust(frame, b"\0") + mp3[frame:])
        assert found.shape[1] in (plain.shape[1], plain.shape[1] + mpeg.DECODER_DELAY)


def test_joined_mp3s_that_differ_are_refused(mp3: bytes) -> None:
    for other in (encoded("MP3", rate=44100), encoded("MP3", channels=2)):
        with pytest.raises(MediaError, match=r"22050 Hz, channels: 1 and .* were joined") as caught:
            read(mp3 + other)
        assert "ffmpeg" in str(caught.value.hint)


def test_mpeg_in_wav_is_decoded_to_its_last_frame(mp3: bytes) -> None:
    frame = mpeg.frame_size(mp3)
    assert frame is not None
    data = mp3[frame:]
    frames = claims(mp3)[0]
    shape = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 8000, 1, 0, 12, 1, 2, frame, 1, 1393)
    for count in (LENGTH, 5, 0):
        chunks = b"fmt " + struct.pack("<I", len(shape)) + shape
        chunks += b"fact\x04\0\0\0" + struct.pack("<I", count)
        chunks += b"data" + struct.pack("<I", len(data)) + data
        found = read(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks)
        assert found.shape == (1, frames * 576)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg_is_decoded_one_after_the_other(subtype: str) -> None:
    links = [encoded("OGG", subtype, seed=seed) for seed in range(3)]
    expected = np.concatenate([read(link) for link in links], axis=1)
    assert expected.shape == (1, 3 * LENGTH)
    # With equal serial numbers, which RFC 3533 forbids, but `cat` makes of files with a fixed one.
    fixed = []
    for link in links:
        file = io.BytesIO(link)
        ogg.fix_serial(file)
        fixed.append(file.getvalue())
    for data in (b"".join(links), b"".join(fixed), ID3V1.join(links)):
        np.testing.assert_array_equal(read(data), expected)
        part = excerpt(
            io.BytesIO(data), rate=audio.probe(io.BytesIO(data)).rate, start=20_000, length=99
        )
        np.testing.assert_allclose(part, expected[:, 20_000:20_099], atol=1e-6)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg_of_another_kind_is_refused(subtype: str) -> None:
    first, second = encoded("OGG", subtype), encoded("OGG", subtype, channels=2)
    with pytest.raises(MediaError, match="joined into one file"):
        read(first + second)


def test_streams_side_by_side_are_told_apart() -> None:
    one, two = encoded("OGG", "VORBIS"), encoded("OGG", "VORBIS", seed=1)
    first, second = (next(iter(ogg.pages(io.BytesIO(data)))) for data in (one, two))
    grouped = one[: first.size] + two[: second.size] + one[first.size :] + two[second.size :]
    with pytest.raises(MediaError, match="2 streams of sound side by side"):
        read(grouped)
    # What is no sound is left out.
    silent = bytearray(two[: second.size])
    silent[second.body : second.body + 7] = b"\x80theora"
    np.testing.assert_array_equal(read(one[: first.size] + silent + one[first.size :]), read(one))


@pytest.mark.parametrize("size", [300, 20_000, 60_000, 3_000_000])
@pytest.mark.parametrize("format", ["WAV", "AIFF", "FLAC", "OGG"])
def test_a_tag_in_front_of_any_format(format: str, size: int) -> None:
    data = encoded(format)
    for tag in (id3v2(size), id3v2(99) + id3v2(size) + bytes(999)):
        found, info = audio.read(io.BytesIO(tag + data))
        np.testing.assert_array_equal(found, read(data))
        assert info.format == format


@pytest.mark.parametrize("count", [None, 0, LENGTH // 3])
@pytest.mark.parametrize("behind", [b"", ID3V1, bytes(4096), b"\xff\xf8" * 800])
def test_what_lies_behind_the_last_frame_of_a_flac(behind: bytes, count: int | None) -> None:
    whole = encoded("FLAC")
    data = whole if count is None else flac.with_total(io.BytesIO(whole), 0, count) + whole[42:]
    found = read(data + behind)
    np.testing.assert_array_equal(found, read(whole))
    assert found.shape == (1, LENGTH)
    part = excerpt(io.BytesIO(data + behind), rate=RATE, start=LENGTH - 50, length=99)
    np.testing.assert_allclose(part, found[:, -50:], atol=1e-6)


def test_joined_flacs_are_decoded_one_after_the_other() -> None:
    first, second = encoded("FLAC"), encoded("FLAC", seed=1)
    expected = np.concatenate([read(first), read(second)], axis=1)
    np.testing.assert_array_equal(read(first + ID3V1 + id3v2(99) + second + bytes(99)), expected)


def test_flac_in_ogg_is_read() -> None:
    whole = encoded("FLAC")
    pages, sequence = b"", 0
    info = flac.read_info(io.BytesIO(whole))
    assert info is not None
    first = b"\x7fFLAC\x01\0\0\x01" + whole[:42]
    rest = whole[42:]
    packets = [first, *(rest[at : at + 5000] for at in range(0, len(rest), 5000))]
    for packet in packets:
        lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
        head = struct.pack(
            "<4sBBqIII", b"OggS", 0, 2 if not sequence else 0, sequence, 7, sequence, 0
        )
        pages, sequence = pages + head + bytes([len(lacing)]) + lacing + packet, sequence + 1
    found, about = audio.read(io.BytesIO(pages))
    np.testing.assert_array_equal(found, read(whole))
    assert (about.format, about.length) == ("OGG", LENGTH)


def test_ogg_pages_that_go_back_are_refused() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(10 * LENGTH), RATE, format="OGG", subtype="VORBIS")
    data = bytearray(buffer.getvalue())
    last = list(ogg.pages(io.BytesIO(bytes(data))))[-1]
    data[last.offset + 6 : last.offset + 14] = struct.pack("<q", 5)
    ogg.fix_serial(file := io.BytesIO(bytes(data)))
    with pytest.raises(MediaError, match="go back"):
        read(file.getvalue())


@pytest.mark.parametrize(("peak", "full"), [(1e5, 1 << 15), (40.0, 1 << 15), (3e9, 1 << 31)])
def test_floats_far_beyond_full_scale_are_refused_with_the_remedy(peak: float, full: int) -> None:
    loud = peak * noise()
    buffer = io.BytesIO()
    soundfile.write(buffer, loud, RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(MediaError, match="where full scale is 1") as caught:
        read(buffer.getvalue())
    remedy = f"-af volume=1/{full} -c:a pcm_f32le"
    assert remedy in str(caught.value.hint)
    scaled = read(ffmpeg.encoded(loud.T, RATE, ".wav", *remedy.split()))
    np.testing.assert_allclose(scaled, loud.T / full, rtol=1e-5)


def test_floats_that_no_integer_holds_are_refused_too() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, 6e38 * noise().astype(np.float64), RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(MediaError, match="where full scale is 1"):
        read(buffer.getvalue())
