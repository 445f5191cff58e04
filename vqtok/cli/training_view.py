"""View of a training run while it goes on.

On a terminal a few lines that are drawn again in place; elsewhere a plain line every ten seconds.
Measurements and warnings are lines of their own in both, so that they stay.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from vqtok.cli import terminal
from vqtok.cli.console import PLAIN_INTERVAL_S, Console
from vqtok.cli.terminal import has_colour, is_live, is_terminal

if TYPE_CHECKING:
    from vqtok.training.log import Evaluated, Event, Progress, Started

Show = Callable[["Event"], None]

BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
"""A sparkline's heights, and those for terminals that know ASCII only."""

KEPT = 256
"""Points of a trace, however long the run."""

LABEL = 9
"""Columns of a row's name."""


class Trace:
    """Keeps a curve of any length in bounded memory: when full, neighbours become one."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._stride = 1
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        """Append a value; one that is not finite is left out."""
        if not math.isfinite(value):
            return
        self._sum, self._count = self._sum + value, self._count + 1
        if self._count == self._stride:
            self._means.append(self._sum / self._count)
            self._sum, self._count = 0.0, 0
        if len(self._means) == KEPT:
            pairs = zip(self._means[::2], self._means[1::2], strict=True)
            self._means = [(a + b) / 2 for a, b in pairs]
            self._stride *= 2

    def sparkline(self, width: int, *, bars: str = BARS) -> str:
        """Draw the curve in at most ``width`` characters; by ratios if all are positive."""
        count = min(width, len(self._means))
        if count < 2:
            return ""
        edges = [len(self._means) * i // count for i in range(count + 1)]
        pairs = pairwise(edges)
        values = [sum(self._means[a:b]) / (b - a) for a, b in pairs]
        if min(values) > 0:  # losses fall by factors
            values = [math.log(value) for value in values]
        low, high = min(values), max(values)
        top = len(bars) - 1
        span = high - low or 1.0
        return "".join(bars[round((value - low) / span * top)] for value in values)


class State:
    """Keeps what is known of a run so far, and writes it in words."""

    def __init__(self, started: Started) -> None:
        self.started = started
        self.step = started.first_step
        self.progress: Progress | None = None
        self.measuring = False
        self.latest: Evaluated | None = None
        self.best: Evaluated | None = None
        self.warning = ""
        self.losses = Trace()

    def take(self, event: Event) -> None:
        """Take the next event."""
        from vqtok.training import log

        self.measuring = isinstance(event, log.Measuring)
        if isinstance(event, log.Progress):
            self.progress, self.step = event, event.step
            self.losses.add(event.total)
        elif isinstance(event, log.Evaluated):
            self.latest = event
            self.best = event if event.best else self.best
        elif isinstance(event, log.Warned):
            self.warning = f"step {event.step}: {event.text}"

    @property
    def share(self) -> float:
        """Estimate how much of the run is done, 0 … 1: by its time if that is limited too."""
        now = self.progress
        if now is not None and now.elapsed_s > 0:
            return now.elapsed_s / (now.elapsed_s + now.left_s)
        return min(1.0, self.step / self.started.steps)

    def position(self) -> str:
        """Say how many steps are done, and how long the rest takes."""
        text = f"{self.step} of {self.started.steps}"
        if self.progress is None:
            return text
        past = f", {duration(self.progress.elapsed_s)} so far" if self.progress.elapsed_s else ""
        rest = "measuring" if self.measuring else f"{duration(self.progress.left_s)} left"
        return f"{text}{past}, {rest}"

    def codes(self) -> str:
        """Describe codebook use, or the latents of a continuous method."""
        now = self.progress
        if now is None:
            return ""
        if now.levels:
            each = [
                f"{name} {_used(level['share'], level['perplexity'])}"
                for name, level in now.levels.items()
            ]
            return "; ".join(each)
        if now.use is not None and now.perplexity is not None:
            return _used(now.use, now.perplexity)
        if not self.started.continuous:
            return "the codebook is not placed yet" if self.started.learns == "tokenizer" else ""
        values = [f"{_words(name)} {value:.4g}" for name, value in sorted(now.latents.items())]
        return ", ".join(values) or "continuous"

    def terms(self) -> str:
        """List the losses by name."""
        found = self.progress.losses if self.progress else {}
        return ", ".join(f"{_words(name)} {value:.4g}" for name, value in found.items())

    def pace(self) -> str:
        """Give speed, learning rate and skipped steps."""
        now = self.progress
        if now is None:
            return ""
        skipped = f", {now.skipped} steps skipped" if now.skipped else ""
        from vqtok.codes.rates import digits

        speed = digits(now.items_per_s)
        return f"{speed} items/s, learning rate {now.learning_rate:.2g}{skipped}"

    def measured(self) -> str:
        """Give the latest held-out metrics, and the best."""
        if self.latest is None:
            return ""
        text = f"{_values(self.latest.metrics)} at step {self.latest.step}"
        if self.best is None:
            return text
        if self.best is self.latest:
            return f"{text} (best)"
        name, value = next(iter(self.best.metrics.items()), ("", 0.0))
        return f"{text} (best: {_words(name)} {value:.4g} at step {self.best.step})"

    def rows(self, *, spark: int, bars: str = BARS) -> list[tuple[str, str]]:
        """List (name, text) of the rows under the first that are not empty."""
        now = self.progress
        total = f"{now.total:.4g}" if now else ""
        curve = self.losses.sparkline(spark, bars=bars)
        rows = [
            ("loss", "  ".join(part for part in (total, curve, self.terms()) if part)),
            ("latents" if self.started.continuous else "codes", self.codes()),
            ("speed", self.pace()),
            ("held out", self.measured()),
            ("warning", self.warning),
        ]
        return [(name, text) for name, text in rows if text]

    def line(self) -> str:
        """Give all of it that changes, in one line for logs."""
        subject = "codes " if self.progress and self.progress.use is not None else ""
        codes = f"{subject}{self.codes()}"
        parts = [f"trained: {self.position()}", self.terms(), codes, self.pace()]
        return "; ".join(part for part in parts if part)


class Screen:
    """Draws the state with rich: no wrapping, no frames, no more colour than wanted."""

    def __init__(self, state: State, *, colour: bool) -> None:
        self.state = state
        self._dim, self._hue = ("dim", "yellow") if colour else ("", "")

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """Draw a line for each row."""
        from rich.text import Text

        width = options.max_width
        plain = options.ascii_only
        spark = max(0, min(24, width - LABEL - 24))
        position = self.state.position()
        room = width - LABEL - len(position) - 2
        bar = f"{bar_of(self.state.share, min(30, room), plain=plain)}  " if room >= 10 else ""
        rows = self.state.rows(spark=spark, bars=ASCII_BARS if plain else BARS)
        for name, text in [("step", bar + position), *rows]:
            line = Text(no_wrap=True, overflow="crop" if plain else "ellipsis")
            line.append(f"{name:<{LABEL}}", self._dim)
            line.append(terminal.plain(text), self._hue if name == "warning" else "")
            yield line


@contextmanager
def watching(console: Console, started: Started) -> Iterator[Show]:
    """Show a run's events as they come.

    Args:
        console: Prints what stays; knows -q and --no-progress.
        started: The run's first event.

    Yields:
        What to call with every event.
    """
    state = State(started)
    hidden = console.quiet or not console.progress_wanted
    if hidden or not is_live(sys.stderr):
        # Measurements stay; where there is no terminal, so do the lines in between.
        yield _lines(console, state, every_s=None if hidden else PLAIN_INTERVAL_S)
        return
    from rich.console import Console as RichConsole
    from rich.live import Live

    with Live(
        Screen(state, colour=has_colour(sys.stderr)),
        console=RichConsole(stderr=True, highlight=False, markup=False),
        refresh_per_second=4,
        transient=True,
        # Results must stay on stdout unless it is the same terminal.
        redirect_stdout=is_terminal(sys.stdout),
        redirect_stderr=True,
    ):
        yield _lines(console, state, every_s=None)


def _lines(console: Console, state: State, *, every_s: float | None) -> Show:
    last = time.monotonic()

    def show(event: Event) -> None:
        nonlocal last
        from vqtok.training import log

        state.take(event)
        if isinstance(event, log.Evaluated):
            best = " (best)" if event.best else ""
            when = f"step {event.step}, {duration(event.elapsed_s)}"
            console.say(f"{when}: held out: {_values(event.metrics)}{best}")
        elif isinstance(event, log.Warned):
            console.say(f"warning: {state.warning}")
        elif isinstance(event, log.Measuring) and every_s is not None and state.share >= 1.0:
            console.say(state.line())
        elif isinstance(event, log.Progress) and every_s is not None:
            now = time.monotonic()
            if now - last >= every_s:
                last = now
                console.say(state.line())

    return show


def bar_of(share: float, width: int, *, plain: bool = False) -> str:
    """Draw a bar of ``width`` characters, filled by a share of 0 … 1."""
    full, empty = ("#", ".") if plain else ("━", "·")
    done = round(width * min(1.0, max(0.0, share)))
    return full * done + empty * (width - done)


def _values(metrics: Mapping[str, float]) -> str:
    """Write held-out metrics in one line."""
    shown = {
        name: _share(value) if name.partition("_")[0] == "use" else f"{value:.4g}"
        for name, value in metrics.items()
    }
    return ", ".join(f"{_words(name)} {value}" for name, value in shown.items())


def duration(seconds: float) -> str:
    """Write seconds with a fitting unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _used(share: float, perplexity: float) -> str:
    return f"{_share(share)} used, perplexity {perplexity:.0f}"


def _share(value: float) -> str:
    """Write a percentage, with a decimal where there is little: 1 of 512 is not nothing."""
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def _words(name: str) -> str:
    """Write a metric's key as people read it: ``psnr_db`` → "psnr dB"."""
    return name.replace("_db", " dB").replace("_", " ")
