"""Print on standard output and error: no other file of the package does.

What files and models say of themselves may hold characters that a terminal obeys: colours, titles,
answers typed by nobody. They are replaced here, whoever prints. A standard output that takes
nothing (a full disk, a closed descriptor) ends no work: an error says so once, at the end.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from vqtok.errors import printable

STDOUT = 1

CLOSED: set[int] = set()
"""Standard descriptors that were closed when the process began."""

NARROWEST, LOWEST = 20, 4
"""Columns and lines of a terminal in which progress can be drawn; results would be cut in less."""

_lost: list[OSError] = []


def plain(text: object) -> str:
    """Replace control characters; lines stay lines."""
    return "\n".join(map(printable, str(text).split("\n")))


def result(text: str) -> None:
    """Print a line of result on stdout, at once for whoever reads the pipe."""
    _to_stdout(lambda: print(plain(text), flush=True))


def path(name: Path) -> None:
    """Print a path on stdout: its very bytes to a program, as ``result`` does to a terminal."""
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None or os.name != "posix" or is_terminal(sys.stdout):
        result(str(name))
        return

    def write() -> None:
        sys.stdout.flush()
        stream.write(os.fsencode(name) + b"\n")
        stream.flush()

    _to_stdout(write)


def message(text: str, *, label: str = "", alarm: bool = False) -> None:
    """Print a line on stderr; where that takes nothing, the exit code must do.

    Args:
        text: The line.
        label: What stands before it: "Error:".
        alarm: Print the label in red, where colour is wanted.
    """
    red, end = ("\x1b[31m", "\x1b[0m") if alarm and has_colour(sys.stderr) else ("", "")
    head = f"{red}{label}{end} " if label else ""
    try:
        print(f"{head}{plain(text)}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except (OSError, ValueError):
        discard(sys.stderr)


def trace(error: BaseException) -> None:
    """Print the whole chain of an error on stderr."""
    import traceback

    message("".join(traceback.format_exception(error)).rstrip("\n"))


def begin() -> None:
    """Forget what an earlier command in this process could not print."""
    _lost.clear()


def lost() -> OSError | None:
    """Flush stdout, and return why something did not get there, or None."""
    if STDOUT not in CLOSED:
        _to_stdout(lambda: sys.stdout.flush())
    return _lost[0] if _lost else None


def discard(stream: TextIO | None) -> None:
    """Let what a stream still holds, and all that follows, go nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


def has_colour(stream: TextIO) -> bool:
    """Check that colour is wanted: a terminal that is not dumb, and NO_COLOR unset."""
    return is_live(stream) and not os.environ.get("NO_COLOR")


def is_terminal(stream: Any) -> bool:
    """Check that a stream is a terminal; a closed one is not."""
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


def is_live(stream: TextIO) -> bool:
    """Check that lines can be drawn again in place there."""
    if not is_terminal(stream) or os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        return False
    return _room("COLUMNS", stream) >= NARROWEST and _room("LINES", stream) >= LOWEST


def _room(name: str, stream: TextIO) -> int:
    """Columns or lines of a terminal, as rich counts them."""
    stated = os.environ.get(name, "")
    if stated.isdecimal():
        return int(stated)
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return NARROWEST
    return (columns if name == "COLUMNS" else lines) or NARROWEST  # 0: it does not know


def _to_stdout(write: Callable[[], None]) -> None:
    """Write to stdout, or remember why that failed."""
    if STDOUT in CLOSED:
        _lost.append(OSError(errno.EBADF, "it is closed"))
        return
    try:
        write()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        _lost.append(error if isinstance(error, OSError) else OSError(str(error)))
        discard(sys.stdout)
