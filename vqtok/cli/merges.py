"""``vqtok train --preset bpe``: merges of codes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqtok.cli.console import Console
from vqtok.errors import UsageError

if TYPE_CHECKING:
    from vqtok.cli.train_options import Choices
    from vqtok.compose.merges import MergesFile

_OF_NETWORKS = (
    *("steps", "minutes", "batch", "quantizer", "model", "stage", "labels", "seed"),
    *("precision", "workers", "tensorboard"),
)


def is_for(preset: str | None) -> bool:
    """Tell whether a preset trains merges.

    Raises:
        ConfigError: no such preset.
    """
    if preset is None:
        return False
    from vqtok.pipeline.merges import KEY
    from vqtok.training import recipe

    return KEY in recipe.read(preset)


def train(console: Console, chosen: Choices) -> None:
    """Learn merges of the codes of corpora.

    An interrupted run leaves nothing: it is computed again, and comes out the same.

    Raises:
        UsageError: flags of networks, no output, or a folder that holds other merges.
        VqtokError: of the corpora and the recipe.
    """
    from vqtok.pipeline import merges as pipeline
    from vqtok.training import recipe

    for name in _OF_NETWORKS:
        if getattr(chosen, name) not in (None, False):
            raise UsageError(f"--{name}", "of no effect on merges", hint="leave it out")
    if chosen.output is None and not chosen.dry_run:
        raise UsageError("-o", "merges need a folder", hint="-o MERGES/")
    if chosen.machine.threads is not None:  # read by the library when it begins
        os.environ["RAYON_NUM_THREADS"] = str(chosen.machine.threads)
    data: Mapping[str, Any] = recipe.read(str(chosen.preset))
    task = pipeline.plan(chosen.data, data, chosen.edits or [])
    found = None
    if chosen.resume and chosen.output is not None:
        found = pipeline.earlier(chosen.output, task)
    if found is not None:
        console.say(f"{chosen.output}: complete already")
    else:
        with console.progress(task.items, "read", unit="items") as progress:
            done = 0

            def on_items(count: int) -> None:
                nonlocal done
                done += count
                progress.goto(done)

            found = pipeline.learn(
                task, on_items, lambda model: progress.stage(f"learning merges of {model}")
            )
        if chosen.output is not None and not chosen.dry_run:
            pipeline.write(chosen.output, found)
    _result(console, found, chosen)


def _result(console: Console, found: MergesFile, chosen: Choices) -> None:
    from vqtok.pipeline import merges as pipeline

    output = None if chosen.dry_run else chosen.output
    saved = pipeline.saving_of_learned(found)
    if console.as_json:
        path = None if output is None else str(output)
        console.json({"merges": path, "tokenizers": [asdict(each) for each in saved]})
        return
    for each in saved:
        console.say(str(each))
    if output is not None:
        console.path(output)
        corpora = shlex.join(str(Path(each)) for each in chosen.data)
        console.say(f"Next: vqtok compose {corpora} --merges {shlex.quote(str(output))} -o TOKENS/")
