"""Encode and decode as a library: generators of results over tokenizers that can be checked."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tests.pipeline.fakes import Pixels, Samples, coder_for
from vqtok.backends.torch_backend import coder
from vqtok.codes import files
from vqtok.media.plan import Job
from vqtok.pipeline.decode import DecodeOptions, decode
from vqtok.pipeline.encode import EncodeOptions, encode
from vqtok.pipeline.results import Done, Failed
from vqtok.protocols import Coder


class Streamed(Samples):
    """``Samples``, coded as the samples arrive."""

    exact = True

    def __init__(self) -> None:
        super().__init__()
        self.pulled: list[int] = []

    def encode_stream(self, blocks):
        for block in blocks:
            self.pulled.append(block.shape[-1])
            yield self.encode(block).levels[0]

    def decode_stream(self, pieces, length=None, **how):
        for piece in pieces:
            array = piece.float()
            yield ((array[:, 0] * 16 + array[:, -1]) / 127.5 - 1)[:, None]


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    levels = (np.arange(35) % 16 * 17).astype(np.uint8).reshape(5, 7)
    Image.fromarray(levels).save(tmp_path / "grey.png")
    return tmp_path / "grey.png"


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    steps = np.arange(150000) % 200 - 100
    soundfile.write(tmp_path / "tone.wav", steps / 127.5, 8000, subtype="FLOAT")
    return tmp_path / "tone.wav"


def test_an_image_is_coded_and_restored_exactly(grey: Path, tmp_path: Path):
    codes, back = tmp_path / "g.npy", tmp_path / "g.png"
    (done,) = encode([Job(grey, codes, "image")], coder_for=coder_for)
    assert isinstance(done, Done)
    assert (done.extent, done.shapes, done.tokens, done.bits) == ((5, 7), ((5, 7),), 35, 140.0)
    assert done.bits_per_pixel == 4.0
    np.testing.assert_array_equal(np.load(codes).ravel(), np.arange(35) % 16)
    (restored,) = decode([Job(codes, back, "codes")], coder_for=lambda header: coder(Pixels()))
    assert isinstance(restored, Done)
    assert (restored.tokens, restored.target) == (35, back)
    with Image.open(back) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(image, np.arange(35).reshape(5, 7) % 16 * 17)


def test_audio_is_streamed_both_ways(tone: Path, tmp_path: Path):
    codes, back = tmp_path / "t.safetensors", tmp_path / "t.flac"
    tokenizer, parts = Streamed(), []
    (done,) = encode(
        [Job(tone, codes, "audio")], coder_for=lambda kind: coder(tokenizer), on_part=parts.append
    )
    assert isinstance(done, Done), done
    assert len(tokenizer.pulled) > 1
    assert sum(tokenizer.pulled) == 150000 == done.extent[0]
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    assert done.duration_s == 18.75
    assert done.kbit_per_s == pytest.approx(8000 * 2 * 4 / 1000)
    (restored,) = decode([Job(codes, back, "codes")], coder_for=lambda header: coder(tokenizer))
    assert isinstance(restored, Done)
    original, decoded = soundfile.read(tone)[0], soundfile.read(back)[0]
    np.testing.assert_allclose(decoded, original, atol=1 / 255 + 1 / 32768)


def test_a_failure_stays_in_its_place(grey: Path, tmp_path: Path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    jobs = [Job(each, tmp_path / f"{i}.npy", "image") for i, each in enumerate([grey, bad, grey])]
    results = list(encode(jobs, coder_for=coder_for, options=EncodeOptions(threads=3)))
    assert [type(each) for each in results] == [Done, Failed, Done]
    assert not (tmp_path / "1.npy").exists()


def test_each_job_is_announced_before_its_model_is_asked_for(grey: Path, tmp_path: Path):
    events: list[str] = []

    def made(kind: str) -> Coder:
        events.append(kind)
        return coder(Pixels())

    jobs = [Job(grey, tmp_path / "a.npy", "image"), Job(grey, tmp_path / "b.npy", "image")]
    for each in encode(jobs, coder_for=made, on_start=lambda job: events.append("start")):
        events.append(type(each).__name__)
    assert events == ["start", "image", "Done"] * 2


def test_streams_take_the_place_of_paths(grey: Path):
    sink, back = io.BytesIO(), io.BytesIO()
    job = Job(None, None, "image")
    (done,) = encode([job], coder_for=coder_for, stdin=io.BytesIO(grey.read_bytes()), stdout=sink)
    assert isinstance(done, Done)
    assert files.read(io.BytesIO(sink.getvalue()))[1].source.name == ""
    (restored,) = decode(
        [Job(None, None, "codes")],
        coder_for=lambda header: coder(Pixels()),
        stdin=io.BytesIO(sink.getvalue()),
        stdout=back,
    )
    assert isinstance(restored, Done)
    assert back.getvalue().startswith(b"\x89PNG")


def test_the_header_says_what_is_needed_to_restore(grey: Path, tone: Path, tmp_path: Path):
    jobs = [Job(grey, tmp_path / "a.npy", "image"), Job(tone, tmp_path / "b.npy", "audio")]
    models = {"image": coder(Pixels()), "audio": coder(Streamed())}
    list(encode(jobs, coder_for=lambda kind: models[kind]))
    image, audio = (files.read_header(tmp_path / f"{name}.npy") for name in "ab")
    assert (image.model, image.source.name, image.source.mode) == ("pixels", "grey.png", "L")
    assert (audio.source.rate, audio.source.length, audio.channels) == (8000, 150000, 1)
    assert image.spec.fingerprint == "0" * 16


def test_depth_may_be_chosen_at_either_end(tone: Path, tmp_path: Path):
    tokenizer = Streamed()
    for name, depth in (("full", None), ("cut", 1)):
        list(
            encode(
                [Job(tone, tmp_path / f"{name}.npy", "audio")],
                coder_for=lambda kind: coder(tokenizer),
                options=EncodeOptions(depth=depth),
            )
        )
    np.testing.assert_array_equal(np.load(tmp_path / "cut.npy"), np.load(tmp_path / "full.npy")[:1])
    for name, depth in (("full", 1), ("cut", None)):
        (done,) = decode(
            [Job(tmp_path / f"{name}.npy", tmp_path / f"{name}.wav", "codes")],
            coder_for=lambda header: coder(tokenizer),
            options=DecodeOptions(depth=depth),
        )
        assert isinstance(done, Done)
        assert done.shapes == ((1, 150000),)
    assert (tmp_path / "full.wav").read_bytes() == (tmp_path / "cut.wav").read_bytes()


def test_the_model_runs_without_gradients(grey: Path, tmp_path: Path):
    seen: list[bool] = []

    class Watching(Pixels):
        def encode(self, x: torch.Tensor):
            seen.append(torch.is_grad_enabled())
            return super().encode(x)

    list(encode([Job(grey, tmp_path / "a.npy", "image")], coder_for=lambda kind: coder(Watching())))
    assert seen == [False]


@pytest.mark.parametrize("change", [{"length": 1 << 53}, {"rate": 8001}, {"length": 1}])
def test_silence_is_not_written_for_as_long_as_a_header_wishes(
    tone: Path, tmp_path: Path, change: dict[str, int]
):
    path, back = tmp_path / "t.npy", tmp_path / "t.wav"
    list(encode([Job(tone, path, "audio")], coder_for=lambda _: coder(Streamed())))
    codes, header = files.read(path)
    lying = replace(header, source=replace(header.source, **change))
    files.write(path, codes, lying)
    (failed,) = decode([Job(path, back, "codes")], coder_for=lambda _: coder(Streamed()))
    assert isinstance(failed, Failed)
    assert "t.npy: damaged header: " in str(failed.error)
    assert not back.exists()


def test_a_model_that_would_give_other_codes_in_pieces_gets_everything_whole(tone, tmp_path):
    tokenizer = Samples()
    job = Job(tone, tmp_path / "tone.npy", "audio")
    (done,) = encode([job], coder_for=lambda kind: coder(tokenizer))
    assert isinstance(done, Done)
    assert tokenizer.lengths == [150000]
    (done,) = decode(
        [Job(tmp_path / "tone.npy", tmp_path / "back.wav", "codes")],
        coder_for=lambda header: coder(tokenizer),
    )
    assert isinstance(done, Done)
    assert soundfile.info(tmp_path / "back.wav").frames == 150000
