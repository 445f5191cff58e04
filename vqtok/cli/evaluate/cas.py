"""``vqtok eval --cas``: the Classification Accuracy Score of a prior."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.cli.console import Console
from vqtok.cli.table import Column, text_of
from vqtok.errors import UsageError

if TYPE_CHECKING:
    from vqtok.checkpoints.facts import ModelInfo
    from vqtok.cli.evaluate.flags import Choices
    from vqtok.pipeline.prior_models import Loaded


def evaluate(
    console: Console, tests: Sequence[str], info: ModelInfo | None, chosen: Choices
) -> None:
    """Print how good classifiers of real, reconstructed and sampled images are.

    Raises:
        UsageError: no directory to work in, or one that is not empty; a prior without classes.
    """
    if info is None:
        raise UsageError("--cas", "needs a prior", hint="-m PRIOR")
    if chosen.report is not None:
        raise UsageError("--report", "of no effect with --cas", hint="leave it out")
    if info.learned is None:
        raise UsageError("--cas", f"{info.name} is no prior", hint="-m PRIOR")
    folder = _folder(chosen)
    from vqtok.pipeline import cas, prior_models

    reads = prior_models.tokenizer_of(info, info.learned)
    machine = chosen.machine
    models = prior_models.Loaded(
        info, info.learned, reads, device=machine.device, threads=machine.threads
    )
    scores = cas.score(
        models,
        real=str(chosen.real),
        tests=tests,
        folder=folder,
        count=chosen.samples,
        train=_training(models, chosen),
        progress=console.progress,
        on_row=lambda row: console.say(
            f"trained on {row.images} {row.trained_on} images: "
            f"{row.accuracy:.1%} of real ones right"
        ),
    )
    if console.as_json:
        console.json(scores.to_json())
        return
    columns = [
        Column("trained on", [row.trained_on for row in scores.rows]),
        Column("images", [str(row.images) for row in scores.rows]),
        Column(
            f"accuracy on {scores.tested} real images",
            [f"{row.accuracy:.1%}" for row in scores.rows],
        ),
    ]
    console.result(text_of(columns))
    console.result(
        f"samples of {scores.model} that are taken for their class: {scores.recognised:.1%} "
        f"(chance {scores.chance:.1%})"
    )


def _folder(chosen: Choices) -> Path:
    if chosen.output is None:
        raise UsageError("--cas", "needs a directory for its pictures", hint="-o DIR")
    folder = Path(chosen.output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not chosen.force:
        raise UsageError(folder, "not empty", hint="-f overwrites what is there")
    if chosen.force:
        for name in ("reconstructed", "sampled"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return folder


def _training(models: Loaded, chosen: Choices) -> Callable[[Path, Path], Iterator[int]]:
    edits = [f"train.window={max(models.learned.extent)}"]
    edits += [] if chosen.steps is None else [f"train.steps={chosen.steps}"]

    def train(data: Path, output: Path) -> Iterator[int]:
        from vqtok.training.train import train as run

        events = run(
            [str(data)],
            output,
            preset="classifier",
            edits=edits,
            device=models.device,
            command=f"vqtok eval --cas {chosen.real}",
        )
        with closing(events):
            yield getattr(next(events), "steps", 1)
            for event in events:
                yield getattr(event, "step", 0)

    return train
