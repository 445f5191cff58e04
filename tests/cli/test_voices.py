"""Converted voices on the command line: as loud as their source, however the codes came."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from tests.conftest import TINY_AUDIO
from vqtok import config, read_codes, write_codes
from vqtok.checkpoints import directory
from vqtok.media.audio.loudness import Loudness
from vqtok.protocols import Config

RATE = 8000


@pytest.fixture(autouse=True)
def voices(here: Path) -> Path:
    """A model with labels, "voices", and two-channel "speech.wav" of two levels at its rate."""
    torch.manual_seed(0)
    model: Any = config.parse(TINY_AUDIO | {"labels": ("anna", "bert")}, Config).build().eval()
    torch.nn.init.normal_(model.labels.vectors, std=3.0)
    model.decoder[-1].bias.data[::2] = -1.0  # an untrained decoder is nearly silent
    directory.save(here / "voices", model)
    noise = np.random.default_rng(0).normal(size=(2 * RATE + 333, 2)) * (0.02, 0.1)
    soundfile.write(here / "speech.wav", noise, RATE, "FLOAT")
    return here


def loudness(path: str | Path | io.BytesIO) -> tuple[float, ...]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    found = Loudness(rate)
    found.add(np.ascontiguousarray(samples.T))
    return found.db


def said(vqtok: Any, codes: str, out: str, *more: str) -> bytes:
    flags = ("-m", "./voices", "--speaker", "anna", "-o", out, "-f")
    run = vqtok("decode", codes, *flags, *more)
    assert run.exit_code == 0, run.stderr
    return Path(out).read_bytes()


@pytest.mark.parametrize("name", ["anna", "bert"])
def test_a_converted_voice_is_as_loud_as_its_source(vqtok: Any, name: str) -> None:
    assert vqtok("encode", "speech.wav", "-m", "./voices", "-o", "s.npy").exit_code == 0
    run = vqtok("decode", "s.npy", "-m", "./voices", "--speaker", name, "-o", "out.wav")
    assert run.exit_code == 0, run.stderr
    assert loudness("out.wav") == pytest.approx(loudness("speech.wav"), abs=0.1)
    assert read_codes("s.npy")[1].source.loudness_db == loudness("speech.wav")


def test_pipes_streams_and_corpora_give_the_same_sound(vqtok: Any) -> None:
    vqtok("encode", "speech.wav", "-m", "./voices", "-o", "s.npy")
    expected = said(vqtok, "s.npy", "file.wav")
    piped = vqtok("encode", "-", "-m", "./voices", input=Path("speech.wav").read_bytes())
    assert b'"stream":1' in piped.stdout_bytes
    Path("piped.npy").write_bytes(piped.stdout_bytes)
    assert said(vqtok, "piped.npy", "piped.wav") == expected
    flags = ("-m", "./voices", "--speaker", "anna", "-o", "through.wav")
    assert vqtok("decode", "-", *flags, input=piped.stdout_bytes).exit_code == 0
    assert Path("through.wav").read_bytes() == expected
    for form in ("files", "tar"):
        vqtok("encode", "speech.wav", "-m", "./voices", "--format", form, "-o", form)
        run = vqtok("decode", form, "-m", "./voices", "--speaker", "anna", "-o", f"out-{form}")
        assert run.exit_code == 0, run.stderr
        (found,) = Path(f"out-{form}").rglob("*.wav")
        samples, wanted = soundfile.read(found)[0], soundfile.read("file.wav")[0]
        np.testing.assert_array_equal(samples, wanted)


def test_codes_that_do_not_say_how_loud_come_back_as_the_decoder_speaks(vqtok: Any) -> None:
    """As those of 0.1.0."""
    vqtok("encode", "speech.wav", "-m", "./voices", "-o", "s.npy")
    codes, header = read_codes("s.npy")
    old = replace(header, source=replace(header.source, loudness_db=()))
    write_codes("old.npy", codes, old)
    said(vqtok, "old.npy", "old.wav")
    model = directory.load("voices")
    tensors = replace(
        codes, levels=tuple(torch.from_numpy(each.astype("int64")) for each in codes.levels)
    )
    x = model.decode(tensors, label="anna")[:, 0].numpy()
    found, _ = soundfile.read("old.wav", always_2d=True)
    np.testing.assert_allclose(found.T, x, atol=1.01 / 32768)


def test_models_without_labels_say_nothing_of_loudness(vqtok: Any) -> None:
    vqtok("encode", "speech.wav", "-o", "s.npy")
    assert b"loudness" not in Path("s.npy").read_bytes()


def test_a_header_of_other_channels_is_damaged(vqtok: Any) -> None:
    vqtok("encode", "speech.wav", "-m", "./voices", "-o", "s.npy")
    codes, header = read_codes("s.npy")
    write_codes(
        "bad.npy", codes, replace(header, source=replace(header.source, loudness_db=(-20.0,)))
    )
    run = vqtok("decode", "bad.npy", "-m", "./voices", "--speaker", "anna", "-o", "x.wav")
    assert run.exit_code == 1
    assert "its channels contradict each other" in run.stderr
    assert not Path("x.wav").exists()
