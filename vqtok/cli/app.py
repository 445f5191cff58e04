"""Tree of commands; errors become messages and exit codes here and nowhere else."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vqtok.cli import options, terminal
from vqtok.cli.console import show_error
from vqtok.cli.plain_values import take_plain_values
from vqtok.cli.surroundings import closed_pipe_raises, is_first_rank
from vqtok.errors import ExitCode, VqtokError, explained, of_writing, os_message

COMMANDS = {
    "encode": "encode:encode",
    "decode": "decode:decode",
    "pack": "pack:pack",
    "unpack": "pack:unpack",
    "compose": "compose:compose",
    "eval": "evaluate.command:evaluate",
    "train": "train:train",
    "sample": "sample:sample",
    "convert": "convert:convert",
    "export": "export:export",
    "info": "info:info",
    "models": "models:models",
}
"""Names, as help lists them → file of this folder, and function."""


class _Commands(Mapping[str, Any]):
    """Commands by name, each imported and made when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return _made(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _made(name: str) -> Any:
    """Imports and makes a command, once in a process."""
    file, _, function = COMMANDS[name].partition(":")
    work = getattr(importlib.import_module(f"vqtok.cli.{file}"), function)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name)(options.command(work))
    return typer.main.get_command(alone)


class _Group(TyperGroup):
    """Turns exceptions into one line and an exit code, for the shell and for tests alike."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands()  # type: ignore[assignment]  # Typer adds none

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command; what Typer says of its flags is printed by ``terminal`` too."""
        terminal.begin()
        try:
            code = super().main(*arguments, **{**options, "standalone_mode": False})
        except Exception as error:
            code = _code_of(error)
        lost = terminal.lost()
        if lost is not None and not code:
            show_error(f"standard output: cannot write: {os_message(lost)}", None)
            code = ExitCode.FAILED
        if options.get("standalone_mode", True):
            sys.exit(code or ExitCode.DONE)
        return code

    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)
        take_plain_values(parameters)
        return parameters

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            take_plain_values(command.get_params(ctx))
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            with closed_pipe_raises():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except VqtokError as error:
            if ctx.meta.get("vqtok.verbose", 0) >= 2:
                terminal.trace(error)
            # What is wrong before any work is so on every rank; what fails later may not be.
            together = ctx.invoked_subcommand == "train" and not is_first_rank()
            if not together or error.exit_code != ExitCode.USAGE:
                show_error(str(error), error.hint)
            raise typer.Exit(error.exit_code) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if _is_usage(error):
                raise
            verbose = ctx.meta.get("vqtok.verbose", 0)
            if verbose >= 2:
                terminal.trace(error)
            made = explained(of_writing(error), _place(error))
            show_error(str(made), made.hint)
            raise typer.Exit(ExitCode.FAILED) from error


app = typer.Typer(
    name="vqtok",
    cls=_Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(value: bool) -> None:
    if value:
        from vqtok import __version__

        terminal.result(f"vqtok {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Turn images and audio into discrete codes and back.

    \b
    Examples:
      vqtok encode photo.png -o codes.npy
      vqtok decode codes.npy
    """  # noqa: D301
    if context.invoked_subcommand is None:
        terminal.result(context.get_help())


def _place(error: Exception) -> str:
    """Names what an error is about that names nothing: a current directory that is gone, or ""."""
    try:
        Path.cwd()
    except OSError as gone:
        return "the current directory" if type(gone) is type(error) else ""
    return ""


def _code_of(error: Exception) -> int:
    """Print an error from outside of a command: a flag that is wrong, help that nobody takes."""
    if isinstance(error, OSError):  # nothing but help is written from there
        show_error(f"standard output: cannot write: {os_message(error)}", None)
        return ExitCode.FAILED
    if not _is_usage(error):
        made = explained(error)
        show_error(str(made), made.hint)
        return ExitCode.FAILED
    text = io.StringIO()
    error.show(text)  # type: ignore[attr-defined]
    terminal.message(text.getvalue().rstrip("\n"))
    return int(error.exit_code)  # type: ignore[attr-defined]


def _is_usage(error: Exception) -> bool:
    # Typer's own usage errors print themselves; its base class has no public name in all versions.
    return any(base.__name__ == "ClickException" for base in type(error).__mro__)
