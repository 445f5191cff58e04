"""``vqtok models``."""

from __future__ import annotations

import typer

from vqtok.cli import options
from vqtok.cli.console import show_error, table
from vqtok.errors import ExitCode


def models(
    messages: options.Messages,
) -> None:
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
        head = ["name", "for", "rate", "parameters", "size", "fingerprint", "path"]
        rows = [
            [
                each.info.name,
                each.info.spec.modality,
                each.rate_text,
                f"{each.info.parameters / 1e6:.2f} M",
                f"{each.info.size_bytes / 1e6:.1f} MB",
                each.info.fingerprint,
                str(each.info.path),
            ]
            for each in found
        ]
        console.result(table(head, rows))
    if not found and not damaged:
        console.say("no models; train one: vqtok train --data DIR -o NAME")
    for error in damaged:
        show_error(str(error), error.hint)
    if damaged:
        raise typer.Exit(ExitCode.FAILED)
