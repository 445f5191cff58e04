"""Dataclasses of flags become the parameters that Typer reads, and back."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import typer

from vqtok.cli import options

Size = Annotated[int, typer.Option("--size")]


@dataclass(frozen=True, kw_only=True)
class Group:
    size: Size = 3
    force: options.Force = False


@dataclass(frozen=True, kw_only=True)
class Flags:
    name: Annotated[str, typer.Option("--name")]
    group: Group
    last: Annotated[str, typer.Option("--last")] = "z"


def test_groups_within_groups_become_flags_in_the_order_of_their_fields():
    got: list[tuple[list[str], Flags]] = []

    def work(files: options.Files, flags: Flags) -> None:
        """Do it."""
        got.append((files, flags))

    run = options.command(work)
    parameters = inspect.signature(run).parameters
    assert list(parameters) == ["files", "name", "size", "force", "last"]
    assert [parameters[each].default for each in ("size", "force", "last")] == [3, False, "z"]
    assert parameters["name"].default is inspect.Parameter.empty
    assert parameters["size"].annotation == Size
    assert run.__doc__ == "Do it."
    run(files=["a"], name="b", size=5, force=True, last="c")
    assert got == [(["a"], Flags(name="b", group=Group(size=5, force=True), last="c"))]
