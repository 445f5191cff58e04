"""Every option of every command with odd values: one line and an exit code, never a trace.

The options are those of the Typer application, so that a new one is swept as well. Each value is
given to a command that would do its work without it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tests.conftest import TINY_IMAGE
from vqtok.cli.app import app

HUGE = "9" * 25
NO_NUMBERS = ("", "text", "nan", "inf", "-inf", "1e400", "-1", "1,5")
"""What no option that takes a number takes."""
VALUES = (
    *NO_NUMBERS,
    *(
        "0",
        "1",
        HUGE,
        "1.5",
        "0x10",
        "0x0",
        "99999x99999",
        "1,1",
        "a=b",
        "=",
        "{",
        "{index",
        "--",
        "-",
    ),
    *("folder", "photo.png", "absent/x", "photo.png/x", "@absent", "@photo.png", "*", "[", "~"),
    *("ünï😀", "a\x1b[31mb\nc", "\u202etxt", "x" * 300, "x" * 5000, "\udcff"),
)
FAST = ("", "-1", HUGE, "a\x1b[31mb\nc")

STEP = 5
"""Every which is tried by default: an option has six commands, so each option is tried."""

PART = 7
"""Every which command of all is tried in CI: options have other numbers of values, so all occur."""

BASES: dict[str, tuple[tuple[str, ...], ...]] = {
    "encode": (
        ("photo.png", "-o", "out/c.npy"),
        ("speech.wav", "-o", "out/s.npy"),
        ("photos", "-o", "out/corpus", "--format", "tar"),
    ),
    "decode": (
        ("c.npy", "-o", "out/p.png"),
        ("s.npy", "-o", "out/s.wav"),
        ("flat.npy", "-m", "image-f8", "-o", "out/f.png"),
        ("corpus", "-o", "out/"),
    ),
    "compose": (("corpus", "-o", "out/tokens"), ("corpus", "-o", "out/rows", "--layout", "rows")),
    "eval": (("photo.png",), ("speech.wav", "-o", "out/"), ("c.npy", "-m", "p")),
    "train": (("--data", "photos", "-o", "out/t", "--preset", "tiny.json", "-n"),),
    "sample": (
        ("-m", "p", "-o", "out/g.png", "-n"),
        ("-m", "a", "-o", "out/{index}.wav", "-n"),
        ("-m", "p", "-o", "out/c.npy"),
    ),
    "convert": (("foreign.pt", "-o", "out/m"),),
    "export": (("image-f8", "-o", "out/m"),),
    "info": (("photo.png",), ("image-f8",), ("c.npy", "--plot", "out/c.png"), ("corpus",)),
    "models": ((),),
    "pack": (("c.npy", "-o", "out/c.vqz"),),
    "unpack": (("c.vqz", "-o", "out/c.npy"),),
}
FIRST = {"encode": ("-o", "out/c.npy"), "decode": ("-o", "out/p.png"), "eval": (), "info": ()}
"""What goes with odd arguments."""
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def is_number(option: Any) -> bool:
    return option.type_descriptor.annotation in (int, float)


def takes_value(option: Any) -> bool:
    return option.param_type_name == "option" and not (option.is_flag or option.count)


def cases(name: str, values: tuple[str, ...], bases: int) -> Iterator[tuple[Any, list[str]]]:
    """Options (None: no option, but an argument) and command lines."""
    for option in COMMANDS[name].params:
        flag = max(option.opts, key=len)
        for base in BASES[name][:bases]:
            if takes_value(option):
                yield from ((option, [name, *base, flag, value]) for value in values)
                yield option, [name, *base, flag]
                yield option, [name, *base, f"{flag}=", "--absent"]
            elif option.param_type_name == "option" and values is VALUES:
                if option.name != "verbose":  # twice, it asks for traces
                    yield None, [name, *base, flag, flag]
                yield None, [name, *base, f"{flag}=x"]
    if any(option.param_type_name == "argument" for option in COMMANDS[name].params):
        rest = FIRST.get(name, ("-o", "out/m"))
        yield from ((None, [name, *rest, "--", value]) for value in values)
        yield from ((None, [name, *rest, "photo.png", value]) for value in values)


@pytest.fixture
def arena(vqtok, here, picture, recording) -> Path:
    import torch

    from tests.checkpoints.foreign.test_rosinality import made as rosinality
    from vqtok.checkpoints import directory
    from vqtok.checkpoints import priors as store
    from vqtok.priors.transformer import Config

    for place in ("photo.png", "photos/a.png", "photos/b.png", "photos/c.png"):
        picture(place, width=24, height=24)
    recording()
    (here / "folder").mkdir()
    np.save("flat.npy", np.zeros(9, np.uint8))
    train = {"losses": {"mse": 1.0}, "batch": 1, "window": 16, "steps": 1, "holdout": 0.3}
    Path("tiny.json").write_text(json.dumps({"model": TINY_IMAGE, "train": train}))
    torch.save(rosinality(), "foreign.pt")
    torch.manual_seed(0)
    for name, tokenizer, extent in (("p", "image-f8", (16, 16)), ("a", "audio-24k", (800,))):
        spec = directory.describe(tokenizer).spec
        prior = Config(width=8, blocks=1, heads=2, classes=("cat", "dog")).build(spec=spec).eval()
        store.save(here / name, prior, tokenizer=tokenizer, extent=extent)
    for arguments in (
        ("photo.png", "-o", "c.npy"),
        ("speech.wav", "-o", "s.npy"),
        ("photos", "-o", "corpus", "--format", "files"),
    ):
        assert vqtok("encode", *arguments).exit_code == 0
    assert vqtok("pack", "c.npy", "-o", "c.vqz").exit_code == 0
    return here


def faults_of(arguments: list[str], option: Any, here: Path) -> list[str]:
    """What is wrong with how a command ends; it leaves the folder as it was."""
    before = {path.name for path in here.iterdir()}
    result = CliRunner().invoke(app, arguments, input=b"")
    found = []
    if result.exit_code not in (0, 1, 2):
        found.append(f"exit code {result.exit_code}")
    for word in ("Traceback", "internal", "this is a bug"):
        if word in result.stderr and word not in arguments:
            found.append(word)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    # What training passes over is listed as it goes on.
    told = result.stderr if arguments[0] == "train" and result.exit_code == 1 else errors
    if bool(told) != (result.exit_code != 0):
        found.append(f"{len(errors)} errors, exit code {result.exit_code}")
    if not all(char.isprintable() or char == "\n" for char in result.stderr.replace("\udcff", "")):
        found.append("control characters")
    is_none = option is not None and is_number(option) and arguments[-1] in NO_NUMBERS
    if is_none and result.exit_code != 2:
        found.append(f"exit code {result.exit_code} for a number that is none")
    hidden = [str(each) for each in Path("out").rglob(".*")] if Path("out").is_dir() else []
    if hidden and result.exit_code == 2:
        found.append(f"left {hidden}")
    shutil.rmtree("out", ignore_errors=True)
    for path in here.iterdir():
        if path.name not in before:
            with suppress(NotADirectoryError):
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
    command = " ".join(each[:40] for each in arguments)
    return [f"vqtok {command!r}: {each}: {result.stderr[-300:]!r}" for each in found]


def test_the_sweep_sees_what_it_should(arena: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError

    assert set(COMMANDS) == set(BASES)
    assert faults_of(["models"], None, arena) == []
    monkeypatch.setattr("vqtok.pipeline.inspect.models", broken)
    assert len(faults_of(["models"], None, arena)) == 2


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("values", "bases", "part"),
    [
        pytest.param(FAST, 1, STEP, id="fewest"),
        pytest.param(FAST, 1, 1, id="few", marks=pytest.mark.slow),
        pytest.param(VALUES, 9, PART, id="some", marks=pytest.mark.slow),
        pytest.param(VALUES, 9, 1, id="all", marks=pytest.mark.long),
    ],
)
def test_no_odd_value_is_more_than_a_line(
    arena: Path, name: str, values: tuple[str, ...], bases: int, part: int
) -> None:
    found: list[str] = []
    for option, arguments in list(cases(name, values, bases))[::part]:
        found += faults_of(arguments, option, arena)
    assert not found, "\n".join(found)
