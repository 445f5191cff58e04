"""From what a user asks for to the events of a run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

import torch

from vqtok import allocator, config
from vqtok.checkpoints import directory, resume
from vqtok.checkpoints.devices import pick_device
from vqtok.distributed import device_of_rank, joined
from vqtok.training import classifier, prior, tokenizer
from vqtok.training.data.code_items import is_codes
from vqtok.training.log import Evaluated, Event
from vqtok.training.recipe import family, load
from vqtok.training.report.tensorboard import EventWriter, writer_class
from vqtok.training.run import Run
from vqtok.training.task import Options, Resolved

RESOLVE: Mapping[str, Callable[[Options], Resolved]] = {
    "tokenizers": tokenizer.resolve,
    "priors": prior.resolve,
    "classifiers": classifier.resolve,
}
"""Family of the model → what fits recipe and data together."""


def train(
    data: Sequence[str],
    output: Path,
    *,
    preset: str | None = None,
    start: str | None = None,
    edits: Sequence[str] = (),
    resuming: bool = False,
    device: str = "auto",
    command: str = "",
    tensorboard: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Event, None, None]:
    """Train a tokenizer, a prior or a classifier on folders of files; leave a model directory.

    Which of them, is what the preset's model is. A generator: it prints nothing.

    Args:
        data: Folders or files of one kind: images, audio, or codes.
        output: Model directory to make, or to go on with.
        preset: Recipe name or path; None: the default of the data's kind.
        start: Model, by NAME or directory, whose architecture and weights to begin with.
        edits: ``key=value`` changes of the recipe.
        resuming: Go on from ``resume.safetensors`` in ``output``, with its recipe and these edits.
        device: "auto", "cpu", "cuda" …
        command: What the user typed, for the card.
        tensorboard: Also write events for TensorBoard, in ``tensorboard/``.
        should_stop: Called after every step; True saves and ends the run.

    Yields:
        ``Started``, ``Progress`` every few steps, ``Warned`` when something is wrong,
        ``Evaluated`` at each measurement, ``Finished`` last.

    Raises:
        UsageError: no data, mixed data, data of another kind than the recipe's model.
        ConfigError: a recipe that does not fit together.
        CheckpointError: nothing to resume from.
        TrainingError: the run has diverged.
    """
    if tensorboard:
        writer_class()  # missing? then before any work
    here = device_of_rank(torch.device(pick_device(device)))
    with joined(here):
        run = prepare(
            data,
            output,
            preset=preset,
            start=start,
            edits=edits,
            resuming=resuming,
            device=str(here),
            command=command,
        )
        allocator.keep()
        run.begin()
        board = None
        if tensorboard and run.speaks:
            recipe = {"command": command, "recipe": config.dump(run.recipe)}
            board = EventWriter(output, first_step=run.step, recipe=recipe)
        try:
            for event in run.events(should_stop):
                if board is not None:
                    if isinstance(event, Evaluated):
                        board.uses(event.step, run.monitor.relative_uses())
                    board.write(event)
                yield event
        finally:
            if board is not None:
                board.close()


def prepare(
    data: Sequence[str],
    output: Path,
    *,
    preset: str | None = None,
    start: str | None = None,
    edits: Sequence[str] = (),
    resuming: bool = False,
    device: str = "cpu",
    command: str = "",
) -> Run:
    """Make a run that is ready to ``begin``; arguments are ``train``'s, ``device`` as torch's."""
    saved = resume.read_state(output) if resuming else None
    if saved is not None and isinstance(saved["recipe"].get("train"), dict):
        saved["recipe"]["train"].setdefault("optimizer", "adamw")  # 0.1.0 knew no other
        saved["recipe"]["train"].setdefault("holdout_groups", False)  # and split file by file
    options = Options(data, output, preset, start, edits, saved)
    resolved = RESOLVE.get(_family(options), tokenizer.resolve)(options)
    return Run(resolved, output, device=device, command=command, saved=saved, data=data)


def _family(options: Options) -> str:
    """Finds what is to be trained: by what the run goes on with, its preset, or the data."""
    if options.saved is not None:
        return str(options.saved["recipe"].get("model", {}).get("type")).partition("/")[0]
    if options.start is not None:
        return directory.describe(options.start).family
    if options.preset is not None:
        return family(load(options.preset))
    return "priors" if is_codes(options.data) else "tokenizers"
