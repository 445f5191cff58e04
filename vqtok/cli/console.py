"""Output for users: messages and progress on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vqtok.cli import terminal
from vqtok.cli.terminal import has_colour as has_colour
from vqtok.config import to_line
from vqtok.errors import UsageError

if TYPE_CHECKING:
    from vqtok.pipeline.results import Failed

PLAIN_INTERVAL_S = 10.0
"""Without a terminal, progress is one line, at most this often."""

NAMED_PER_GROUP = 3
"""How many inputs a grouped error names before it counts the rest."""


class Progress(Protocol):
    """Takes the state of a run, wherever it is shown."""

    def stage(self, text: str) -> None:
        """Name what is worked on: "cat.png"."""
        ...

    def aside(self, text: str) -> None:
        """Name what is done for the moment, until the next part: "loading image-f8"."""
        ...

    def part(self, fraction: float) -> None:
        """Take how much of the present item is done, 0 to 1."""
        ...

    def goto(self, done: int) -> None:
        """Take how many items are finished."""
        ...


class Console:
    """Prints what one command has to say.

    Args:
        quiet: Errors only.
        verbose: 1: details of each file; 2: also tracebacks.
        as_json: Results on stdout are JSON Lines instead of paths.
        progress: Whether progress may be shown at all.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: int = 0,
        as_json: bool = False,
        progress: bool = True,
    ) -> None:
        self.quiet = quiet and not verbose
        self.verbose = verbose
        self.as_json = as_json
        self.progress_wanted = progress

    def result(self, text: str) -> None:
        """Print a line of result on stdout, at once for whoever reads the pipe."""
        terminal.result(text)

    def path(self, path: Path) -> None:
        """Print the path of what was written, on stdout."""
        terminal.path(path)

    def json(self, data: Mapping[str, Any]) -> None:
        """Print one JSON line on stdout; what a terminal would obey is escaped, as JSON can."""
        line = to_line(data)
        if not line.isprintable():
            line = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
        self.result(line)

    def say(self, text: str) -> None:
        """Print a line on stderr, unless -q."""
        if not self.quiet:
            terminal.message(text)

    def note(self, text: str) -> None:
        """Print a line on stderr with -v."""
        if self.verbose:
            terminal.message(text)

    def failures(self, failed: Iterable[Failed]) -> None:
        """Print failures, those of one reason in one line; with -vv also tracebacks."""
        groups: dict[tuple[str, str | None], list[str]] = {}
        for each in failed:
            key = each.error.reason, each.error.hint
            groups.setdefault(key, []).append(each.error.subject)
            if self.verbose >= 2:
                terminal.trace(each.error)
        for (reason, hint), subjects in groups.items():
            message = f"{named(subjects)}: {reason}" if subjects[0] else reason
            show_error(message, hint)

    @contextmanager
    def progress(
        self, total: int, verb: str, *, unit: str = "files", start: int = 0
    ) -> Iterator[Progress]:
        """Show progress over ``total`` items: a bar on a terminal, else a plain line now and then.

        Args:
            total: Items.
            verb: What is done to them: "encoded".
            unit: Their name.
            start: Items that an earlier run has done: they say nothing of this one's speed.
        """
        if self.quiet or not self.progress_wanted:
            yield _Silent()
        elif terminal.is_live(sys.stderr):
            with _bar(total, verb, start) as bar:
                yield bar
        else:
            yield _Plain(total, verb, unit, start)


def show_error(message: str, hint: str | None) -> None:
    """Print ``Error: SUBJECT: REASON``, perhaps ``Hint: …``; red only here."""
    terminal.message(message, label="Error:", alarm=True)
    if hint:
        terminal.message(hint, label="Hint:")


def check_stdout(targets: Iterable[Path | None], *, as_json: bool) -> None:
    """Refuse to write bytes among JSON Lines, or on a terminal.

    Args:
        targets: What is written; None is standard output.
        as_json: Whether results are printed as JSON Lines.

    Raises:
        UsageError: so it would be.
    """
    if None not in targets:
        return
    if terminal.STDOUT in terminal.CLOSED:
        raise UsageError("standard output is closed", hint="-o FILE")
    if as_json:
        raise UsageError("--json", "standard output carries the result itself", hint="-o FILE")
    if terminal.is_terminal(sys.stdout):
        raise UsageError("standard output is a terminal, not for binary data", hint="-o FILE")


def named(subjects: list[str]) -> str:
    """Join the first few of them, and count the rest."""
    unique = list(dict.fromkeys(subjects))
    named = ", ".join(unique[:NAMED_PER_GROUP])
    rest = len(unique) - NAMED_PER_GROUP
    return f"{named} and {rest} more" if rest > 0 else named


class _Silent:
    def stage(self, text: str) -> None: ...

    def aside(self, text: str) -> None: ...

    def part(self, fraction: float) -> None: ...

    def goto(self, done: int) -> None: ...


class _Plain:
    """Prints a line at most every ``PLAIN_INTERVAL_S``, so that logs stay short."""

    def __init__(self, total: int, verb: str, unit: str, start: int) -> None:
        self._total, self._verb, self._unit = total, verb, unit
        self._done, self._fraction, self._text, self._aside = start, 0.0, "", ""
        self._first = start
        self._start = self._last = time.monotonic()

    def stage(self, text: str) -> None:
        self._text, self._aside, self._fraction = text, "", 0.0
        self._show()

    def aside(self, text: str) -> None:
        self._aside = text
        self._show()

    def part(self, fraction: float) -> None:
        self._aside, self._fraction = "", fraction
        self._show()

    def goto(self, done: int) -> None:
        self._done, self._fraction, self._aside = done, 0.0, ""
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._last < PLAIN_INTERVAL_S:
            return
        self._last = now
        parts = [f"{self._verb}: {self._done} of {self._total}"]
        done_here = self._done - self._first
        if done_here:
            from vqtok.codes.rates import digits

            parts.append(f"{digits(done_here / (now - self._start), 2)} {self._unit}/s")
        text = f"{self._text} {self._fraction:.0%}" if self._fraction else self._text
        parts.append(self._aside or text)
        terminal.message(", ".join(part for part in parts if part))


class _Bar:
    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task, self._done, self._text = progress, task, 0, ""

    def stage(self, text: str) -> None:
        self._text = terminal.plain(text)
        self._progress.update(self._task, stage=self._text)

    def aside(self, text: str) -> None:
        self._progress.update(self._task, stage=terminal.plain(text))

    def part(self, fraction: float) -> None:
        self._progress.update(self._task, completed=self._done + fraction, stage=self._text)

    def goto(self, done: int) -> None:
        self._done = done
        self._progress.update(self._task, completed=done, stage=self._text)


@contextmanager
def _bar(total: int, verb: str, start: int) -> Iterator[Progress]:
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    # Redirecting stdout into the bar's console (stderr) is right only if both are the terminal:
    # results must stay on stdout when it is a pipe or a file.
    both = terminal.is_terminal(sys.stdout)
    with RichProgress(
        TextColumn(verb),
        BarColumn(complete_style="green", finished_style="green"),  # red is for errors
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[stage]}", markup=False),
        console=RichConsole(stderr=True, highlight=False, markup=False),
        transient=True,
        redirect_stdout=both,
        redirect_stderr=True,
    ) as progress:
        yield _Bar(
            progress, progress.add_task(verb, total=total, completed=start, stage="starting")
        )
