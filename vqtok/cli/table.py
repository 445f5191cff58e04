"""Tables in plain text that fit the terminal: what is less important gives way, and is named."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vqtok.cli.console import Console
from vqtok.cli.terminal import is_terminal

LEAST_PATH = 24
"""Characters of a path that are shown however narrow the terminal is."""


@dataclass(frozen=True)
class Column:
    """Holds one column.

    Attributes:
        head: Its heading.
        cells: One for each row.
        drop: Columns of the highest number are left out first; 0 always stays.
        short: Cells that take the others' place where these do not fit.
        path: Whether the cells are paths, of which the beginning may be left out.
    """

    head: str
    cells: Sequence[str]
    drop: int = 0
    short: Sequence[str] | None = None
    path: bool = False

    @property
    def width(self) -> int:
        """Return the number of characters of the longest cell."""
        return max(map(len, (self.head, *self.cells)))


def terminal_width() -> int | None:
    """Return the columns of the terminal, or of $COLUMNS; None for a file or a pipe."""
    if not is_terminal(sys.stdout) and not os.environ.get("COLUMNS"):
        return None
    return max(1, shutil.get_terminal_size().columns)


def show(console: Console, columns: Sequence[Column], *, wide: bool, title: str = "") -> None:
    """Print a table; say on stderr what is left out of it.

    Args:
        console: Where to.
        columns: Of equal length.
        wide: Leave nothing out.
        title: Printed above it.
    """
    kept = list(columns) if wide else fitted(columns, terminal_width())
    console.result(f"{title}\n{text_of(kept)}" if title else text_of(kept))
    heads = {each.head for each in kept}
    missing = [each.head for each in columns if each.head not in heads]
    if missing:
        console.say(f"not shown here: {', '.join(missing)}; --wide shows all")


def fits(columns: Sequence[Column], *, wide: bool) -> bool:
    """Check that a table is shown whole, with its longer cells."""
    width = terminal_width()
    return wide or width is None or _width(columns) <= width


def fitted(columns: Sequence[Column], width: int | None) -> list[Column]:
    """Shorten cells, then leave columns out, then shorten paths, until lines fit.

    Args:
        columns: All of them.
        width: Characters of a line; None: there is no limit.
    """
    kept = list(columns)
    if width is None or _width(kept) <= width:
        return kept
    kept = [each if each.short is None else replace(each, cells=each.short) for each in kept]
    while _least(kept) > width and len(kept) > 1 and any(each.drop for each in kept):
        last = max(kept, key=lambda each: each.drop)
        kept.remove(last)
    over = _width(kept) - width
    for index, each in enumerate(kept):
        if each.path and over > 0:
            room = max(LEAST_PATH, each.width - over)
            kept[index] = replace(each, cells=[shortened(cell, room) for cell in each.cells])
    return kept


def shortened(path: str, room: int) -> str:
    """Leave the beginning of a path out: ``…/holdout/cat.png``, whole names if one fits."""
    if len(path) <= room:
        return path
    tail = path[len(path) - room + 1 :]
    whole = tail[tail.find("/") :]
    return f"…{whole if whole.startswith('/') and len(whole) > 1 else tail}"


def text_of(columns: Sequence[Column]) -> str:
    """Align columns, two spaces apart, without trailing blanks or colour."""
    widths = [each.width for each in columns]
    rows = [[each.head for each in columns]]
    rows += [list(row) for row in zip(*(each.cells for each in columns), strict=True)]
    lines = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _width(columns: Sequence[Column]) -> int:
    return sum(each.width for each in columns) + 2 * (len(columns) - 1)


def _least(columns: Sequence[Column]) -> int:
    """Return the width with paths as short as they may become."""
    saved = sum(max(0, each.width - LEAST_PATH) for each in columns if each.path)
    return _width(columns) - saved
