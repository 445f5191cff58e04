"""Every bad input: one clear line, the right exit code, no traceback, and the others go on."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.media.files import png
from tests.programs import room_for

FULL = Path("/dev/full")


def lines_of(result) -> list[str]:
    return [line for line in result.stderr.splitlines() if not line.startswith("encoded: ")]


def missing(here: Path, picture, recording) -> str:
    return "nope.png"


def folder_without_media(here: Path, picture, recording) -> str:
    (here / "empty").mkdir()
    (here / "empty/notes.txt").write_text("nothing")
    return "empty"


def empty_file(here: Path, picture, recording) -> str:
    (here / "empty.png").touch()
    return "empty.png"


def truncated(name: str) -> Callable[..., str]:
    def make(here: Path, picture, recording) -> str:
        (recording if name.endswith("wav") else picture)(name, **({"length": 4000}
            if name.endswith("wav") else {"width": 200, "height": 200}))  # fmt: skip
        data = (here / name).read_bytes()
        (here / name).write_bytes(data[: len(data) // 2])
        return name

    return make


def text_renamed(here: Path, picture, recording) -> str:
    (here / "text.png").write_text("this is no picture, whatever its name says\n")
    return "text.png"


def no_samples(here: Path, picture, recording) -> str:
    soundfile.write("silent.wav", np.zeros(0), 8000)
    return "silent.wav"


def nan_samples(here: Path, picture, recording) -> str:
    samples = np.zeros(1000)
    samples[500] = np.nan
    soundfile.write("nan.wav", samples, 8000, subtype="FLOAT")
    return "nan.wav"


def bomb(here: Path, picture, recording) -> str:
    header = (60000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    (here / "bomb.png").write_bytes(png(header, b"\0" * 100))
    return "bomb.png"


def unreadable(here: Path, picture, recording) -> str:
    picture("secret.png")
    (here / "secret.png").chmod(0)
    return "secret.png"


def codes_instead_of_media(here: Path, picture, recording) -> str:
    np.save("codes.npy", np.zeros(3))
    return "codes.npy"


BAD = {
    "missing file": (missing, "no such file"),
    "directory without media": (folder_without_media, "no image or audio files"),
    "empty file": (empty_file, "empty"),
    "truncated JPEG": (truncated("cut.jpg"), "truncated"),
    "truncated PNG": (truncated("cut.png"), "truncated"),
    "truncated WAV": (truncated("cut.wav"), "truncated"),
    "text renamed .png": (text_renamed, "not an image"),
    "no samples": (no_samples, "no audio samples"),
    "NaN samples": (nan_samples, "sample is nan"),
    "decompression bomb": (bomb, "more than the limit"),
    "codes": (codes_instead_of_media, "expected image or audio"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_clear_line_and_the_others_go_on(vqtok, here, picture, recording, case):
    make, words = BAD[case]
    name = make(here, picture, recording)
    picture("good.png")
    result = vqtok("encode", name, "good.png", "-o", "out/")
    assert result.exit_code == 1
    assert (here / "out/good.safetensors").exists()
    assert [path.name for path in (here / "out").iterdir()] == ["good.safetensors"]
    errors = [line for line in lines_of(result) if line.startswith("Error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"Error: {name}: ")
    assert words in errors[0]


@pytest.mark.parametrize("case", BAD)
def test_alone_it_fails_with_one_line_and_an_optional_hint(vqtok, here, picture, recording, case):
    make, words = BAD[case]
    result = vqtok("encode", make(here, picture, recording))
    assert result.exit_code == 1
    first, *rest = lines_of(result)
    assert words in first
    assert len(rest) <= 1
    assert all(line.startswith("Hint: ") for line in rest)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_does_not_stop_the_others(vqtok, here, picture, recording):
    unreadable(here, picture, recording)
    picture("good.png")
    result = vqtok("encode", "secret.png", "good.png")
    assert result.exit_code == 1
    assert "Error: secret.png: cannot read: permission denied" in result.stderr
    assert (here / "good.safetensors").exists()


def test_permission_errors_are_one_line(vqtok, here, picture, monkeypatch):
    picture("secret.png")
    picture("good.png")
    real = Path.open

    def guarded(self: Path, *arguments, **options):
        if self.name == "secret.png":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)
    result = vqtok("encode", "secret.png", "good.png")
    assert result.exit_code == 1
    assert "Error: secret.png: cannot read: permission denied" in result.stderr
    assert (here / "good.safetensors").exists()


def test_an_unwritable_output_is_known_before_any_work(vqtok, picture, monkeypatch):
    picture("photo.png")
    monkeypatch.setattr(os, "access", lambda *arguments, **options: False)
    result = vqtok("encode", "photo.png", "-o", "out/")
    assert result.exit_code == 2
    assert "cannot write there: permission denied" in result.stderr


def test_an_output_below_a_file_is_refused(vqtok, picture):
    picture("photo.png")
    result = vqtok("encode", "photo.png", "-o", "photo.png/codes.npy")
    assert result.exit_code == 2
    assert "photo.png is not a directory" in result.stderr


def test_existing_outputs_are_refused_together_before_any_work(vqtok, picture, here):
    for name in ("a.png", "b.png", "c.png"):
        picture(name)
    (here / "a.safetensors").write_text("mine")
    (here / "c.safetensors").write_text("mine")
    result = vqtok("encode", "a.png", "b.png", "c.png")
    assert result.exit_code == 2
    assert lines_of(result)[0] == "Error: a.safetensors, c.safetensors: already exist"
    assert "-f" in lines_of(result)[1]
    assert not (here / "b.safetensors").exists()
    assert (here / "a.safetensors").read_text() == "mine"


def test_force_overwrites_and_skip_existing_resumes(vqtok, picture, here):
    picture("a.png")
    picture("b.png")
    (here / "a.safetensors").write_text("mine")
    result = vqtok("encode", "a.png", "b.png", "--skip-existing")
    assert (result.exit_code, result.stdout) == (0, "b.safetensors\n")
    assert (here / "a.safetensors").read_text() == "mine"
    assert vqtok("encode", "a.png", "b.png", "-f").exit_code == 0
    assert (here / "a.safetensors").read_bytes() != b"mine"


def test_colliding_outputs_are_refused(vqtok, picture):
    picture("a.png")
    picture("d/a.png")
    result = vqtok("encode", "a.png", "d/a.png", "-o", "out/")
    assert result.exit_code == 2
    assert "a.safetensors: both a.png and d/a.png would be written there" in result.stderr


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_full_disk_is_one_line(vqtok, picture, command):
    picture("photo.png")
    format = "npy"
    if command == "decode":
        vqtok("encode", "photo.png", "-o", "photo.npy")
        format = "png"
    source = "photo.png" if command == "encode" else "photo.npy"
    result = vqtok(command, source, "-o", str(FULL), "--format", format)
    assert result.exit_code == 1
    assert len(lines_of(result)) == 1
    assert result.stderr.lower().startswith("error: /dev/full: cannot write: no space left")


def test_a_file_size_limit_leaves_no_half_file(vqtok, recording, here):
    recording("speech.wav", length=30000)
    vqtok("encode", "speech.wav")
    with room_for(20000):
        result = vqtok("decode", "speech.safetensors")
    assert result.exit_code == 1
    assert "speech.recon.wav: cannot write: file too large" in result.stderr
    assert sorted(path.name for path in here.iterdir()) == ["speech.safetensors", "speech.wav"]


def test_an_unknown_model_is_a_usage_error_that_suggests(vqtok, picture):
    picture("photo.png")
    result = vqtok("encode", "photo.png", "-m", "image-f9")
    assert result.exit_code == 2
    assert "'image-f9': unknown model" in result.stderr
    assert "did you mean image-f8?" in result.stderr


def test_a_model_of_the_wrong_kind_fails_those_files_alone(vqtok, picture, recording, here):
    picture("photo.png")
    recording("a.wav")
    recording("b.wav")
    result = vqtok("encode", "a.wav", "photo.png", "b.wav", "-m", "image-f8")
    assert result.exit_code == 1
    assert (here / "photo.safetensors").exists()
    expected = "Error: a.wav, b.wav: model image-f8 is for images, not for audio"
    assert expected in result.stderr.splitlines()


@pytest.fixture
def broken(here: Path, shelf: Path) -> Path:
    shutil.copytree(shelf / "image-f8", here / "broken")
    return here / "broken"


def test_a_corrupted_checkpoint_is_one_line_however_many_files(vqtok, picture, broken):
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for name in ("a.png", "b.png"):
        picture(name)
    result = vqtok("encode", "a.png", "b.png", "-m", "broken/")
    assert result.exit_code == 1
    errors = [line for line in lines_of(result) if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "broken/model.safetensors" in errors[0]
    assert "truncated" in errors[0]


def test_a_config_with_a_typo_names_the_key(vqtok, picture, broken):
    picture("a.png")
    config = json.loads((broken / "config.json").read_text())
    config["model"]["kernle"] = config["model"].pop("kernel")
    (broken / "config.json").write_text(json.dumps(config))
    result = vqtok("encode", "a.png", "-m", "broken/")
    assert result.exit_code == 2
    assert "kernle: unknown key" in result.stderr
    assert "did you mean kernel?" in result.stderr


def test_codes_of_another_model_are_refused_by_fingerprint(vqtok, picture, broken):
    picture("a.png")
    vqtok("encode", "a.png", "-o", "a.npy")
    config = json.loads((broken / "config.json").read_text())
    config["model"]["kernel"] = 5
    (broken / "config.json").write_text(json.dumps(config))
    result = vqtok("decode", "a.npy", "-m", "broken/")
    assert result.exit_code == 1
    assert "made with model image-f8" in result.stderr
    assert "-m image-f8" in result.stderr


def test_codes_whose_model_is_not_here_say_so(vqtok, picture, monkeypatch, here):
    picture("a.png")
    vqtok("encode", "a.png", "-o", "a.npy")
    monkeypatch.setenv("VQTOK_MODELS", str(here))
    monkeypatch.setattr("vqtok.checkpoints.registry.search_path", lambda: [here])
    result = vqtok("decode", "a.npy")
    assert result.exit_code == 1
    assert "a.npy: made by model image-f8 (fingerprint " in result.stderr
    assert "VQTOK_MODELS" in result.stderr


def test_damaged_codes_do_not_stop_the_others(vqtok, picture, here):
    picture("a.png")
    vqtok("encode", "a.png", "-o", "a.npy")
    (here / "cut.npy").write_bytes((here / "a.npy").read_bytes()[:-40])
    np.save("float.npy", np.zeros((2, 2)))
    (here / "empty.npy").touch()
    result = vqtok("decode", "cut.npy", "float.npy", "empty.npy", "missing.npy", "a.npy")
    assert result.exit_code == 1
    assert result.stdout == "a.recon.png\n"
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert sorted(line.split(": ")[1] for line in errors) == [
        "cut.npy", "empty.npy", "float.npy", "missing.npy",
    ]  # fmt: skip


def test_an_image_cannot_be_decoded_to_a_sound_file(vqtok, picture):
    picture("a.png")
    vqtok("encode", "a.png")
    result = vqtok("decode", "a.safetensors", "-o", "back.wav")
    assert result.exit_code == 2
    assert "codes of an image cannot be written as audio" in result.stderr


def test_depth_beyond_the_model_is_refused(vqtok, recording, picture):
    recording("a.wav")
    picture("b.png")
    result = vqtok("encode", "a.wav", "--depth", "9")
    assert result.exit_code == 1
    assert "Error: a.wav: depth 9 is not between 1 and 3" in result.stderr
    result = vqtok("encode", "b.png", "--depth", "1")
    assert result.exit_code == 1
    assert "Error: b.png: these codes have one codebook" in result.stderr


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_a_usage_error(vqtok, picture, name):
    picture("a.png")
    result = vqtok("encode", "a.png", "--device", name)
    assert result.exit_code == 2
    assert f"Error: --device {name}: " in result.stderr


def test_a_colour_that_is_none_is_a_usage_error(vqtok, picture):
    picture("a.png")
    result = vqtok("encode", "a.png", "--background", "blurple")
    assert result.exit_code == 2
    assert "blurple" in result.stderr


@pytest.mark.parametrize("name", ["x.bin", "x.png", "x"])
def test_an_output_that_is_no_codes_file_is_refused_early(vqtok, picture, name):
    picture("a.png")
    result = vqtok("encode", "a.png", "-o", name)
    assert result.exit_code == 2
    assert ".safetensors" in result.stderr


def test_a_bug_is_one_line_unless_vv(vqtok, picture, monkeypatch):
    picture("a.png")

    def explode(*arguments, **options):
        raise TypeError("something of ours")

    monkeypatch.setattr("vqtok.media.image.load", explode)
    result = vqtok("encode", "a.png")
    assert result.exit_code == 1
    assert "Error: a.png: internal: TypeError: something of ours" in result.stderr
    assert "-vv" in result.stderr
    assert "Traceback" in vqtok("encode", "a.png", "-vv").stderr
    monkeypatch.setattr("vqtok.pipeline.plans.for_encode", explode)
    result = vqtok("encode", "a.png")
    assert result.exit_code == 1
    assert "Error: internal: TypeError: something of ours" in result.stderr
    assert "Traceback" in vqtok("encode", "a.png", "-vv").stderr


@pytest.mark.parametrize("flags", [("-o", "b.gif"), ("--format", "gif"), ("-o", "b.xyz")])
def test_formats_that_cannot_be_written_are_refused_before_the_work(vqtok, picture, here, flags):
    picture("a.png")
    vqtok("encode", "a.png", "-o", "a.npy")
    result = vqtok("decode", "a.npy", *flags)
    assert result.exit_code == 2
    assert "png" in result.stderr and "gif," not in result.stderr
    assert "loading" not in result.stderr
    assert sorted(path.name for path in here.iterdir()) == ["a.npy", "a.png"]
