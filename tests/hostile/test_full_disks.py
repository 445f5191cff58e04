"""Full disks, for every file that a library writes for us: one error, and no half file.

A limit on the size of files does what a full disk does, in the middle of any write.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.codes.strategies import image as image_codes
from tests.programs import room_for
from vqtok import atomic
from vqtok.errors import MediaError, VqtokError
from vqtok.media import audio, image

NOISE = np.random.default_rng(0).uniform(-1, 1, (3, 96, 128)).astype(np.float32)
SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 48000)).astype(np.float32)


def test_no_compiled_module_is_kept_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "longer.py").write_text(f"found = {'x' * 9999!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):
        with room_for(2000):
            assert len(importlib.import_module("longer").found) == 9999
        del sys.modules["longer"]


def picture(target: Path) -> None:
    writer = image.Writer(target, (96, 128))
    writer.write(NOISE)
    writer.save()


def recording(target: Path) -> None:
    with audio.Writer(target, 48000, 1) as writer:
        writer.write(SOUND)


def plot(target: Path) -> None:
    from vqtok.pipeline import pictures

    pictures.save(target, (NOISE.transpose(1, 2, 0) * 127 + 128).astype(np.uint8))


def weights(target: Path) -> None:
    import torch

    from vqtok.checkpoints import weights as module

    with atomic.file(target) as temporary:
        module.write(temporary, {"x": torch.zeros(9999)})


def state(target: Path) -> None:
    import torch

    from vqtok.checkpoints import resume

    resume.save(target.parent, modules={"model": torch.nn.Linear(99, 99)}, optimizers={}, state={})


def text(target: Path) -> None:
    with atomic.file(target) as temporary:
        temporary.write_text("<html>" * 9999, encoding="utf-8")


PICTURES = {f"p.{suffix}": picture for suffix in ("png", "jpg", "webp", "tiff", "bmp")}
RECORDINGS = {f"s.{suffix}": recording for suffix in ("wav", "flac", "ogg", "opus", "mp3", "aiff")}
OTHERS = {
    "plot.png": plot,
    "model.safetensors": weights,
    "resume.safetensors": state,
    "page.html": text,
}
ALL: dict[str, Callable[[Path], None]] = {**PICTURES, **RECORDINGS, **OTHERS}


@pytest.mark.parametrize("name", ALL)
def test_a_full_disk_is_an_error_and_leaves_no_half_file(tmp_path: Path, name: str):
    write, target = ALL[name], tmp_path / "out" / name
    write(target)
    whole = target.stat().st_size
    target.unlink()
    for size in sorted({1, 512, whole // 2, whole - 512, whole - 1} - {0}):
        with room_for(size), pytest.raises((VqtokError, OSError)) as caught:
            write(target)
        assert "ile too large" in str(caught.value)
        assert list(target.parent.iterdir()) == []
    with room_for(whole):
        write(target)
    assert target.stat().st_size == whole


@pytest.mark.parametrize("name", [*PICTURES, *RECORDINGS])
def test_the_error_names_the_file_and_that_it_was_written(tmp_path: Path, name: str):
    target = tmp_path / name
    with room_for(700), pytest.raises(MediaError) as caught:
        ALL[name](target)
    assert str(caught.value) == f"{target}: cannot write: file too large"


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_codes_on_a_full_disk(tmp_path: Path, suffix: str):
    from vqtok import write_codes

    codes, header = image_codes()
    target = tmp_path / f"c.{suffix}"
    with room_for(100), pytest.raises(VqtokError, match="cannot write"):
        write_codes(target, codes, header)
    assert list(tmp_path.iterdir()) == []


def test_training_on_a_full_disk_is_one_line(tmp_path: Path, monkeypatch, shelf):
    from PIL import Image
    from typer.testing import CliRunner

    from vqtok.cli.app import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQTOK_MODELS", str(shelf))
    (tmp_path / "in").mkdir()
    for number in range(3):
        pixels = np.full((32, 32, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"in/{number}.png")
    words = ("train", "--data", "in/", "-o", "t", "-m", "image-f8", "--steps", "1", "--batch", "2",
             "--set", "train.window=16", "--set", "train.workers=0")  # fmt: skip
    with room_for(2000):
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 1, result.output
    (line,) = [each for each in result.stderr.splitlines() if each.startswith("Error: ")]
    assert line.endswith("cannot write: file too large")
    assert "internal" not in result.stderr
    assert not list((tmp_path / "t").glob("*.safetensors"))
