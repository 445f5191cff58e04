"""Plain values of flags are those that Typer makes, without what Typer makes them with."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import pytest
import typer

from vqtok.cli.plain_values import take_plain_values

CASES = [
    ["a"],
    ["a", "b", "--count", "7"],
    ["a", "--count", "007"],
    ["a", "--count", "0"],
    ["a", "--count", "-3"],
    ["a", "--count", "1.0"],
    ["a", "--count", "1e3"],
    ["a", "--count", "99"],
    ["a", "--count", "x"],
    ["a", "--count", "٣"],
    ["a", "--name", ""],
    ["a", "--name", "n", "--also", "1", "--also", "2"],
    ["a", "--share", "0.5"],
    ["a", "--share", "half"],
    ["a", "-vv", "--yes"],
    [],
]


def outcome(args: list[str], *, plain: bool) -> tuple[int, str]:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    def command(
        files: list[str],
        name: str | None = None,
        count: Annotated[int, typer.Option(min=1, max=20)] = 2,
        also: Annotated[list[str] | None, typer.Option()] = None,
        share: float | None = None,
        verbose: Annotated[int, typer.Option("-v", count=True)] = 0,
        yes: bool = False,
    ) -> None:
        typer.echo(repr((files, name, count, also, share, verbose, yes)))

    made = typer.main.get_command(app)
    if plain:
        take_plain_values(made.params)
    try:
        code = made.main(args, prog_name="x", standalone_mode=False)
    except Exception as error:
        return 1, f"{type(error).__name__}: {error}"
    return int(code or 0), ""


@pytest.mark.parametrize("args", CASES, ids=" ".join)
def test_values_and_messages_are_those_of_typer(args: list[str], capsys: pytest.CaptureFixture):
    theirs = outcome(args, plain=False), capsys.readouterr().out
    assert (outcome(args, plain=True), capsys.readouterr().out) == theirs


def test_a_command_is_parsed_without_pydantic():
    program = (
        "import sys\n"
        "from vqtok.cli.app import app\n"
        "try:\n"
        "    app(['encode', 'none.png', '-j', '2', '-fq'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
