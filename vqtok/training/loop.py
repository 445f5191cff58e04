"""THE training loop, top to bottom.

A generator: it does a piece of work, yields an event (``training/log.py``) and prints nothing.
Batch, crops and the quantizer's random choices of step s depend on the seed and s alone, so a run
that was killed goes on with ``resuming=True`` exactly as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from vqtok import config
from vqtok.checkpoints import directory, resume
from vqtok.training.board import Board, writer_class
from vqtok.training.data import find
from vqtok.training.log import Event, Finished, list_unreadable
from vqtok.training.recipe import DEFAULT_PRESET, load, parse
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
    edits: Sequence[str] = (),
    resuming: bool = False,
    device: str = "auto",
    command: str = "",
    start: str | None = None,
    stage: str | None = None,
    tensorboard: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Event, None, None]:
    """Train a tokenizer on folders of files and leave a model directory.

    Args:
        data: Folders or files of one kind, images or audio.
        output: Model directory to make, or to go on with.
        preset: Recipe name or path; None: the default of the data's kind.
        edits: ``key=value`` changes of the recipe.
        resuming: Go on from ``resume.safetensors`` in ``output``, with its recipe and these edits.
        device: "auto", "cpu", "cuda" …
        command: What the user typed, for the card.
        start: A model, by name or directory, whose weights to begin with; the recipe's model is
            then its.
        stage: "all" or "decoder"; None: as the recipe says.
        tensorboard: Also write events for TensorBoard.
        should_stop: Asked after every step; True saves and ends the run.

    Yields:
        ``Started``, ``Progress`` every few steps, ``Evaluated`` at each measurement, ``Finished``
        last.

    Raises:
        UsageError: no data, mixed data, data of another kind than the recipe's model.
        ConfigError: a recipe that does not fit together.
        CheckpointError: nothing to resume from.
    """
    if tensorboard:
        writer_class()  # missing? then before any work
    run = prepare(
        data, output, preset=preset, edits=edits, resuming=resuming, device=device,
        command=command, start=start, stage=stage,
    )  # fmt: skip
    run.begin()
    board = Board(output, first_step=run.step) if tensorboard else None
    try:
        for event in _events(run, should_stop):
            if board is not None:
                board.write(event)
            yield event
    finally:
        if board is not None:  # what a failing run has written counts most
            board.close()


def prepare(
    data: Sequence[str],
    output: Path,
    *,
    preset: str | None = None,
    edits: Sequence[str] = (),
    resuming: bool = False,
    device: str = "auto",
    command: str = "",
    start: str | None = None,
    stage: str | None = None,
) -> Run:
    """All that precedes the first step; writes nothing. See ``train``."""
    kind, files = find(data)
    edits = [*edits, *([f"train.stage={stage}"] if stage else [])]
    saved = resume.read_state(output) if resuming else None
    if saved is not None:
        recipe = parse(config.assign(saved["recipe"], edits), where=f"{output}")
    elif start is not None:
        model = directory.describe(start).config
        whole = {**config.dump(load(preset or DEFAULT_PRESET[kind])), "model": model}
        recipe = parse(config.assign(whole, edits))
    else:
        recipe = load(preset or DEFAULT_PRESET[kind], edits=edits)
    run = Run(recipe, kind, files, output, device=device, command=command, saved=saved)
    if start is not None and saved is None:
        weights = directory.load(start).state_dict()  # type: ignore[attr-defined]
        run.model.load_state_dict(weights)
    return run


def _events(run: Run, should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
    output = run.output
    yield run.started()
    with closing(run.dataset.batches(run.step)) as batches:
        reason = run.over()
        while not reason:
            run.advance(next(batches))
            stopping = should_stop()
            reason = run.over() or ("stopped" if stopping else "")
            if run.step % SHOWN_EVERY == 0 or reason:
                progress = run.progress()
                run.journal.write(progress)
                yield progress
            if reason or run.step % run.plan.evaluate_every == 0:
                yield run.evaluate()
            elif run.unsaved_s > SAVED_EVERY_S:
                run.save_state()
        bad = tuple(run.dataset.bad.values())
        list_unreadable(output, bad)
        yield Finished(output, run.step, run.elapsed, reason, run.metrics, bad)
