"""Streams that are closed or full, terminals of all kinds, libraries that end the process."""

from __future__ import annotations

import ast
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vqtok as package
from tests.programs import LIMIT_S, environment
from vqtok.cli import console, surroundings, terminal
from vqtok.errors import MediaError, UsageError

COMMAND = [sys.executable, "-m", "vqtok"]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and glibc")


def shell(line: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line in which ``vqtok`` is the command."""
    return subprocess.run(
        ["sh", "-c", line.replace("vqtok", "exec " + " ".join(COMMAND))],
        check=False, capture_output=True, env={**environment(), **more}, timeout=LIMIT_S,
    )  # fmt: skip


@pytest.fixture
def picture_file(picture) -> Path:
    return picture("a.png")


def test_results_that_a_full_disk_does_not_take_are_told_once(picture_file):
    done = shell("vqtok info a.png a.png > /dev/full")
    text = b"Error: standard output: cannot write: no space left on device\n"
    assert (done.returncode, done.stderr) == (1, text)


def test_help_that_a_full_disk_does_not_take_is_a_line(here):
    done = shell("vqtok --help > /dev/full")
    text = b"Error: standard output: cannot write: no space left on device\n"
    assert (done.returncode, done.stderr) == (1, text)


def test_without_a_standard_output_that_is_told(picture_file):
    done = shell("vqtok info a.png >&-")
    text = b"Error: standard output: cannot write: it is closed\n"
    assert (done.returncode, done.stderr) == (1, text)


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_without_a_standard_error_the_exit_code_speaks(here, where):
    done = shell(f"vqtok info none.png {where}")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


@pytest.mark.parametrize(
    "where",
    ["0<&- >out 2>&-", *(pytest.param(w, marks=pytest.mark.slow) for w in ("<&-", "<&- 2>&-"))],
)
def test_closed_streams_are_not_needed_to_describe_a_file(picture_file, here, where):
    done = shell(f"vqtok info a.png {where}")
    assert done.returncode == 0
    assert b"37" in (done.stdout or (here / "out").read_bytes())


def test_a_closed_standard_input_holds_nothing(here):
    done = shell("vqtok info - <&-")
    assert (done.returncode, done.stderr) == (1, b"Error: stdin: empty file\n")


@pytest.mark.parametrize(("encoding", "sign"), [("ascii", b"x"), ("latin-1", b"\xd7")])
def test_an_encoding_that_lacks_our_signs_gets_others(picture_file, encoding, sign):
    done = shell("vqtok info a.png", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"37 " + sign + b" 21 pixels" in done.stdout


def test_a_working_directory_that_is_gone_ends_nothing(picture_file, here):
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; vqtok info {here}/a.png b.png")
    assert b"37" in done.stdout
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line[:6] in (b"Error:", b"Hint: ")]
    assert lines[0] == b"Error: b.png: no such file or model"


def test_torch_is_loaded_where_its_libraries_find_themselves(here, tmp_path, monkeypatch):
    program = (
        "import os, sys\n"
        "sys.argv = ['vqtok']\n"
        "os.chdir(sys.orig_argv[-1]); os.rmdir(os.getcwd())\n"
        "from vqtok.cli import surroundings\n"
        "surroundings.prepare()\n"
        "import torch\n"
        "torch.ones(64, 64).double() @ torch.ones(64, 64).double()\n"
        "torch.fft.rfft(torch.ones(64)); torch.ones(999).exp()\n"
        "print('still here')"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run([sys.executable, "-c", program, str(gone)], capture_output=True,
                          check=False, env=environment(), timeout=LIMIT_S)  # fmt: skip
    assert done.stdout == b"still here\n", done.stderr


@LINUX
def test_a_library_that_ends_the_process_does_not_do_so_without_a_line(here):
    program = (
        "import ctypes, sys\n"
        "from vqtok.cli import app, main\n"
        "def ends(*words, **options):\n"
        "    ctypes.CDLL(None).exit(2)\n"
        "app.app = ends\n"
        "sys.argv = ['vqtok', 'models']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=False, env=environment(), timeout=LIMIT_S)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: a library in C ended the process",
        "Hint: -vv shows what it says",
    ]


def on_terminal(line: str, **more: str) -> tuple[int, bytes]:
    """Exit code and all that a terminal gets."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", line.replace("vqtok", "exec " + " ".join(COMMAND))],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**environment(), "TERM": "xterm", **more},
    )  # fmt: skip
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
    os.close(ours)
    return process.wait(timeout=LIMIT_S), text


def test_a_terminal_gets_no_byte_of_a_name_that_it_would_obey(here):
    for name in (b"n/\x1b]0;PWN\x07a.png", b"n/\x9b31mb.png"):
        (here / "n").mkdir(exist_ok=True)
        Path(os.fsdecode(name)).write_bytes(b"nothing")
    code, text = on_terminal("vqtok info n/*")
    assert code == 1
    assert b"PWN" in text
    assert b"\x1b]" not in text
    assert b"\x9b" not in text
    assert b"\x07" not in text


class Terminal:
    """What rich and we ask of one."""

    def __init__(self, columns: int = 80) -> None:
        self.text = ""
        self.encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_a_progress_bar_shows_no_control_characters(monkeypatch):
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    with console.Console().progress(2, "encoded") as progress:
        progress.stage("\x1b]0;PWN\x07a.png")
        progress.aside("loading \x1b[5mm")
        progress.part(0.5)
    assert "PWN" in stream.text
    assert "\x1b]0" not in stream.text
    assert "\x1b[5m" not in stream.text
    assert "\x07" not in stream.text


def test_errors_hints_results_and_traces_show_no_control_characters(capsys):
    evil = "\x1b[31m\x9b1m\x07\u202e"
    error = MediaError(evil, evil, hint=evil)
    console.show_error(str(error), error.hint)
    console.show_error("x", evil)
    each = console.Console(verbose=2)
    for show in (each.result, each.say, each.note):
        show(f"a{evil}\nb{evil}")
    each.json({"label": evil})
    terminal.trace(error)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert r"\u001b[31m\u009b1m\u0007\u202e" in out
    assert not set(out + err) & set("\x1b\x9b\x07\u202e")


@pytest.mark.parametrize(
    "variables",
    [{"TERM": ""}, {"TERM": "dumb"}, {"COLUMNS": "0"}, {"COLUMNS": "1"}, {"LINES": "0"}],
)
def test_a_terminal_in_which_nothing_can_be_drawn_gets_lines(monkeypatch, variables):
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.is_live(Terminal())  # type: ignore[arg-type]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not terminal.is_live(Terminal())  # type: ignore[arg-type]


def test_every_sign_that_we_print_has_another_in_ascii():
    folder = Path(package.__file__).parent
    for sign in set("".join(path.read_text("utf-8") for path in folder.glob("cli/**/*.py"))):
        if not sign.isascii():
            found, end = surroundings._instead(UnicodeEncodeError("ascii", sign, 0, 1, ""))
            assert end == 1
            assert isinstance(found, str)
            assert found.isascii()
            assert found != "?", sign


PRINTERS = {"print", "echo", "secho", "print_exception", "print_exc", "showwarning", "input"}


def round_the_door(source: str) -> list[str]:
    """Calls that print by another way than ``terminal``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        if last in PRINTERS or name in ("sys.stdout.write", "sys.stderr.write"):
            found.append(name)
    return found


def test_nothing_prints_but_by_the_one_door():
    folder = Path(package.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        if path != folder / "cli/terminal.py":
            assert round_the_door(path.read_text("utf-8")) == [], path


def test_rich_is_used_where_names_are_made_plain_only():
    folder = Path(package.__file__).parent
    users = {str(path.relative_to(folder)) for path in folder.rglob("*.py")
             if "from rich" in path.read_text("utf-8")}  # fmt: skip
    assert users == {"cli/console.py", "cli/training_view.py"}


@pytest.mark.parametrize("source", ["print(1)", "typer.echo('x')", "sys.stderr.write('x')",
                                    "traceback.print_exc()"])  # fmt: skip
def test_the_check_of_the_door_can_fail(source: str):
    assert round_the_door(source)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RANK": "x"}, "RANK=x: not a number"),
        ({"WORLD_SIZE": "2"}, "several processes need MASTER_ADDR"),
        ({"WORLD_SIZE": "0"}, "no process at all"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK=-1: not a number"),
        ({"WORLD_SIZE": "9" * 30}, "not a number"),
    ],
)
def test_an_environment_that_torchrun_never_makes_is_a_usage_error(
    vqtok, here, monkeypatch, variables, words
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = vqtok("train", "--data", "none", "-n")
    assert result.exit_code == 2
    assert words in result.stderr
    # Other commands have nothing to do with it.
    assert "Error: " in vqtok("encode", "none.png").stderr


@pytest.mark.parametrize("flag", ["--threads", "-j"])
def test_more_threads_than_a_machine_starts_are_a_usage_error(vqtok, picture_file, flag):
    for value in ("100000", "9" * 30, "0", "-1", "x"):
        result = vqtok("encode", "a.png", flag, value)
        assert result.exit_code == 2
        assert "Error: " in result.stderr


@pytest.mark.parametrize("name", ["meta", "xla", "cuda:99999999999", "", "cpu:x", "\x1b[31m"])
def test_a_device_that_gives_nothing_back_is_a_usage_error(name):
    from vqtok.checkpoints.devices import pick_device

    with pytest.raises(UsageError) as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "template", ["{index:{bad}}.npy", "{index:{index}}.npy", "{index!x}.npy", "{", "{}",
                 "{index:9999999999999}.npy", "{stem.__class__}.npy", "{stem[0]}.npy"]
)  # fmt: skip
def test_templates_with_odd_fields_are_usage_errors(vqtok, picture_file, template):
    result = vqtok("encode", "a.png", "-o", template)
    assert result.exit_code == 2, result.stderr
    assert result.stderr.startswith("Error: -o {")


def test_paths_reach_programs_byte_by_byte(vqtok, here, capfdbinary):
    name = os.fsdecode(b"caf\xe9\x1b.npy")
    terminal.path(Path(name))
    assert np.array_equal(capfdbinary.readouterr().out, b"caf\xe9\x1b.npy\n")
