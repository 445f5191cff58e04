"""``vqtok models``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vqtok.cli import options, table
from vqtok.cli.console import show_error
from vqtok.cli.table import Column
from vqtok.errors import ExitCode

if TYPE_CHECKING:
    from vqtok.pipeline.model_facts import ModelFacts


def models(messages: options.Messages, wide: options.Wide = False) -> None:
    """List the models that -m can name.

    They are looked for in $VQTOK_MODELS (folders, separated as in PATH), ./models, the user's data
    folder (~/.local/share/vqtok/models) and among those that came with vqtok.

    \b
    Examples:
      vqtok models
      vqtok models --json
    """  # noqa: D301
    from vqtok.pipeline import inspect

    console = messages.console()
    found, damaged = inspect.models()
    if console.as_json:
        for each in found:
            console.json(each.to_json())
    elif found:
        columns = [
            Column("name", [each.info.name for each in found]),
            Column("for", [each.info.spec.modality for each in found]),
            Column("rate", [_rate(each) for each in found]),
            Column("parameters", [f"{each.info.parameters / 1e6:.2f} M" for each in found], drop=2),
            Column("size", [f"{each.info.size_bytes / 1e6:.1f} MB" for each in found], drop=1),
            Column("fingerprint", [each.info.fingerprint for each in found], drop=3),
            Column("path", [str(each.info.path) for each in found], drop=4, path=True),
        ]
        table.show(console, columns, wide=wide)
    if not found and not damaged:
        console.say("no models; train one: vqtok train --data DIR -o NAME")
    for error in damaged:
        show_error(str(error), error.hint)
    if damaged:
        raise typer.Exit(ExitCode.FAILED)


def _rate(facts: ModelFacts) -> str:
    return facts.rate_text if facts.info.decodes else f"{facts.rate_text}, encodes only"
