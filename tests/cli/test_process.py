"""What only a real process shows: exit codes, signals, pipes and terminals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import LIMIT_S, environment

COMMAND = [sys.executable, "-m", "vqtok"]

SLOW = """
import sys, time
from vqtok.media import audio
real = audio.Writer.write
def slow(self, block):
    real(self, block)
    print("started", file=sys.stderr, flush=True)
    time.sleep(60)
audio.Writer.write = slow
from vqtok.cli import main
sys.argv = ["vqtok", *sys.argv[1:]]
main()
"""
"""The command, except that it takes a minute in the middle of a file."""


CALLED_BACK = """
import sys, time
from vqtok.media import audio
from vqtok.media.audio import sinks
def slow(real):
    def write(self, data):
        if not begun:
            begun.append(True)
            print("started", file=sys.stderr, flush=True)
            time.sleep(60)
        return real(self, data)
    return write
begun = []
for each in (sinks.FileSink, sinks.WavSink):
    each.write = slow(each.write)
real = audio.Writer.write
def patient(self, block):
    real(self, block)
    time.sleep(1)
audio.Writer.write = patient
from vqtok.cli import main
sys.argv = ["vqtok", *sys.argv[1:]]
main()
"""
"""The command, except that the first write that libsndfile asks for takes a minute."""


def start(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen([*arguments], env=environment(), **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_signal_leaves_no_half_file_and_no_traceback(vqtok, recording, here, number, code):
    recording("a.wav", length=30000)
    assert vqtok("encode", "a.wav").exit_code == 0
    process = start(
        sys.executable, "-c", SLOW, "decode", "a.safetensors", stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "started\n"
    assert len(list(here.iterdir())) == 3  # the file that grows
    process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code
    assert errors == ""
    assert sorted(path.name for path in here.iterdir()) == ["a.safetensors", "a.wav"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_signal_while_a_c_library_calls_back_is_not_lost(vqtok, recording, here, number, code):
    recording("a.wav", length=30000)
    assert vqtok("encode", "a.wav").exit_code == 0
    process = start(
        sys.executable, "-c", CALLED_BACK, "decode", "a.safetensors", "-q", stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"started\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=LIMIT_S)
    errors = errors.replace(b"started\n", b"")
    assert process.returncode == code, errors.decode()
    assert errors == b""
    assert sorted(path.name for path in here.iterdir()) == ["a.safetensors", "a.wav"]


def test_a_closed_pipe_ends_it_quietly(here):
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*COMMAND, "--help", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (-signal.SIGPIPE, b"")  # 141 to a shell


def test_codes_are_not_written_to_a_terminal_nor_media_read_from_one(picture, here):
    picture("a.png")
    for arguments, words in (
        (("encode", "a.png", "-o", "-"), b"standard output is a terminal"),
        (("encode", "-"), b"stdin is a terminal"),
    ):
        ours, theirs = pty.openpty()
        process = start(*COMMAND, *arguments, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
        os.close(theirs)
        _, errors = process.communicate(timeout=LIMIT_S)
        os.close(ours)
        assert process.returncode == 2
        assert words in errors


@pytest.mark.slow
def test_the_first_sign_of_life_comes_before_torch_on_a_terminal(picture, here):
    picture("a.png")
    program = (
        "import sys\n"
        "from vqtok.cli import console, main\n"
        "real = console._Bar.aside\n"
        "def aside(self, text):\n"
        "    real(self, text)\n"
        "    print(text, 'torch' in sys.modules, flush=True)\n"
        "console._Bar.aside = aside\n"
        "sys.argv = ['vqtok', 'encode', 'a.png']\n"
        "main()"
    )
    ours, theirs = pty.openpty()
    process = start(sys.executable, "-c", program, stderr=theirs, stdout=subprocess.PIPE, text=True)
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not piece:
            break
        text += piece
    out, _ = process.communicate(timeout=LIMIT_S)
    os.close(ours)
    assert process.returncode == 0
    assert out.splitlines() == ["loading image-f8 False", "a.safetensors"]
    assert b"encoded: 1 image" in text


def test_nothing_but_vqtok_files_are_touched_by_help(here: Path):
    process = start(*COMMAND, "models", stdout=subprocess.PIPE, cwd=here)
    assert b"image-f8" in process.communicate(timeout=LIMIT_S)[0]
    assert list(here.iterdir()) == []


NOISY = """
import ctypes, sys
from vqtok.media import image
real = image.load
def noisy(*arguments, **options):
    ctypes.CDLL(None).perror(b"a library")
    print("Python", file=sys.stderr)
    return real(*arguments, **options)
image.load = noisy
from vqtok.cli import main
sys.argv = ["vqtok", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "heard"), [("-q", False), ("-vv", True)])
def test_what_c_libraries_print_is_heard_with_vv_only(here, picture, flag: str, heard: bool):
    picture("a.png")
    process = start(sys.executable, "-c", NOISY, "encode", "a.png", flag, stderr=subprocess.PIPE)
    errors = process.communicate(timeout=LIMIT_S)[1].decode()
    assert process.returncode == 0
    assert "Python\n" in errors
    assert ("a library" in errors) is heard
