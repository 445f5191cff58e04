"""``vqtok eval`` with a classifier: how often it names the directory of an image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from vqtok.cli import batch
from vqtok.cli.console import Console
from vqtok.cli.evaluate.tokenizers import only_held_out
from vqtok.errors import ExitCode

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.cli.evaluate.flags import Choices
    from vqtok.metrics.accuracy import Accuracy
    from vqtok.pipeline.results import Failed


def evaluate(console: Console, files: Sequence[str], info: ModelInfo, chosen: Choices) -> None:
    """Print what each image is taken for, and how often that is right.

    Raises:
        UsageError: a flag that has no effect here.
        typer.Exit: 1 if an input failed.
    """
    chosen.refuse_media_flags("classifier")
    from vqtok.pipeline import plans

    plan = only_held_out(console, plans.for_evaluate(files), files, chosen)
    with console.progress(len(plan.jobs), "classified", unit="images") as progress:
        progress.aside(f"loading {info.name}")
        from vqtok.checkpoints import classifiers
        from vqtok.checkpoints.devices import pick_device
        from vqtok.metrics.accuracy import Accuracy
        from vqtok.pipeline import classify
        from vqtok.pipeline.results import Failed

        device = pick_device(chosen.machine.device, threads=chosen.machine.threads)
        classifier = classifiers.load(info.path, device=device)
        accuracy = Accuracy(info.name, chance=1 / max(1, len(info.classes)))
        failed: list[Failed] = batch.failures_of(plan)
        results = classify.classify(classifier, plan.jobs, label=chosen.label)
        with closing(results):  # type: ignore[type-var]  # a generator
            for count, each in enumerate(results, 1):
                progress.goto(count)
                if console.as_json:
                    console.json(each.to_json())
                if isinstance(each, Failed):
                    failed.append(each)
                    continue
                accuracy.add(each.label, right=each.right)
                if not console.as_json:
                    mark = "" if each.right else f"  not {each.label}"
                    console.result(f"{each.probability:.3f}  {each.source}  {each.found}{mark}")
    _show(console, accuracy)
    if failed:
        console.failures(failed)
        raise typer.Exit(ExitCode.FAILED)


def _show(console: Console, accuracy: Accuracy) -> None:
    if console.as_json:
        console.json(accuracy.to_json())
        return
    lines = [f"\n{accuracy.all.total()} images, {accuracy.model}"]
    lines.append(f"  accuracy:       {accuracy.share:.1%} (chance {accuracy.chance:.1%})")
    lines += [f"  {name + ':':<16}{share:.1%}" for name, share in accuracy.by_class().items()]
    console.result("\n".join(lines))
