"""``@list.txt``: paths in a file, one a line. Standard library only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vqtok import regular
from vqtok.errors import UsageError
from vqtok.media.opening import os_message

MARK = "@"
STDIN_LIST = "@-"
_MOST_BYTES = 1 << 30


def is_list(argument: str) -> bool:
    """Checks whether an argument names a list; a file that is really called ``@x`` is itself."""
    return len(argument) > 1 and argument.startswith(MARK) and not os.path.lexists(argument)


def read_list(argument: str) -> list[str]:
    """Returns the paths of ``@list.txt``, or of ``@-`` on stdin, as they are written there.

    Empty lines and lines that start with ``#`` are left out. Relative paths start from the current
    directory, wherever the list lies; patterns are not expanded.

    Raises:
        UsageError: a list that cannot be read, or without a path.
    """
    name = argument[1:]
    try:
        if argument == STDIN_LIST:
            if sys.stdin is None or sys.stdin.isatty():
                raise UsageError("@-", "stdin is a terminal", hint="find … | vqtok … @-")
            data = sys.stdin.buffer.read(_MOST_BYTES)
        else:
            data = regular.read(Path(name), most=_MOST_BYTES)
    except OSError as error:
        raise UsageError(argument, f"cannot read the list: {os_message(error)}") from error
    # File names are bytes; those that are no UTF-8 get through as Python writes them.
    lines = (line.rstrip(b"\r") for line in data.split(b"\n"))
    paths = [os.fsdecode(line) for line in lines if line.strip() and not line.startswith(b"#")]
    if any("\0" in path for path in paths):
        raise UsageError(argument, "not a list of paths: it holds zero bytes")
    if not paths:
        raise UsageError(argument, "no paths in this list")
    return paths
