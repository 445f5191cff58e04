"""The files that the training of a model held out, found again in a folder. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vqtok.checkpoints import directory
from vqtok.checkpoints.facts import HELD_OUT
from vqtok.errors import CheckpointError, UsageError
from vqtok.media.plan import Job, Plan


@dataclass(frozen=True)
class HeldOut:
    """Names files, as ``training.data.held_out`` does.

    Attributes:
        model: The model's name.
        files: Their names.
        roots: Directories that were trained on: below one, names are relative to it; of several,
            they begin with the directory's own.
    """

    model: str
    files: frozenset[str]
    roots: int

    def name_of(self, path: Path, roots: Sequence[str]) -> str | None:
        """Return the name that a file would have, found below one of these directories."""
        text = str(path)
        if text in self.files:
            return text
        for root in roots:
            plain = root.rstrip(os.sep)
            start = "" if plain == "." else plain + os.sep
            if text.startswith(start):
                name = text[len(start) :].replace(os.sep, "/")
                whole = name if self.roots == 1 else f"{Path(root).resolve().name}/{name}"
                return whole if whole in self.files else None
        return None


def held_out_of(name: str) -> HeldOut:
    """Read which files a model's training held out.

    Raises:
        UsageError: no such model, or one that does not say.
        CheckpointError: it says so in a way that cannot be read.
    """
    info = directory.describe(name)
    path = info.path / HELD_OUT
    try:
        with path.open("rb") as stream:
            data = json.loads(stream.read(_LARGEST))
        files, roots = data["files"], data["roots"]
        if not isinstance(roots, int) or not all(isinstance(each, str) for each in files):
            raise ValueError("not names")
    except FileNotFoundError as error:
        raise UsageError(
            f"--held-out {name}",
            f"the model does not say which files were held out: it has no {HELD_OUT}",
            hint="`vqtok train` writes it since 0.2.0",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(path, "cannot be read: it should hold names of files") from error
    return HeldOut(info.name, frozenset(files), roots)


def only_held_out(plan: Plan, arguments: Sequence[str], held: HeldOut) -> tuple[Plan, str]:
    """Leave out all files but those that are held out.

    Args:
        plan: Of everything.
        arguments: What was named: directories that were trained on.
        held: From ``held_out_of``.

    Returns:
        The rest of the plan, and a sentence about it.

    Raises:
        UsageError: none of them is there.
    """
    roots = [each for each in arguments if Path(each).is_dir()]
    found: dict[str, Job] = {}
    for job in plan.jobs:
        name = None if job.source is None else held.name_of(job.source, roots)
        if name is not None:
            found.setdefault(name, job)
    if not found:
        example = min(held.files, default="none")
        raise UsageError(
            f"--held-out {held.model}",
            f"none of its {len(held.files)} held-out files is there ({example}, …)",
            hint="name the folder that it was trained on",
        )
    count = f"{len(found)} of {len(held.files)}"
    jobs = tuple(found.values())
    note = f"held out by {held.model}: {count} files, {len(plan.jobs) - len(jobs)} others left out"
    return replace(plan, jobs=jobs), note


_LARGEST = 1 << 28  # bytes
