"""Names of held-out files, as a model's directory keeps them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqtok import atomic, config
from vqtok.checkpoints.facts import HELD_OUT
from vqtok.media.items import Place


def held_out(files: Iterable[Place], data: Sequence[str], *, measured: int) -> dict[str, Any]:
    """Return what ``held-out.json`` says.

    Args:
        files: Held-out files; those that are measured while training come first.
        data: What was trained on: names are relative to directories among it.
        measured: How many are measured while training.

    Returns:
        "files", names: below the one directory, or with the name of theirs in front if there are
        several, or as paths; "measured"; "roots", the number of directories.
    """
    roots = [each.rstrip(os.sep) for each in data if Path(each).is_dir()]
    return {
        "files": [name_of(str(file), roots) for file in files],
        "measured": measured,
        "roots": len(roots),
    }


def write(output: Path, names: Mapping[str, Any]) -> None:
    """Write down which files are held out, so that any model can be measured on them.

    Args:
        output: Model directory.
        names: From ``held_out``; empty: they have none.
    """
    path = output / HELD_OUT
    if not names:
        path.unlink(missing_ok=True)
        return
    with atomic.file(path) as temporary:
        temporary.write_text(config.to_json(names), encoding="utf-8")


def name_of(path: str, roots: Sequence[str]) -> str:
    """Return the name of a file below one of these directories, its path if it is below none."""
    for root in roots:
        start = "" if root == "." else root + os.sep
        if path.startswith(start):
            name = path[len(start) :].replace(os.sep, "/")
            return name if len(roots) == 1 else f"{Path(root).resolve().name}/{name}"
    return path
