"""The best model stays at the top, the latest few beside it, and nothing half."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import vqtok
from tests.training.conftest import IMAGE_EDITS
from vqtok.checkpoints import directory
from vqtok.errors import ConfigError
from vqtok.training.keeper import CheckpointKeeper
from vqtok.training.log import Evaluated
from vqtok.training.recipe import Adversarial, Train
from vqtok.training.report import preview
from vqtok.training.train import train


def keeper(tmp_path: Path, *, quality: str = "psnr_db", **fields: Any) -> CheckpointKeeper:
    return CheckpointKeeper(
        tmp_path, Train(losses={}, **fields), quality=quality, content=directory.content
    )


def test_more_decibels_are_better_and_less_distance(tmp_path: Path) -> None:
    by_psnr, by_mel = keeper(tmp_path), keeper(tmp_path, quality="mel_distance")
    values = [3.0, 2.0, 4.0, 4.0]
    found = [by_psnr.is_best({"psnr_db": v}, step=i) for i, v in enumerate(values)]
    assert found == [True, False, True, False]
    found = [by_mel.is_best({"mel_distance": v}, step=i) for i, v in enumerate(values)]
    assert found == [True, True, False, False]
    assert by_mel.best == {"step": 1, "value": 2.0}


def test_beside_a_discriminator_the_latest_is_the_best(tmp_path: Path) -> None:
    adversarial = keeper(tmp_path, adversarial=Adversarial())
    assert all(adversarial.is_best({"psnr_db": -i}, step=i) for i in range(3))


@pytest.mark.parametrize("name", ["psnr", "fid", "ssim", "unigram_bits_per_code"])
def test_an_unknown_metric_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="best_by"):
        keeper(tmp_path, best_by=name)


def run(
    photos: Path, output: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], *edits: str
) -> list[Evaluated]:
    """A run whose held-out scores are these."""
    score, real = iter(scores), preview.measure

    def measure(*args: Any, **kwargs: Any) -> Any:
        metrics, pictures = real(*args, **kwargs)
        return metrics | {"psnr_db": next(score)}, pictures

    every = [*IMAGE_EDITS, "train.evaluate_every=2", *edits]
    with monkeypatch.context() as patch:
        patch.setattr(preview, "measure", measure)
        events = list(train([str(photos)], output, edits=every, device="cpu"))
    return [each for each in events if isinstance(each, Evaluated)]


def test_the_best_model_stays_and_older_ones_go(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "m"
    scores = [5.0, 9.0, 7.0, 8.0, 6.0]
    events = run(photos, output, monkeypatch, scores, "train.steps=10", "train.keep=2")
    assert [each.best for each in events] == [True, True, False, False, False]
    names = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert names == ["step-0000008", "step-0000010"]
    last = load_file(output / "checkpoints/step-0000010/model.safetensors")
    best = load_file(output / "model.safetensors")
    assert any(not torch.equal(best[name], last[name]) for name in best)
    x = torch.zeros(1, 3, 16, 16)
    for folder in (output, output / "checkpoints/step-0000008"):
        assert vqtok.load(str(folder)).encode(x).levels[0].shape == (1, 4, 4)


def test_the_best_so_far_is_remembered_by_a_resumed_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "m"
    run(photos, output, monkeypatch, [9.0, 5.0], "train.steps=4")
    metrics = {"psnr_db": 7.0, "use": 1.0, "perplexity": 9.0}
    monkeypatch.setattr(preview, "measure", lambda *args, **options: (metrics, ()))
    events = train([str(photos)], output, edits=["train.steps=6"], resuming=True, device="cpu")
    assert [each.best for each in events if isinstance(each, Evaluated)] == [False]


def test_a_kill_while_old_models_go_leaves_no_half_model(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    output, calls = tmp_path / "m", itertools.count()

    def die(path: Path, **options: Any) -> None:
        path = Path(path)
        if path.parent.name == "checkpoints" and (path / "config.json").exists():
            (path / "config.json").unlink()  # as far as it came
            next(calls)
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        run(photos, output, monkeypatch, [1.0, 2.0, 3.0], "train.steps=6", "train.keep=1")
    assert next(calls) == 1
    for path in (output / "checkpoints").glob("step-*"):
        vqtok.load(str(path))


def test_a_new_run_removes_what_an_old_one_left_and_nothing_else(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "m"
    run(photos, output, monkeypatch, [1.0, 2.0], "train.steps=4")
    (output / "previews" / "mine.txt").write_text("mine")
    run(photos, output, monkeypatch, [1.0], "train.steps=2")
    assert [p.name for p in (output / "checkpoints").iterdir()] == ["step-0000002"]
    assert (output / "previews" / "mine.txt").read_text() == "mine"
    assert not list((output / "previews").glob("step-0000004*"))
