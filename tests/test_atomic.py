"""Write-then-rename: whole files or none, also when the process is killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import environment
from vqtok import atomic


def test_a_file_appears_when_it_is_whole(tmp_path: Path):
    target = tmp_path / "deep" / "a.png"
    with atomic.file(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(".")
        assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic.file(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_gets_the_permissions_that_open_gives(tmp_path: Path):
    with (tmp_path / "plain").open("w"):
        pass
    with atomic.file(tmp_path / "atomic"):
        pass
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path):
    target = tmp_path / "a"
    target.touch()
    target.chmod(0o640)
    with atomic.file(target):
        pass
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_symbolic_link_stays_one(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic.file(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_pipe_is_written_into_and_not_replaced(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        with atomic.file(pipe) as temporary:
            temporary.write_text("new")
        assert reader.communicate()[0] == b"new"
    assert pipe.is_fifo()


def test_a_directory_in_the_way_is_an_os_error(tmp_path: Path):
    with pytest.raises(IsADirectoryError), atomic.file(tmp_path):
        pass


def test_the_longest_name_can_be_written(tmp_path: Path):
    for letter in ("a", "é"):
        target = tmp_path / (letter * (251 // len(letter.encode())) + ".png")
        with atomic.file(target) as temporary:
            temporary.write_text("new")
        assert target.read_text() == "new"


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path):
    target = tmp_path / "model"
    for text in ("one", "two"):
        with atomic.directory(target) as temporary:
            (temporary / text).write_text(text)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("renames", [0, 1])
def test_an_interrupted_replacement_leaves_the_old_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
):
    target = tmp_path / "model"
    with atomic.directory(target) as temporary:
        (temporary / "old").touch()
    real, calls = Path.replace, []

    def replace(self: Path, other: Path) -> Path:
        calls.append(self)
        if len(calls) == renames + 1:
            raise KeyboardInterrupt
        return real(self, other)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", replace)
        with atomic.directory(target) as temporary:
            (temporary / "new").touch()
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    program = (
        "import sys, time; from pathlib import Path; from vqtok import atomic\n"
        "with atomic.file(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); print(flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    assert target.read_text() == "old"
