"""``vqtok eval --cas``: classifiers of real, reconstructed and sampled images, on real ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.cli.console import Console, table
from vqtok.errors import UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.media.plan import Plan
    from vqtok.pipeline.cas import Row, Scores
    from vqtok.pipeline.prior_models import Loaded


@dataclass(frozen=True)
class Choices:
    """Flags.

    Attributes:
        real: Images to train on.
        output: Directory for pictures and classifiers.
        count: Samples; None: as many as there are real images.
        steps: Of each classifier; None: as the preset has it.
        force: Overwrite what is there.
        device: Where all runs.
        threads: CPU threads, or None.
    """

    real: str
    output: str | None
    count: int | None
    steps: int | None
    force: bool
    device: str
    threads: int | None


def cas(console: Console, tests: Sequence[str], info: ModelInfo, chosen: Choices) -> None:
    """Make the pictures, train the classifiers, and print how good they are.

    Raises:
        UsageError: no directory to work in, or one that is not empty; a prior without classes.
    """
    if info.learned is None:
        raise UsageError("--cas", f"{info.name} is no prior", hint="-m PRIOR")
    folder = _folder(chosen)
    from vqtok.pipeline import cas as pipeline
    from vqtok.pipeline import plans, prior_models

    reads = prior_models.tokenizer_of(info, info.learned)
    models = prior_models.Loaded(
        info, info.learned, reads, device=chosen.device, threads=chosen.threads
    )
    pipeline.check(models)
    real, tested = plans.for_evaluate([chosen.real]), plans.for_evaluate(tests)
    places = {pipeline.REAL: Path(chosen.real)}
    counts = {pipeline.REAL: len(real.jobs)}
    for name in (pipeline.RECONSTRUCTED, pipeline.SAMPLED):
        places[name] = folder / name
    with console.progress(len(real.jobs), "reconstructed", unit="images") as progress:
        counts[pipeline.RECONSTRUCTED] = pipeline.reconstruct(
            real.jobs,
            models.tokenizer,
            places[pipeline.RECONSTRUCTED],
            classes=info.classes,
            on_done=progress.goto,
        )
    wanted = chosen.count or len(real.jobs)
    with console.progress(wanted, "sampled", unit="samples") as progress:
        counts[pipeline.SAMPLED] = pipeline.draw(
            models,
            places[pipeline.SAMPLED],
            count=wanted,
            seed=0,
            on_progress=lambda done: progress.goto(int(done)),
        )
    rows = []
    for name, place in places.items():
        judge = folder / f"trained-on-{name}"
        _train(console, place, judge, models, chosen)
        accuracy = _accuracy(judge, tested, models)
        rows.append(pipeline.Row(name, counts[name], accuracy))
        console.say(f"trained on {counts[name]} {name} images: {accuracy:.1%} of real ones right")
    made = plans.for_evaluate([str(places[pipeline.SAMPLED])])
    recognised = _accuracy(folder / f"trained-on-{pipeline.REAL}", made, models)
    chance = 1 / len(info.classes)
    scores = pipeline.Scores(info.name, tuple(rows), recognised, chance, len(tested.jobs))
    _show(console, scores)


def _folder(chosen: Choices) -> Path:
    if chosen.output is None:
        raise UsageError("--cas", "needs a directory for its pictures", hint="-o DIR")
    folder = Path(chosen.output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not chosen.force:
        raise UsageError(folder, "not empty", hint="-f overwrites what is there")
    if chosen.force:
        import shutil

        for name in ("reconstructed", "sampled"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return folder


def _train(console: Console, data: Path, output: Path, models: Loaded, chosen: Choices) -> None:
    from vqtok.training import loop

    side = max(models.learned.extent)
    edits = [f"train.window={side}"]
    edits += [] if chosen.steps is None else [f"train.steps={chosen.steps}"]
    events = loop.train(
        [str(data)],
        output,
        preset="classifier",
        edits=edits,
        device=models.device,
        command=f"vqtok eval --cas {chosen.real}",
    )
    with closing(events):
        first = next(events)
        steps = getattr(first, "steps", 1)
        with console.progress(steps, f"trained on {data.name}", unit="steps") as progress:
            for event in events:
                progress.goto(getattr(event, "step", 0))


def _accuracy(judge: Path, images: Plan, models: Loaded) -> float:
    from vqtok.checkpoints import classifiers
    from vqtok.metrics.accuracy import Accuracy
    from vqtok.pipeline import classify
    from vqtok.pipeline.results import Failed

    classifier = classifiers.load(judge, device=models.device)
    found = Accuracy(judge.name, chance=0.0)
    for each in classify.classify(classifier, images.jobs):
        if isinstance(each, Failed):
            raise each.error
        found.add(each.label, right=each.right)
    return found.share


def _show(console: Console, scores: Scores) -> None:
    if console.as_json:
        console.json(scores.to_json())
        return
    head = ["trained on", "images", f"accuracy on {scores.tested} real images"]
    rows = [_cells(row) for row in scores.rows]
    console.result(table(head, rows))
    console.result(
        f"samples of {scores.model} that are taken for their class: {scores.recognised:.1%} "
        f"(chance {scores.chance:.1%})"
    )


def _cells(row: Row) -> list[str]:
    return [row.trained_on, str(row.images), f"{row.accuracy:.1%}"]
