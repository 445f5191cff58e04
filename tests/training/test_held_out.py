"""What a run begins with is measured, and what it held out is named and kept apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.test_run import run, state
from vqtok.checkpoints import resume
from vqtok.pipeline import inspect
from vqtok.training.data.held_out import name_of
from vqtok.training.log import Evaluated, Started
from vqtok.training.report import preview
from vqtok.training.run import Run

FINE = ["train.window=16", "train.batch=2", "train.evaluate_every=2", "train.average=0"]


@pytest.fixture
def first(photos: Path, tmp_path: Path) -> Path:
    run(photos, tmp_path / "first", "train.steps=2")
    return tmp_path / "first"


def fine(photos: Path, output: Path, start: Path | None, *edits: str, **options: object) -> list:
    from vqtok.training.train import train

    chosen = None if options.get("resuming") else str(start)
    return list(
        train([str(photos)], output, start=chosen, edits=[*FINE, *edits], device="cpu", **options)
    )


def test_fine_tuning_is_measured_before_its_first_step(first, photos, tmp_path) -> None:
    events = fine(photos, tmp_path / "m", first, "train.steps=2")
    measured = [each for each in events if isinstance(each, Evaluated)]
    assert [each.step for each in measured] == [0, 2]
    # The same held-out file: it is as good as what it began with said.
    before = json.loads((first / "training.json").read_text())["metrics"]
    assert measured[0].metrics["psnr_db"] == pytest.approx(before["psnr_db"], abs=0.05)


def test_the_best_model_may_be_the_one_that_it_began_with(
    first, photos, tmp_path, monkeypatch
) -> None:
    scores, real = iter([9.0, 8.0, 7.0]), preview.measure

    def measure(*arguments, **options):
        metrics, shown = real(*arguments, **options)
        return metrics | {"psnr_db": next(scores)}, shown

    monkeypatch.setattr(preview, "measure", measure)
    events = fine(photos, tmp_path / "m", first, "train.steps=4")
    measured = [each for each in events if isinstance(each, Evaluated)]
    assert [each.best for each in measured] == [True, False, False]
    facts = json.loads((tmp_path / "m" / "training.json").read_text())
    assert facts["best_step"] == 0
    assert facts["metrics"] == measured[0].metrics
    assert "the model that it began with" in (tmp_path / "m" / "README.md").read_text()


def test_a_run_that_is_killed_before_it_is_measured_is_measured_when_it_goes_on(
    first, photos, tmp_path, monkeypatch
) -> None:
    whole = fine(photos, tmp_path / "whole", first, "train.steps=2")

    def stop(self: Run, *, last: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            fine(photos, tmp_path / "parts", first, "train.steps=2")
    assert resume.read_state(tmp_path / "parts")["step"] == 0
    parts = fine(photos, tmp_path / "parts", None, resuming=True)
    for one, other in zip(
        (each for each in whole if isinstance(each, Evaluated)),
        (each for each in parts if isinstance(each, Evaluated)),
        strict=True,
    ):
        assert (one.step, one.metrics) == (other.step, other.metrics)
    for name, value in state(tmp_path / "whole").items():
        np.testing.assert_array_equal(value, state(tmp_path / "parts")[name])


def test_a_fresh_model_is_not_measured_before_it_has_learned(photos, tmp_path) -> None:
    events = run(photos, tmp_path / "m", "train.steps=2")
    assert [each.step for each in events if isinstance(each, Evaluated)] == [2]


def test_held_out_files_are_named(photos, tmp_path) -> None:
    (photos / "in").mkdir()
    for number in range(3):
        shutil.copy(photos / f"{number}.png", photos / "in" / f"{number}.png")
    run(photos, tmp_path / "m", "train.steps=1", "train.holdout=0.5")
    names = json.loads((tmp_path / "m" / "held-out.json").read_text())
    assert names["roots"] == 1 and len(names["files"]) == names["measured"] == 4
    assert all((photos / name).is_file() for name in names["files"])
    rows = dict(inspect.inspect(str(tmp_path / "m")).rows())
    assert rows["held out"].endswith("(by its training, on the 4 held out of its own data)")
    (photos / "new.png").write_bytes((photos / "0.png").read_bytes())
    before = (tmp_path / "m" / "held-out.json").read_bytes()
    run(photos, tmp_path / "m", "train.steps=2", resuming=True)
    assert (tmp_path / "m" / "held-out.json").read_bytes() == before


@pytest.mark.parametrize(
    ("path", "roots", "name"),
    [
        ("d/a/1.png", ["d"], "a/1.png"),
        ("a/1.png", ["."], "a/1.png"),
        ("d/1.png", ["c", "d"], "d/1.png"),
        ("dd/1.png", ["d"], "dd/1.png"),
        ("/x/d/1.png", ["/x/d", "/x/e"], "d/1.png"),
    ],
)
def test_names_are_relative_to_what_was_trained_on(path: str, roots: list[str], name: str) -> None:
    assert name_of(path, roots) == name


def test_tiles_are_kept_together_and_it_is_said(tmp_path) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number in range(8):
        for tile in range(3):
            pixels = np.full((20, 20, 3), 30 * number + tile, np.uint8)
            Image.fromarray(pixels).save(folder / f"p{number}_{tile}.png")
    (started, *_) = run(folder, tmp_path / "m", "train.steps=1")
    assert isinstance(started, Started)
    assert started.held_out == 3
    assert any("24 files whose names say that they show 8 pictures" in n for n in started.notes)
    facts = json.loads((tmp_path / "m" / "training.json").read_text())
    assert facts["recipe"]["train"]["holdout_groups"] is True
    off, *_ = run(folder, tmp_path / "off", "train.steps=1", "train.holdout_groups=false")
    assert isinstance(off, Started) and off.held_out == 2
    assert not any("whose names say" in note for note in off.notes)
    # A run of an earlier version goes on with the split that it had.
    from vqtok.training.train import prepare

    saved = resume.read_state(tmp_path / "off")
    del saved["recipe"]["train"]["holdout_groups"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "read_state", lambda output: saved)
        again = prepare([str(folder)], tmp_path / "off", resuming=True)
    assert again.task.held_out == 2
