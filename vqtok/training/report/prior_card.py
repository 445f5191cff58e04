"""The card of a prior: the README.md beside its weights."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqtok.codes.spec import CodeSpec
from vqtok.training.report import card
from vqtok.training.report.samples import PROTOCOL


def compose(output: Path, spec: CodeSpec, facts: Mapping[str, Any]) -> str:
    """Draw the curves from the run's log; the card's Markdown.

    Args:
        output: Model directory, with ``log.jsonl`` and ``previews/``.
        spec: Of the codes.
        facts: ``training.json``.
    """
    curves, pictures = card.gather(output, facts)
    return render(output.resolve().name, spec, facts, pictures=pictures, curves=curves)


def render(
    name: str,
    spec: CodeSpec,
    facts: Mapping[str, Any],
    *,
    pictures: Sequence[str] = (),
    curves: bool = False,
) -> str:
    """Markdown of a card.

    Args:
        name: Of the model directory.
        spec: Of the codes.
        facts: As ``card.render`` takes them; their "data" is that of codes.
        pictures: Samples of the model, relative to its directory.
        curves: Whether ``curve.svg`` lies there.
    """
    data: Mapping[str, Any] = facts["data"]
    recipe = facts["recipe"]
    suffix = "wav" if spec.modality == "audio" else "png"
    told = f" --class {shlex.quote(data['labels'][0])}" if data["labels"] else ""
    return card.joined(
        f"# {card.plain(name)}",
        card.plain(recipe["about"]),
        f"```\nvqtok sample -m {shlex.quote(name)} -n 1{told} -o new.{suffix}\n```",
        "## Codes",
        card.codes(spec),
        f"- of the tokenizer {card.plain(data['tokenizer'] or 'unknown')}, fingerprint "
        f"`{data['fingerprint'] or 'unknown'}`, without which samples stay codes",
        "## Held-out split of the training data",
        card.table(facts["metrics"]),
        f"{facts['held_out_files']} items that were never trained on, measured on at most "
        f"{recipe['train']['holdout_items']} of them. {PROTOCOL}",
        _samples(pictures, classes=data["labels"]),
        "## Data",
        _data(facts),
        *card.training(facts, quality="nats_per_code", curves=curves),
    )


def _samples(pictures: Sequence[str], *, classes: Sequence[str]) -> str:
    if not pictures:
        return ""
    turn = ", one class after the other" if classes else ""
    if pictures[0].endswith(".png"):
        return f"Samples, not chosen{turn}:\n\n![Samples]({pictures[0]})"
    links = "\n".join(f"- [{each.rpartition('/')[2]}]({each})" for each in pictures)
    return f"Samples, not chosen{turn}:\n\n{links}"


def _data(facts: Mapping[str, Any]) -> str:
    data: Mapping[str, Any] = facts["data"]
    extent = "x".join(str(size) for size in reversed(data["extent"]))
    unit = "samples" if len(data["extent"]) == 1 else "pixels"
    lines = [
        f"- {facts['files']} items to train on, {data['codes']} codes; "
        f"{facts['held_out_files']} items held out",
        f"- windows of {extent} {unit}, {data['window']} codes",
    ]
    if data["smaller"]:
        lines.append(f"- {data['smaller']} items smaller than that, left out")
    return "\n".join([*lines, *card.data_notes(facts)])
