"""Files that show one picture or recording, as far as their names say so.

``x_001.png`` and ``x_002.png``, ``x.png`` and ``x_tile3.png``, ``x (1).jpg``, ``x_flip.png`` and
``x.jpg`` beside ``x.png`` are cut from, or made of, one ``x``. A model that is trained on one of
them has seen much of the others: measured on these it looks better than it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vqtok.media.items import Place
from vqtok.media.tars import Member
from vqtok.training.recipe import Train

MOST = 64
"""Files of one group that a number alone tells apart: ``cat_0001`` to ``cat_5000`` are a class."""

_WORDS = (
    "aug|augmented|chunk|copy|crop|dup|duplicate|edited|flip|flipped|frame|hflip|mirror|mirrored|"
    "part|patch|rot|rotated|segment|seg|slice|tile|variant|vflip"
)
_TAIL = re.compile(
    rf"(?:[ _.\-]+(?:(?P<word>{_WORDS})[ _.\-]?\d*(?:x\d+)?|[rcxypv]?\d+(?:x\d+)?)"
    r"|(?P<again>\s*\(\d+\)))+$",
    re.IGNORECASE,
)


def key_of(name: str) -> tuple[str, bool]:
    """Return what a name shares with others of one picture, and whether a word says so.

    Args:
        name: Path of a file.
    """
    folder, _, last = name.rpartition("/")
    stem = last.rpartition(".")[0] or last
    found = _TAIL.search(stem)
    if found is None or found.start() == 0:
        return f"{folder}/{stem.casefold()}", False
    clear = found["word"] is not None or found["again"] is not None
    return f"{folder}/{stem[: found.start()].casefold()}", clear


def groups_of(files: Iterable[Place | str]) -> np.ndarray:
    """Number files so that those of one picture share a number: (n,) int64.

    Groups of more than half of all files are none, nor are those of more than a quarter, or of more
    than ``MOST``, that only numbers tell apart.
    """
    numbers: dict[str, int] = {}
    clear: set[int] = set()
    found: list[int] = []
    for file in files:
        key, says = key_of(_name(file))
        number = numbers.setdefault(key, len(numbers))
        if says:
            clear.add(number)
        found.append(number)
    groups = np.array(found, dtype=np.int64)
    sizes = np.bincount(groups, minlength=len(numbers)) if len(groups) else groups
    most = np.full(len(sizes), min(MOST, len(groups) // 4))
    most[sorted(clear)] = len(groups) // 2
    alone = (sizes > most)[groups] if len(groups) else np.zeros(0, bool)
    groups[alone] = len(numbers) + np.arange(int(alone.sum()))
    return groups


def grouped(files: Iterable[Place | str], plan: Train) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Number files as ``groups_of``, None if the plan wants none; what to tell people of it."""
    if not plan.holdout_groups:
        return None, ()
    groups = groups_of(files)
    return groups, tuple(filter(None, [note_of(groups)]))


def note_of(groups: np.ndarray) -> str:
    """Say what is kept together, for people; "" if nothing is."""
    _, sizes = np.unique(groups, return_counts=True)
    several = sizes[sizes > 1]
    if not len(several):
        return ""
    return (
        f"{several.sum()} files whose names say that they show {len(several)} pictures or "
        "recordings (x_001, x_tile3) stay on one side of the split; "
        "--set train.holdout_groups=false ends that"
    )


def _name(file: Place | str) -> str:
    if isinstance(file, Member):
        return f"{file.tar}/{file.name}"
    return file.as_posix() if isinstance(file, Path) else file
