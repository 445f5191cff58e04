"""What lies in a directory and is not taken: counted, and named as far as that is cheap."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable

from vqtok.media.kinds import Kind

NAMED = 1000
"""Paths that are kept; the rest is only counted."""


class LeftOut:
    """Counts files that were met and not taken.

    Attributes:
        counts: By kind, "audio", or by suffix where there is none: ".txt", "no suffix".
        paths: The first ``NAMED`` of them.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.paths: list[str] = []

    def add(self, path: str, kind: Kind | None = None) -> None:
        """Count a file.

        Args:
            path: The file.
            kind: What it holds, if that is another kind than is wanted.
        """
        self.counts[kind or suffix_of(path)] += 1
        if len(self.paths) < NAMED:
            self.paths.append(path)

    def take_back(self, paths: Iterable[str]) -> None:
        """Count files no longer: they are taken after all."""
        taken = {os.path.normpath(path) for path in paths}
        self.counts -= Counter(suffix_of(path) for path in taken)
        self.paths = [path for path in self.paths if os.path.normpath(path) not in taken]

    def without(self, taken: Collection[str]) -> LeftOut:
        """Returns the same, but for files of no known kind that are taken all the same."""
        made = LeftOut()
        made.counts = self.counts - Counter(suffix_of(path) for path in taken)
        made.paths = [path for path in self.paths if path not in taken]
        return made

    def __len__(self) -> int:
        return self.counts.total()

    def __str__(self) -> str:
        each = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return f"{len(self)} file{'' if len(self) == 1 else 's'}: {each}"


def suffix_of(path: str) -> str:
    """States how a file of no known kind is counted."""
    return os.path.splitext(path)[1].lower() or "no suffix"  # noqa: PTH122
