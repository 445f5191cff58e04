"""Only regular files are read as models, lists, JSON and codes: nothing waits, all has an end."""

from __future__ import annotations

import io
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vqtok import config, regular
from vqtok.checkpoints import directory, foreign, resume, weights
from vqtok.codes import files
from vqtok.errors import CodesError, VqtokError
from vqtok.media import inputs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="devices of Linux")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may be no longer than 107 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


ODD: dict[str, Callable[[Path], None]] = {"fifo": fifo, "device": endless, "socket": listening}

READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "json": ("x.json", config.read_json),
    "codes": ("x.npy", files.read),
    "header": ("x.npy", files.read_header),
    "safetensors": ("model.safetensors", weights.read),
    "checkpoint": ("x.ckpt", foreign.recognise),
    "name": ("x.npy", lambda path: directory.describe(str(path))),
    "list": ("x.txt", lambda path: inputs.read_list(f"@{path}")),
    "resume": (resume.FILE, lambda path: resume.read_state(path.parent)),
}


@pytest.fixture(params=ODD)
def odd(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], None]]:
    yield ODD[request.param]


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused(
    tmp_path: Path, odd: Callable[[Path], None], reader: str
):
    name, read = READERS[reader]
    odd(tmp_path / name)
    with pytest.raises(VqtokError, match="not a regular file"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["model.safetensors", "training.json"])
def test_a_model_directory_holds_regular_files(
    tmp_path: Path, odd: Callable[[Path], None], name: str, saved: Path
):
    model = tmp_path / "copy"
    shutil.copytree(saved, model)
    (model / name).unlink(missing_ok=True)
    odd(model / name)
    with pytest.raises(VqtokError, match=f"{name}: .*not a regular file"):
        directory.describe(model)


def test_large_json_is_refused(tmp_path: Path):
    (tmp_path / "x.json").write_bytes(b"{" + b" " * (17 << 20) + b"}")
    with pytest.raises(VqtokError, match="larger than 16 MB"):
        config.read_json(tmp_path / "x.json")


def test_a_file_of_holes_is_refused(tmp_path: Path):
    path = tmp_path / "x.npy"
    with path.open("wb") as stream:
        header = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.uint8))
        np.lib.format.write_array_header_1_0(stream, {**header, "shape": (1 << 38,)})
        stream.truncate((1 << 38) + stream.tell())
    for read in (files.read, files.read_header):
        with pytest.raises(CodesError, match="file of holes"):
            read(path)


def test_what_a_shell_hands_over_is_read(tmp_path: Path):
    reading, writing = os.pipe()
    os.write(writing, b"a.png\nb.png\n")
    os.close(writing)
    try:
        assert inputs.read_list(f"@/dev/fd/{reading}") == ["a.png", "b.png"]
    finally:
        os.close(reading)
    assert regular.is_stream(Path("/dev/stdin"))
    assert not regular.is_stream(Path("/dev/zero"))
    assert not regular.is_stream(tmp_path / "dev" / "stdin")


class Endless(io.RawIOBase):
    """What /dev/zero is when a shell hands it over."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.taken += len(buffer)
        assert self.taken < 1 << 24
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def test_a_stream_without_an_end_that_is_no_codes_is_not_read_to_it():
    with pytest.raises(CodesError, match="not a codes file"):
        files.read(io.BufferedReader(Endless()))
