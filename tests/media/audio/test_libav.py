"""What libsndfile lacks is read through the extra, as ffmpeg reads it."""

from __future__ import annotations

import importlib.util
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.media.audio import ffmpeg
from tests.media.files import Pipe
from vqtok.errors import MediaError
from vqtok.media import audio
from vqtok.media.audio.excerpt import excerpt, glance
from vqtok.media.inputs import inputs_of

RATE, LENGTH = 44100, 30_000
# Suffix, options for ffmpeg, name of the format, name of the codec.
KINDS = {
    "aac": (".m4a", (), "MP4", "AAC"),
    "alac": (".m4a", ("-c:a", "alac"), "MP4", "ALAC"),
    "adts": (".aac", (), "AAC", "AAC"),
    "wma": (".wma", (), "ASF", "WMAV2"),
    "ac3": (".ac3", (), "AC-3", "AC3"),
    "eac3": (".eac3", (), "AC-3", "EAC3"),
    "mp4": (".mp4", ("-movflags", "+faststart"), "MP4", "AAC"),
    "fragments": (".mp4", ("-movflags", "frag_keyframe+empty_moov"), "MP4", "AAC"),
    "pcm in mov": (".mov", ("-c:a", "pcm_s16be"), "MP4", "PCM_S16BE"),
    "mp3 in mov": (".mov", ("-c:a", "libmp3lame"), "MP4", "MP3FLOAT"),
    "ima in caf": (".caf", ("-c:a", "adpcm_ima_qt"), "CAF", "ADPCM_IMA_QT"),
    "webm": (".webm", ("-c:a", "libvorbis"), "Matroska", "VORBIS"),
    "mka": (".mka", ("-c:a", "flac"), "Matroska", "FLAC"),
    "wavpack": (".wv", (), "WavPack", "WAVPACK"),
    "wma in wav": (".wav", ("-c:a", "wmav2"), "WAV", "WMAV2"),
}


def tone(channels: int = 1, length: int = LENGTH) -> np.ndarray:
    time_s = np.arange(length) / RATE
    return np.stack([0.3 * np.sin(2 * np.pi * 300 * (c + 1) * time_s) for c in range(channels)])


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: ffmpeg.encoded(tone(2), RATE, *_made(name)) for name in KINDS}


def _made(name: str) -> tuple[str, ...]:
    suffix, options, _, _ = KINDS[name]
    return suffix, *options


@pytest.mark.parametrize("name", KINDS)
def test_samples_are_those_of_ffmpeg(
    files: dict[str, bytes], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found, info = audio.read(io.BytesIO(files[name]))
    expected = ffmpeg.decoded(files[name], 2)
    assert (info.rate, info.channels, info.length) == (RATE, 2, expected.shape[1])
    assert (info.format, info.subtype) == KINDS[name][2:]
    # Two builds of libav round differently.
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["aac", "alac", "mp4", "mka", "pcm in mov", "mp3 in mov"])
def test_length_and_start_are_those_of_what_was_encoded(files: dict[str, bytes], name: str) -> None:
    found, _ = audio.read(io.BytesIO(files[name]))
    assert found.shape == (2, LENGTH)
    inner = slice(3000, 27_000)
    error = np.square(found[:, inner] - tone(2)[:, inner]).mean() / np.square(tone(2)).mean()
    assert error < 0.1  # ten samples of delay would be 0.4


@pytest.mark.parametrize("name", ["aac", "adts", "webm"])
def test_blocks_pipes_and_excerpts_agree(
    files: dict[str, bytes], name: str, tmp_path: Path
) -> None:
    whole, info = audio.read(io.BytesIO(files[name]))
    piped, about = audio.read(io.BufferedReader(Pipe(files[name])))
    np.testing.assert_array_equal(piped, whole)
    assert about == info
    with audio.Reader(io.BytesIO(files[name])) as reader:
        blocks = list(reader.blocks(block=777))
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
    part = excerpt(io.BytesIO(files[name]), rate=RATE, start=20_000, length=500)
    np.testing.assert_allclose(part, whole[:, 20_000:20_500], atol=1e-6)
    assert abs(glance(io.BytesIO(files[name])).length - info.length) < 4096


@pytest.mark.parametrize("channels", [3, 5, 6, 8])
def test_surround_has_the_order_of_wav(channels: int) -> None:
    made = (".m4a", "-c:a", "alac") if channels < 8 else (".mka", "-c:a", "flac")
    found, _ = audio.read(io.BytesIO(ffmpeg.encoded(tone(channels), RATE, *made)))
    np.testing.assert_allclose(found, tone(channels), atol=1e-4)


@pytest.mark.parametrize(
    "made",
    [(".m4a", "-c:a", "aac"), (".wv", "-c:a", "wavpack"), (".mka", "-c:a", "libvorbis")],
    ids=["aac", "wavpack", "vorbis"],
)
def test_planes_of_eight_channels_and_more_are_those_of_ffmpeg(made: tuple[str, ...]) -> None:
    data = ffmpeg.encoded(tone(8), RATE, *made)
    found, info = audio.read(io.BytesIO(data))
    expected = ffmpeg.decoded(data, 8)
    assert info.channels == 8
    count = min(found.shape[1], expected.shape[1])
    assert count > LENGTH - 1024
    np.testing.assert_allclose(found[:, :count], expected[:, :count], atol=1e-4)


@pytest.mark.parametrize("suffix", [".flac", ".oga"])
def test_flac_of_32_bits_has_its_samples(suffix: str) -> None:
    made = (suffix, "-c:a", "flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "32")
    data = ffmpeg.encoded(tone(2), RATE, *made, "-strict", "-2")
    found, info = audio.read(io.BytesIO(data))
    assert (info.length, info.rate, info.channels) == (LENGTH, RATE, 2)
    np.testing.assert_array_equal(found, ffmpeg.decoded(data, 2))
    part = excerpt(io.BytesIO(data), rate=RATE, start=20_000, length=500)
    np.testing.assert_allclose(part, found[:, 20_000:20_500], atol=1e-6)
    with pytest.raises(MediaError, match="truncated"):
        audio.read(io.BytesIO(data[: len(data) // 2]))


@pytest.mark.parametrize("name", ["aac", "alac", "wma", "mp4", "fragments", "webm", "mka"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_truncated_files_are_refused(
    files: dict[str, bytes], name: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    data = files[name][: int(len(files[name]) * share)]
    with pytest.raises(MediaError, match="truncated"):
        audio.read(io.BytesIO(data))
    assert capfd.readouterr().err == ""


def test_damaged_bytes_are_one_error(files: dict[str, bytes]) -> None:
    rng = np.random.default_rng(0)
    for name in ("aac", "adts", "wma", "mka"):
        for _ in range(8):
            data = bytearray(files[name])
            for at in rng.integers(8, len(data), 20):
                data[at] = rng.integers(256)
            try:
                audio.read(io.BytesIO(bytes(data)))
            except MediaError as error:
                assert "\n" not in str(error)


def test_a_film_without_sound_says_so() -> None:
    picture = ("-f", "lavfi", "-i", "color=s=16x16:d=0.1", "-map", "1:v", "-c:v", "mpeg4")
    with pytest.raises(MediaError, match="MP4 without sound"):
        audio.read(io.BytesIO(ffmpeg.encoded(tone(), RATE, ".mp4", *picture)))


def test_without_the_extra_one_line_names_it_and_the_pipe(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "av" else find(name)
    )
    (tmp_path / "a.m4a").write_bytes(files["aac"])
    with pytest.raises(MediaError, match="MP4 is read by an extra") as caught:
        audio.read(tmp_path / "a.m4a")
    assert "vqtok[av]" in str(caught.value.hint)
    assert "ffmpeg -i" in str(caught.value.hint)


def test_a_suffix_that_is_missing_or_wrong_does_not_matter(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    for name, suffix in (("aac", ""), ("aac", ".mp3"), ("wma", ".wav"), ("adts", ".flac")):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(files[name])
        assert audio.probe(path).subtype == KINDS[name][3]
        assert inputs_of([str(path)], ("image", "audio")).items[0].kind == "audio"


def test_directories_give_sound_but_no_films(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, suffix in (("aac", ".m4a"), ("aac", ""), ("wma", ".WMA"), ("mp4", ".mp4")):
        (tmp_path / f"{name}{suffix}").write_bytes(files[name])
    found = inputs_of([str(tmp_path)], ("image", "audio")).files
    assert [path.name for path in found] == ["aac", "aac.m4a", "wma.WMA"]
    assert inputs_of([str(tmp_path / "mp4.mp4")], ("image", "audio")).items[0].kind == "audio"


def test_memory_is_flat(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(ffmpeg.encoded(tone(1, 30 * RATE), RATE, ".m4a", "-c:a", "alac"))
    tracemalloc.start()
    with audio.Reader(path) as reader:
        total = sum(block.shape[1] for block in reader.blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 30 * RATE  # 5.3 MB if it were held
    assert peak < 2_500_000
