"""``vqtok eval`` with a classifier: how often it names the directory of an image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from vqtok.cli import batch
from vqtok.cli.console import Console
from vqtok.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.metrics.accuracy import Accuracy
    from vqtok.pipeline.results import Failed


def classify(
    console: Console,
    files: Sequence[str],
    info: ModelInfo,
    *,
    label: str | None,
    device: str,
    threads: int | None,
    refused: Sequence[str],
) -> None:
    """Print what each image is taken for, and how often that is right.

    Args:
        console: Where to.
        files: Arguments.
        info: Of the classifier.
        label: Class of all images, or None.
        device: Where it runs.
        threads: CPU threads, or None.
        refused: Flags that were given and have no effect here.

    Raises:
        UsageError: one of these.
        typer.Exit: 1 if an input failed.
    """
    if refused:
        raise UsageError(refused[0], "of no effect on a classifier", hint="leave it out")
    from vqtok.pipeline import plans

    plan = plans.for_evaluate(files)
    with console.progress(len(plan.jobs), "classified", unit="images") as progress:
        progress.stage(f"loading {info.name}")
        from vqtok.checkpoints import classifiers
        from vqtok.checkpoints.devices import pick_device
        from vqtok.metrics.accuracy import Accuracy
        from vqtok.pipeline import classify as pipeline
        from vqtok.pipeline.results import Failed

        classifier = classifiers.load(info.path, device=pick_device(device, threads=threads))
        accuracy = Accuracy(info.name, chance=1 / max(1, len(info.classes)))
        failed: list[Failed] = batch.failures_of(plan)
        results = pipeline.classify(classifier, plan.jobs, label=label)
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
