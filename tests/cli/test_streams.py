"""Standard input and output: what goes where, and what is refused."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tests.cli.pictures import look
from vqtok.codes import files


def test_a_pipe_without_o_carries_codes_and_then_the_picture(vqtok, picture, here):
    picture("photo.png", width=30, height=11)
    encoded = vqtok("encode", "-", input=(here / "photo.png").read_bytes())
    assert (encoded.exit_code, encoded.stderr) == (0, "")
    codes, header = files.read(io.BytesIO(encoded.stdout_bytes))
    assert codes.levels[0].shape == (1, 2, 4)
    assert header.source.name == ""
    decoded = vqtok("decode", "-", input=encoded.stdout_bytes)
    assert (decoded.exit_code, decoded.stderr) == (0, "")
    (here / "back.png").write_bytes(decoded.stdout_bytes)
    assert (look("back.png").size, look("back.png").format) == ((30, 11), "PNG")


def test_audio_passes_through_pipes_too(vqtok, recording, here):
    recording("a.wav", rate=11025, length=3001)
    encoded = vqtok("encode", "-", "--format", "npy", input=(here / "a.wav").read_bytes())
    assert encoded.stdout_bytes.startswith(b"\x93NUMPY")
    decoded = vqtok("decode", "-", "--format", "flac", input=encoded.stdout_bytes)
    assert decoded.stdout_bytes.startswith(b"fLaC")


def test_stdin_can_go_to_a_file_and_a_file_to_stdout(vqtok, picture, here):
    picture("photo.png")
    data = (here / "photo.png").read_bytes()
    assert vqtok("encode", "-", "-o", "x.npy", input=data).stdout == "x.npy\n"
    result = vqtok("encode", "photo.png", "-o", "-", "--format", "npy")
    assert result.stdout_bytes.startswith(b"\x93NUMPY")


def test_a_name_does_not_join_the_bytes_on_stdout(vqtok, picture, here):
    picture("other.png")
    result = vqtok("encode", "-", "other.png", input=(here / "other.png").read_bytes())
    assert result.exit_code == 0, result.stderr
    codes, _ = files.read(io.BytesIO(result.stdout_bytes))
    assert len(codes) == 1
    assert (here / "other.safetensors").exists()


@pytest.mark.parametrize("command", ["encode", "decode", "info"])
def test_an_empty_pipe_is_one_line(vqtok, command):
    result = vqtok(command, "-", input=b"")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "empty" in result.stderr


def test_what_is_no_media_is_one_line(vqtok):
    result = vqtok("encode", "-", input=b"hello, this is text and nothing else")
    assert result.exit_code == 1
    assert "unknown kind" in result.stderr


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_a_terminal_as_input_is_refused(vqtok, monkeypatch):
    from vqtok.media import inputs

    monkeypatch.setattr(inputs.sys, "stdin", Terminal(io.BytesIO()))
    # CliRunner puts its own stdin in place, so the room is asked directly.
    with pytest.raises(inputs.UsageError, match="stdin is a terminal"):
        inputs.inputs_of(["-"], ("image", "audio"))


def test_bytes_are_never_poured_on_a_terminal(picture, monkeypatch):
    from vqtok.cli import console
    from vqtok.errors import UsageError
    from vqtok.pipeline import plans

    plan = plans.for_encode([str(picture("a.png"))], output="-")
    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO()))
    with pytest.raises(UsageError, match="terminal"):
        console.check_stdout((job.target for job in plan.jobs), as_json=False)


def test_json_and_bytes_cannot_share_stdout(vqtok, picture):
    picture("a.png")
    result = vqtok("encode", "a.png", "-o", "-", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""


def test_quiet_prints_nothing_but_errors(vqtok, picture):
    picture("a.png")
    result = vqtok("encode", "a.png", "nope.png", "-q", "-o", "out/")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: nope.png: cannot read: no such file or directory\n"


def test_verbose_tells_each_file_and_the_model(vqtok, picture):
    picture("a.png")
    result = vqtok("encode", "a.png", "-v", "--device", "cpu")
    assert "loading image-f8 from " in result.stderr
    assert result.stderr.count("device cpu, backend ") == 1
    assert "a.png: image-f8, 3×5 codes" in result.stderr


def test_the_summary_speaks_units(vqtok, picture, recording):
    picture("a.png", width=16, height=8)
    recording("b.wav", length=8000)
    lines = vqtok("encode", "a.png", "b.wav").stderr.splitlines()
    assert lines[0].startswith("encoded: 1 image, 2 codes, 0.094 bits per pixel, ")
    assert lines[1].startswith("encoded: 1 recording, 1.0 s, 300 codes, 1.20 kbit/s, ")
    assert lines[0].endswith(" files/s")
    assert lines[1].endswith(" times real time")


def test_a_dry_run_prints_the_plan_and_writes_nothing(vqtok, picture, here):
    for name in ("a.png", "d/b.png"):
        picture(name)
    before = sorted(here.rglob("*"))
    result = vqtok("encode", "a.png", "d", "-o", "out/", "-n")
    assert result.exit_code == 0
    expected = ["a.png -> out/a.safetensors", "d/b.png -> out/b.safetensors"]
    assert result.stdout.splitlines() == expected
    assert sorted(here.rglob("*")) == before
    line = vqtok("encode", "a.png", "-n", "--json").stdout
    assert json.loads(line) == {"source": "a.png", "target": "a.safetensors", "kind": "image"}


def test_templates_name_outputs(vqtok, picture):
    picture("d/a.png")
    picture("d/b.png")
    result = vqtok("encode", "d", "-o", "made/{index:02d}-{stem}.npy")
    assert result.stdout.splitlines() == ["made/00-a.npy", "made/01-b.npy"]


def test_a_quoted_pattern_is_expanded_unless_it_is_a_name(vqtok, picture):
    picture("a[1].png")
    picture("a1.png")
    assert vqtok("encode", "a[1].png").stdout == "a[1].safetensors\n"
    assert vqtok("encode", "a*.png", "-f", "-o", "o/").stdout.splitlines() == [
        "o/a1.safetensors", "o/a[1].safetensors",
    ]  # fmt: skip


def test_a_double_dash_ends_the_options(vqtok, picture):
    picture("-x.png")
    assert vqtok("encode", "-o", "x.npy", "--", "-x.png").stdout == "x.npy\n"


def test_environment_is_below_the_flag(vqtok, picture, monkeypatch):
    picture("a.png")
    monkeypatch.setenv("VQTOK_MODEL", "nothing")
    assert vqtok("encode", "a.png").exit_code == 2
    assert vqtok("encode", "a.png", "-m", "image-f8").exit_code == 0
    monkeypatch.delenv("VQTOK_MODEL")
    monkeypatch.setenv("VQTOK_DEVICE", "nonsense")
    assert vqtok("encode", "a.png", "-f").exit_code == 2
    assert vqtok("encode", "a.png", "-f", "--device", "cpu").exit_code == 0
