"""Messages and progress: who sees what, and how often."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from vqtok.cli import console as module
from vqtok.cli.console import Console, has_colour, show_error
from vqtok.config import to_line
from vqtok.errors import MediaError
from vqtok.pipeline.results import Failed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def failure(name: str, reason: str, hint: str | None = None) -> Failed:
    return Failed(Path(name), MediaError(name, reason, hint=hint))


def test_equal_errors_are_one_line_that_counts_the_rest(capsys):
    same = [failure(f"{i}.png", "truncated", "download again") for i in range(5)]
    Console().failures([*same, failure("x.png", "empty file")])
    assert capsys.readouterr().err.splitlines() == [
        "Error: 0.png, 1.png, 2.png and 2 more: truncated",
        "Hint: download again",
        "Error: x.png: empty file",
    ]


def test_errors_that_are_not_about_the_input_stay_as_they_are(capsys):
    error = MediaError("model", "damaged")
    Console().failures([Failed(Path("a.png"), error), Failed(Path("b.png"), error)])
    assert capsys.readouterr().err == "Error: model: damaged\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)],
)
def test_colour_only_where_it_is_wanted(monkeypatch, environment, expected):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert has_colour(Terminal()) is expected
    assert not has_colour(io.StringIO())
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    show_error("a: b", None)
    assert stream.getvalue() == ("\x1b[31mError:\x1b[0m a: b\n" if expected else "Error: a: b\n")


def test_without_a_terminal_progress_is_a_line_every_ten_seconds(capsys, clock):
    with Console().progress(100, "encoded") as progress:
        for second in range(1, 31):
            clock[0] = float(second)
            progress.stage(f"{second}.png")
            progress.goto(second)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "encoded: 9 of 100, 0.9 files/s, 10.png"


def test_what_is_said_aside_ends_with_the_next_part(capsys, clock):
    with Console().progress(1, "encoded") as progress:
        progress.stage("a.wav")
        clock[0] = 10.0
        progress.aside("loading m")
        clock[0] = 20.0
        progress.part(0.5)
    assert capsys.readouterr().err.splitlines() == [
        "encoded: 0 of 1, loading m",
        "encoded: 0 of 1, a.wav 50%",
    ]


def test_a_resumed_run_shows_its_own_speed(capsys, clock):
    with Console().progress(1000, "trained", unit="steps", start=500) as progress:
        clock[0] = 10.0
        progress.goto(550)
    assert capsys.readouterr().err.startswith("trained: 550 of 1000, 5 steps/s")


@pytest.mark.parametrize("options", [{"quiet": True}, {"progress": False}])
def test_progress_can_be_switched_off(capsys, clock, options):
    with Console(**options).progress(10, "encoded") as progress:
        clock[0] = 100.0
        progress.stage("x")
        progress.aside("y")
        progress.part(0.5)
        progress.goto(1)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar_that_is_gone_at_the_end(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with Console().progress(2, "encoded") as progress:
        progress.stage("loading image-f8")
        progress.part(0.5)
        progress.goto(2)
    text = stream.getvalue()
    assert "encoded" in text
    assert "2/2" in text
    assert text.rstrip("\n").endswith("\x1b[2K")  # erased


def test_a_bar_leaves_a_piped_stdout_alone(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    console = Console()
    with console.progress(1, "encoded"):
        console.result("out/a.safetensors")
    assert capsys.readouterr().out == "out/a.safetensors\n"
    assert "out/a.safetensors" not in stream.getvalue()


def test_json_lines_have_no_infinities():
    line = to_line({"a": float("inf"), "b": [float("nan"), 1.5], "c": "ü"})
    assert json.loads(line) == {"a": None, "b": [None, 1.5], "c": "ü"}
    assert "ü" in line
