"""Commands are imported when they are wanted: one starts without the others."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import typer.main

from tests.programs import run
from vqtok.cli.app import COMMANDS, app

FILES = {each.partition(":")[0] for each in COMMANDS.values()}
PROGRAM = (
    "import sys\n"
    "from vqtok.cli.app import app\n"
    "try:\n"
    "    app({arguments!r})\n"
    "except SystemExit:\n"
    "    pass\n"
    "print(*sorted(set({names!r}) & set(sys.modules)), file=sys.stderr)"
)


def imported(names: set[str], *arguments: str) -> set[str]:
    done = run(PROGRAM.format(arguments=list(arguments), names=sorted(names)))
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_a_command_imports_no_other():
    modules = {f"vqtok.cli.{file}" for file in FILES}
    assert imported(modules, "info", "--help") == {"vqtok.cli.info"}
    assert imported(modules, "--version") == set()
    assert imported(modules, "--help") == modules


def test_pictures_need_nothing_of_sound_and_sound_nothing_of_pictures(here: Path):
    both = {"PIL", "soundfile"}
    photo = Path(__file__).parents[1] / "data" / "photo.png"
    assert imported(both, "encode", str(photo), "-o", str(here / "c.npy")) == {"PIL"}
    assert imported(both, "decode", str(here / "c.npy"), "-o", str(here / "p.png")) == {"PIL"}
    import numpy as np
    import soundfile

    soundfile.write(here / "talk.wav", np.zeros(2400), 24000)
    talk = here / "talk.npy"
    assert imported(both, "encode", str(here / "talk.wav"), "-o", str(talk)) == {"soundfile"}
    assert imported(both, "decode", str(talk), "-o", str(here / "back.wav")) == {"soundfile"}


def test_each_command_is_in_the_file_that_is_named():
    group = typer.main.get_command(app)
    assert list(group.commands) == list(COMMANDS)  # type: ignore[attr-defined]
    for name in COMMANDS:
        assert group.commands[name].name == name  # type: ignore[attr-defined]


def test_the_help_of_all_commands_is_listed(vqtok):
    lines = vqtok("--help").stdout.splitlines()
    table = lines[lines.index("Commands:") + 1 :]
    for name, place in COMMANDS.items():
        file, _, function = place.partition(":")
        path = Path(__file__).parents[2] / "vqtok" / "cli" / f"{file.replace('.', '/')}.py"
        (work,) = (
            each
            for each in ast.parse(path.read_text()).body
            if isinstance(each, ast.FunctionDef) and each.name == function
        )
        text = " ".join((ast.get_docstring(work) or "").split())
        (line,) = (each for each in table if each.split()[:1] == [name])
        assert text.startswith(line.split(maxsplit=1)[1].rstrip("."))


def test_a_mistyped_command_is_answered_with_the_nearest(vqtok):
    result = vqtok("enconde", "a.png")
    assert result.exit_code == 2
    assert "'encode'" in result.stderr


@pytest.mark.parametrize(("begun", "found"), [("e", ["encode", "eval", "export"]), ("z", [])])
def test_the_shell_completes_commands(monkeypatch, here, begun, found):
    monkeypatch.setenv("_VQTOK_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"vqtok {begun}")
    monkeypatch.setenv("COMP_CWORD", "1")
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, [], prog_name="vqtok")
    assert result.stdout.split() == found
