"""Sound through real pipes: codes and samples leave before the input ends."""

from __future__ import annotations

import io
import os
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.programs import LIMIT_S, environment
from vqtok.codes import files

COMMAND = [sys.executable, "-m", "vqtok"]
RATE = 8000
HEAD = 44


def wav(seconds: float) -> bytes:
    """A mono recording, as a program that writes into a pipe makes it: its length is not known."""
    t = np.arange(int(seconds * RATE)) / RATE
    file = io.BytesIO()
    soundfile.write(file, 0.4 * np.sin(2 * np.pi * 300 * t), RATE, format="WAV")
    data = file.getvalue()
    unknown = struct.pack("<I", 0xFFFFFFFF)
    return data[:4] + unknown + data[8 : HEAD - 4] + unknown + data[HEAD:]


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [*COMMAND, *arguments, "--no-progress"]  # which a slow machine would tell of
    return subprocess.Popen(command, env=environment(), **(streams | options))


def wait_for(stream: Any, count: int, *, seconds: float = LIMIT_S) -> bytes:
    """At least so many bytes of a pipe that stays open."""
    data, end = b"", time.monotonic() + seconds
    while len(data) < count:
        ready, _, _ = select.select([stream], [], [], max(0, end - time.monotonic()))
        assert ready, f"{len(data)} of {count} bytes came in {seconds} s"
        piece = os.read(stream.fileno(), 65536)
        assert piece, f"the pipe ended after {len(data)} bytes"
        data += piece
    return data


@pytest.mark.slow
def test_codes_leave_before_the_recording_ends(here: Path):
    data = wav(16)
    (here / "a.wav").write_bytes(data)
    whole = subprocess.run(
        [*COMMAND, "encode", "a.wav", "-qo", "a.npy"], env=environment(), check=True
    )
    assert whole.returncode == 0
    process = start("encode", "-")
    process.stdin.write(data[: HEAD + 2 * 10 * RATE])
    process.stdin.flush()
    # A tile of 750 frames is 7.5 s of it; its codes are there while the rest is still to be said.
    early = wait_for(process.stdout, 3 * 750)
    assert b'{"stream":1,' in early[:200]
    late, errors = process.communicate(data[HEAD + 2 * 10 * RATE :], timeout=LIMIT_S)
    assert (process.returncode, errors) == (0, b"")
    codes, header = files.read(io.BytesIO(early + late))
    expected, expected_header = files.read(here / "a.npy")
    np.testing.assert_array_equal(codes.levels[0], expected.levels[0])
    assert header.extent == expected_header.extent == (16 * RATE,)
    assert header.source.length == 16 * RATE


@pytest.mark.slow
def test_sound_is_played_before_the_recording_ends_and_is_that_of_the_file(here: Path):
    data = wav(20.01)
    (here / "a.wav").write_bytes(data)
    for arguments in (["encode", "a.wav", "-qo", "a.npy"], ["decode", "a.npy", "-qo", "b.wav"]):
        subprocess.run([*COMMAND, *arguments], env=environment(), check=True)
    encoder = start("encode", "-")
    decoder = start("decode", "-", stdin=encoder.stdout)
    encoder.stdout.close()
    encoder.stdin.write(data[: HEAD + 2 * 16 * RATE])
    encoder.stdin.flush()
    early = wait_for(decoder.stdout, HEAD + 2 * 7 * RATE)
    assert encoder.poll() is None
    encoder.stdin.write(data[HEAD + 2 * 16 * RATE :])
    encoder.stdin.close()
    late, errors = decoder.communicate(timeout=LIMIT_S)
    assert (decoder.returncode, errors, encoder.wait()) == (0, b"", 0)
    encoder.stderr.close()
    played = early + late
    assert played[HEAD:] == (here / "b.wav").read_bytes()[HEAD:]
    assert struct.unpack("<4xI32xI", played[:HEAD]) == (0xFFFFFFFF, 0xFFFFFFFF)


@pytest.mark.slow
def test_what_arrived_of_a_cut_stream_is_played_and_then_an_error(vqtok, recording, here: Path):
    recording("a.wav", length=16 * RATE)
    data = (here / "a.wav").read_bytes()
    stream = vqtok("encode", "-", input=data).stdout_bytes
    assert vqtok("decode", "-", input=stream).exit_code == 0
    cut = stream[: stream.rindex(b"\x93NUMPY")]
    result = vqtok("decode", "-", input=cut)
    assert result.exit_code == 1
    assert "Error: stdin: truncated: the stream ends without its closing record" in result.stderr
    assert len(result.stdout_bytes) == HEAD + 2 * 16 * RATE
    result = vqtok("decode", "-", "-o", "b.wav", input=cut)
    assert result.exit_code == 1
    assert sorted(path.name for path in here.iterdir()) == ["a.wav"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["encode", "decode"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
@pytest.mark.parametrize("target", ["-", "out"])
def test_a_signal_ends_a_flow_without_a_word(vqtok, here: Path, verb, number, code, target):
    data = wav(20)
    if verb == "decode":
        data = vqtok("encode", "-", input=data).stdout_bytes
    suffix = {"encode": ".npy", "decode": ".wav"}[verb]
    place = ["-o", "out" + suffix] if target == "out" else []
    form = ["--format", "stream"] if verb == "encode" else []
    process = start(verb, "-", *place, *form)
    process.stdin.write(data[:-1000])
    process.stdin.flush()
    if target == "-":
        wait_for(process.stdout, 500)
    else:
        end = time.monotonic() + LIMIT_S
        while not list(here.iterdir()):
            assert time.monotonic() < end
            time.sleep(0.05)
    process.send_signal(number)
    process.wait(timeout=LIMIT_S)  # with its input still open: it must not end for another reason
    process.stdin.close()
    process.stdin = None
    _, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (code, b"")
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_writer_quietly(here: Path):
    process = start("encode", "-")
    data = wav(30)
    process.stdout.close()
    process.stdout = None
    try:
        _, errors = process.communicate(data, timeout=LIMIT_S)
    except BrokenPipeError:
        _, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (-signal.SIGPIPE, b"")


@pytest.mark.slow
def test_a_reader_that_leaves_while_files_are_written_leaves_no_temporary_file(picture, here: Path):
    for i in range(8):
        picture(f"in/{i}.png", width=600, height=400)
    subprocess.run([*COMMAND, "encode", "in", "-qo", "codes/"], env=environment(), check=True)
    reader, writer = os.pipe()
    process = start("decode", "codes", "-o", "out/", stdout=writer)
    os.close(writer)
    os.read(reader, 1)  # the first name, then no more
    os.close(reader)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == -signal.SIGPIPE, errors
    names = [path.name for path in (here / "out").iterdir()]
    assert names
    assert not [name for name in names if name.startswith(".")]
