"""THE training loop, top to bottom.

A generator: it does a piece of work, yields an event (``training/log.py``) and prints nothing.
Batch, crops and the quantizer's random choices of step s depend on the seed and s alone, so a run
that was killed goes on with ``resuming=True`` exactly as if it had not been. Under torchrun every
rank runs this loop; rank 0 alone measures and writes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

import torch

from vqtok import allocator
from vqtok.checkpoints.devices import pick_device
from vqtok.training import ranks
from vqtok.training.log import Event, Finished, list_unreadable
from vqtok.training.prepare import prepare
from vqtok.training.report.board import Board, writer_class
from vqtok.training.run import Run

SHOWN_EVERY = 10
"""Steps between ``Progress`` events."""

SAVED_EVERY_S = 120.0
"""Seconds after which a kill may cost no more work, however rarely the run is measured."""


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

    Which of them, is what the preset's model is; ``training/task.py`` says in what they differ.

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
        should_stop: Asked after every step; True saves and ends the run.

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
    place = ranks.device_of(torch.device(pick_device(device)))
    with ranks.joined(place):
        run = prepare(
            data,
            output,
            preset=preset,
            start=start,
            edits=edits,
            resuming=resuming,
            device=str(place),
            command=command,
        )
        allocator.keep()
        run.begin()
        board = Board(output, first_step=run.step) if tensorboard and run.speaks else None
        try:
            for event in _events(run, should_stop):
                if board is not None:
                    board.write(event)
                yield event
        finally:
            if board is not None:
                board.close()


def _events(run: Run, should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
    yield run.started()
    with closing(run.dataset.batches(run.step)) as batches:
        reason = run.over()
        while not reason:
            for warned in run.advance(next(batches)):
                run.journal.write(warned)
                yield warned
            reason = run.over(stop=should_stop())
            if run.step % SHOWN_EVERY == 0 or reason:
                progress = run.progress()
                run.journal.write(progress)
                yield progress
            if reason or run.step % run.plan.evaluate_every == 0:
                evaluated = run.evaluate(last=reason in ("steps", "minutes"))
                if evaluated is not None:
                    yield evaluated
            elif run.unsaved_s > SAVED_EVERY_S:
                run.save_state()
    bad = run.bad()
    if run.speaks:
        list_unreadable(run.output, bad)
    yield Finished(run.output, run.step, run.clock, reason, run.metrics, bad)
