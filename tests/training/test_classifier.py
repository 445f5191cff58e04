"""A classifier is trained by the same loop, on the names of directories."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vqtok.checkpoints import classifiers, directory, resume
from vqtok.errors import CheckpointError, ConfigError, UsageError
from vqtok.training.log import Evaluated, Event, Finished, Started
from vqtok.training.report.rehearsal import rehearse
from vqtok.training.train import prepare, train

EDITS = [
    "model.width=8",
    "model.blocks=1",
    "train.batch=8",
    "train.window=16",
    "train.evaluate_every=30",
    "train.holdout=0.2",
    "train.warmup=1",
    "train.precision=float32",
    "train.average=0",
]


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Noisy pictures, red ones and blue ones, ten of each."""
    random = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = random.integers(0, 100, (16, 16, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


def run(data: Path, output: Path, *edits: str, **options: object) -> list[Event]:
    every = [] if options.get("resuming") else [*EDITS, *edits]
    preset = None if options.get("resuming") else "classifier"
    return list(
        train([str(data)], output, preset=preset, edits=every, device="cpu", **options)  # type: ignore[arg-type]
    )


def test_it_learns_to_tell_the_directories_apart(colours: Path, tmp_path: Path) -> None:
    events = run(colours, tmp_path / "c", "train.steps=30")
    started, evaluated = events[0], events[-2]
    assert isinstance(started, Started)
    assert (started.learns, started.files, started.held_out) == ("classifier", 16, 4)
    assert isinstance(evaluated, Evaluated)
    assert evaluated.metrics["accuracy"] == 1.0
    network = classifiers.load(tmp_path / "c")
    assert network.classes == ("blue", "red")
    red = torch.full((1, 3, 16, 16), -0.6)
    red[:, 0] = 0.5
    assert network.probabilities(red)[0, 1] > 0.5
    assert "accuracy" in (tmp_path / "c" / "README.md").read_text()


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    colours: Path, tmp_path: Path
) -> None:
    run(colours, tmp_path / "whole", "train.steps=6")
    stops = itertools.count(1)
    run(colours, tmp_path / "parts", "train.steps=6", should_stop=lambda: next(stops) == 3)
    last = run(colours, tmp_path / "parts", resuming=True)[-1]
    assert isinstance(last, Finished)
    whole, parts = (load_file(tmp_path / name / resume.FILE) for name in ("whole", "parts"))
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_it_is_neither_tokenizer_nor_prior(colours: Path, tmp_path: Path, shelf: Path) -> None:
    run(colours, tmp_path / "c", "train.steps=1")
    info = directory.describe(tmp_path / "c")
    assert (info.family, info.learned, info.classes) == ("classifiers", None, ("blue", "red"))
    with pytest.raises(CheckpointError, match="no tokenizer"):
        directory.load(tmp_path / "c")
    with pytest.raises(CheckpointError, match="no classifier"):
        classifiers.load(shelf / "image-f8")


def test_what_cannot_be_is_refused(colours: Path, tmp_path: Path) -> None:
    def begin(data: Path, *edits: str, **options: object) -> None:
        prepare([str(data)], tmp_path / "c", preset="classifier", edits=[*EDITS, *edits], **options)  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="one directory"):
        begin(colours / "red")
    with pytest.raises(ConfigError, match=r"train\.labels"):
        begin(colours, "train.labels=false")
    with pytest.raises(ConfigError, match="of no effect on a classifier"):
        begin(colours, "train.samples=3")
    with pytest.raises(UsageError, match="other directories"):
        begin(colours, 'model.classes=["cat","dog"]')


def test_a_rehearsal_has_no_codes_to_tell(colours: Path, tmp_path: Path) -> None:
    run_ = prepare([str(colours)], tmp_path / "c", preset="classifier", edits=EDITS)
    found = rehearse(run_)
    assert (found.learns, found.window, found.window_tokens) == ("classifier", (16, 16), 0)
