"""The card of a classifier: the README.md beside its weights."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqtok.training.report import card


def compose(output: Path, facts: Mapping[str, Any]) -> str:
    """Draw the curves from the run's log; the card's Markdown.

    Args:
        output: Model directory, with ``log.jsonl``.
        facts: ``training.json``.
    """
    curves, _ = card.gather(output, facts)
    name, recipe = output.resolve().name, facts["recipe"]
    return card.joined(
        f"# {card.plain(name)}",
        card.plain(recipe["about"]),
        f"```\nvqtok eval PHOTOS/ -m {shlex.quote(name)}\n```",
        "## Held-out split of the training folder",
        card.table(facts["metrics"]),
        f"{facts['held_out_files']} images that were never trained on, measured on at most "
        f"{recipe['train']['holdout_items']} of them, each whole.",
        "## Data",
        card.described(facts),
        *card.training(facts, quality="accuracy", curves=curves),
    )
