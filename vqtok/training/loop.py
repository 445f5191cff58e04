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
from vqtok.checkpoints import resume
from vqtok.training.fit import fit, keys, modality, survey
from vqtok.training.log import Event, Finished
from vqtok.training.recipe import DEFAULT_PRESET, load, parse
from vqtok.training.run import Run
from vqtok.training.sources import find

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
        should_stop: Asked after every step; True saves and ends the run.

    Yields:
        ``Started``, ``Progress`` every few steps, ``Evaluated`` at each measurement, ``Finished``
        last.

    Raises:
        UsageError: no data, mixed data, data of another kind than the recipe's model.
        ConfigError: a recipe that does not fit together.
        CheckpointError: nothing to resume from.
    """
    saved = resume.read_state(output) if resuming else None
    found = None
    if saved is not None:
        recipe = parse(config.assign(saved["recipe"], edits), where=f"{output}")
    elif preset is not None:
        recipe = load(preset, edits=edits)
    else:
        found = find(data)
        recipe = load(DEFAULT_PRESET[found.kind], edits=edits)
        recipe, _ = fit(recipe, survey(found.files, found.kind), kept=keys(edits))
    if found is None:
        found = find(data, kind=modality(recipe))
    run = Run(recipe, found.kind, found.files, output, device=device, command=command, saved=saved)
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
            if reason or run.step % recipe.train.evaluate_every == 0:
                yield run.evaluate()
            elif run.unsaved_s > SAVED_EVERY_S:
                run.save_state()
        bad = tuple(dict(sorted((run.unreadable | run.dataset.bad).items())).values())
        yield Finished(output, run.step, run.elapsed, reason, run.metrics, bad)
