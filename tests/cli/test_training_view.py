"""What a user sees of a run: on terminals of any width, in logs, and with -q."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as RichConsole

from tests.cli.test_console import Terminal
from vqtok.cli import training_view
from vqtok.cli.console import Console
from vqtok.cli.training_view import BARS, KEPT, Screen, State, Trace, bar_of, watching
from vqtok.training.log import Evaluated, Finished, Measuring, Progress, Started, Warned

STARTED = Started("image", 90, 10, 1_500_000, "cpu", "float32", 0, 2000)


def progress(step: int = 100, **changes: object) -> Progress:
    values = {
        "step": step, "losses": {"mse": 0.02, "commitment": 0.005}, "use": 0.93,
        "perplexity": 412.4, "learning_rate": 9.8e-4, "items_per_s": 212.3, "left_s": 600.0,
        "skipped": 0, "elapsed_s": 200.0,
    }  # fmt: skip
    return Progress(**{**values, **changes})


def state(*events: object, continuous: bool = False) -> State:
    found = State(replace(STARTED, continuous=continuous))
    for event in events:
        found.take(event)
    return found


def shown(found: State, *, width: int = 100, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    console = RichConsole(file=stream, width=width, color_system=None, legacy_windows=False)
    console.print(Screen(found, colour=False))
    stream.flush()
    return raw.getvalue().decode(encoding).splitlines()


def test_a_run_is_five_rows_with_everything_that_matters():
    lines = shown(
        state(
            progress(10, losses={"mse": 0.2}),
            Evaluated(50, 100.0, {"psnr_db": 24.31, "use": 0.9, "perplexity": 400.0}, best=True),
            progress(),
            Evaluated(100, 200.0, {"psnr_db": 23.9, "use": 0.95, "perplexity": 500.0}),
        )
    )
    assert [line[:9].strip() for line in lines] == ["step", "loss", "codes", "speed", "held out"]
    text = "\n".join(lines)
    for part in (
        "100 of 2000", "10 min left", "0.025", "mse 0.02, commitment 0.005", "93% used",
        "perplexity 412", "212 items/s", "learning rate 0.00098",
        "psnr dB 23.9, use 95%, perplexity 500 at step 100 (best: psnr dB 24.31 at step 50)",
    ):  # fmt: skip
        assert part in text, part
    assert any(bar in lines[1] for bar in BARS)


def test_skipped_steps_and_the_last_warning_are_shown():
    text = "\n".join(
        shown(state(progress(skipped=3), Warned(80, "old"), Warned(90, "codebook use fell")))
    )
    assert "3 steps skipped" in text
    assert "warning  step 90: codebook use fell" in text
    assert "old" not in text


def test_a_continuous_model_shows_its_latents_in_place_of_codes():
    nothing = progress(use=None, perplexity=None)
    event = replace(nothing, latents={"kl": 12.5, "active_units": 30.0})
    lines = shown(state(event, continuous=True))
    assert "latents  active units 30, kl 12.5" in lines
    assert not any("codes" in line or "used" in line for line in lines)
    assert "latents  continuous" in shown(state(nothing, continuous=True))


def test_a_model_whose_codebook_is_not_placed_yet_is_not_called_continuous():
    found = state(progress(use=None, perplexity=None))
    assert "codes    the codebook is not placed yet" in shown(found)
    assert "continuous" not in found.line()


def test_while_held_out_files_are_measured_no_time_is_left():
    found = state(progress(2000, left_s=0.0), Measuring(2000))
    assert "measuring" in found.position()
    assert "0 s left" not in found.position()
    found.take(progress(2000))
    assert "measuring" not in found.position()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_row_is_wider_than_the_terminal_or_wraps(width, encoding):
    events = [progress(step, losses={"mse": 1.0 / step}) for step in range(1, 90)]
    metrics = {"psnr_db": 24.31, "use": 0.9, "perplexity": 400.0, "another_metric": 1.0}
    lines = shown(
        state(*events, Evaluated(50, 1.0, metrics), Warned(1, "x" * 300)),
        width=width,
        encoding=encoding,
    )
    assert len(lines) == 6
    assert max(len(line) for line in lines) <= width
    assert not re.search("[─│╭╮┃┏]", "\n".join(lines))


def test_codebook_use_survives_a_narrow_terminal():
    assert "codes    93% used, perplexity 412" in shown(state(progress()), width=36)


def test_a_row_that_appeared_never_goes_so_that_the_block_does_not_jump():
    found, heights = State(STARTED), []
    for event in (progress(1), Evaluated(2, 1.0, {"x": 1.0}), progress(3), Warned(4, "a"),
                  progress(5), Evaluated(6, 1.0, {"x": 0.5}, best=True), progress(7)):  # fmt: skip
        found.take(event)
        heights.append(len(shown(found)))
    assert heights == sorted(heights)


def test_the_share_follows_the_time_where_that_ends_the_run():
    assert state(progress(step=10, elapsed_s=300.0, left_s=100.0)).share == pytest.approx(0.75)
    assert state(progress(step=500, elapsed_s=0.0)).share == pytest.approx(0.25)
    assert State(STARTED).share == 0.0


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=1500))
def test_a_trace_of_any_length_is_a_short_line(values):
    trace = Trace()
    for value in values:
        trace.add(value)
    text = trace.sparkline(24)
    assert len(text) <= 24
    assert set(text) <= set(BARS)
    assert len(trace._means) < KEPT


def test_a_falling_loss_falls_and_its_ends_are_the_extremes():
    trace = Trace()
    for step in range(10_000):
        trace.add(1.0 / (1 + step))
    heights = [BARS.index(each) for each in trace.sparkline(20)]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (len(BARS) - 1, 0)
    assert Trace().sparkline(20) == ""


@given(st.floats(min_value=-1, max_value=2), st.integers(min_value=0, max_value=50))
def test_a_bar_keeps_its_width(share, width):
    assert len(bar_of(share, width)) == width
    assert bar_of(1.0, 4) == "━━━━"
    assert bar_of(0.5, 4, plain=True) == "##.."


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(training_view.time, "monotonic", lambda: now[0])
    return now


def watch(console: Console, events: list[object], clock: list[float]) -> None:
    with watching(console, STARTED) as show:
        for event in events:
            clock[0] += 4.0
            show(event)


EVENTS = [
    progress(10), progress(20), progress(30), progress(40), progress(50),
    Warned(55, "loss not finite: 1 step skipped"),
    Evaluated(60, 100.0, {"psnr_db": 24.31}, best=True), progress(60),
    Finished(Path("m"), 60, 100.0, "steps"),
]  # fmt: skip


def test_without_a_terminal_there_is_a_plain_line_every_ten_seconds(capsys, clock):
    watch(Console(), EVENTS, clock)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "trained: 30 of 2000, 3 min so far, 10 min left; mse 0.02, commitment 0.005; "
        "codes 93% used, perplexity 412; 212 items/s, learning rate 0.00098",
        "warning: step 55: loss not finite: 1 step skipped",
        "step 60, 2 min: held out: psnr dB 24.31 (best)",
        lines[-1],
    ]
    assert lines[-1].startswith("trained: 60 of 2000")


def test_measurements_stay_without_progress_and_nothing_does_when_quiet(capsys, clock):
    watch(Console(progress=False), EVENTS, clock)
    assert len(capsys.readouterr().err.splitlines()) == 2
    watch(Console(quiet=True), EVENTS, clock)
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def on_terminal(monkeypatch, clock, **environment: str) -> str:
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    watch(Console(), EVENTS, clock)
    return stream.getvalue()


def test_on_a_terminal_the_view_is_erased_and_measurements_stay(monkeypatch, clock, capsys):
    text = on_terminal(monkeypatch, clock)
    assert "perplexity 412" in text
    assert "held out: psnr dB 24.31 (best)" in text
    last = text.rsplit("perplexity 412", 1)[1]
    assert last.rstrip("\n").endswith("\x1b[2K")  # nothing of the view is left
    assert "\x1b[2J" not in text  # the screen is never cleared: that flickers
    assert capsys.readouterr().out == ""


def test_no_color_leaves_no_colour_and_no_weight(monkeypatch, clock):
    assert re.search(r"\x1b\[[0-9;]*m", on_terminal(monkeypatch, clock))
    assert not re.search(r"\x1b\[[0-9;]*m", on_terminal(monkeypatch, clock, NO_COLOR="1"))


def test_a_dumb_terminal_gets_plain_lines(monkeypatch, clock):
    text = on_terminal(monkeypatch, clock, TERM="dumb")
    assert "\x1b" not in text
    assert "trained: 30 of 2000" in text


def test_a_piped_stdout_is_left_alone_by_the_view(monkeypatch, clock, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    console = Console()
    with watching(console, STARTED) as show:
        show(progress())
        console.result("models/x")
    assert capsys.readouterr().out == "models/x\n"
