"""What a run was asked to be, and what that comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vqtok.training.recipe import Recipe
from vqtok.training.task import Task


@dataclass(frozen=True)
class Asked:
    """Arguments of ``loop.train``.

    Attributes:
        saved: State of the run to go on with, or None.
    """

    data: Sequence[str]
    output: Path
    preset: str | None
    start: str | None
    edits: Sequence[str]
    saved: dict[str, Any] | None


class Settled(NamedTuple):
    """All that a run needs.

    Attributes:
        recipe: Complete, fitted to the data.
        task: What to learn, from what.
        notes: What was left out, what was adapted; a sentence each.
    """

    recipe: Recipe
    task: Task
    notes: tuple[str, ...]
