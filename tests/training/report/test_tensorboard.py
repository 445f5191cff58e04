"""TensorBoard files, read back by TensorBoard itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.conftest import IMAGE_EDITS
from tests.training.test_run import run
from vqtok.errors import UsageError
from vqtok.training.log import Evaluated, Finished, Progress, Warned
from vqtok.training.report.tensorboard import EventWriter
from vqtok.training.train import train


def read(output: Path) -> Any:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(
        str(output / "tensorboard"), size_guidance={"images": 0, "histograms": 0}
    )
    return found.Reload()


def steps_of(events: list[Any]) -> list[int]:
    return [each.step for each in events]


def progress(step: int, **changes: Any) -> Progress:
    return Progress(step, {"mse": 0.5, "kl": 0.25}, 0.5, 9.0, 1e-3, 7.0, 1.0, 2, **changes)


def test_a_run_is_there_with_scalars_and_pictures(photos: Path, tmp_path: Path):
    pytest.importorskip("tensorboard")
    events = run(photos, tmp_path / "m", "train.steps=20", tensorboard=True)
    found = read(tmp_path / "m")
    tags = found.Tags()
    names = "loss/total loss/mse codebook/use codebook/perplexity held_out/psnr_db"
    names += " run/learning_rate run/items_per_s run/skipped"
    assert set(names.split()) <= set(tags["scalars"])
    measured = [e for e in events if isinstance(e, Evaluated)]
    shown = found.Scalars("held_out/psnr_db")
    assert steps_of(shown) == [e.step for e in measured]
    assert [e.value for e in shown] == pytest.approx([e.metrics["psnr_db"] for e in measured])
    assert steps_of(found.Images("previews")) == [e.step for e in measured]


def test_a_run_shows_its_recipe_and_how_its_entries_are_used(photos: Path, tmp_path: Path):
    pytest.importorskip("tensorboard")
    events = run(photos, tmp_path / "m", "train.steps=20", tensorboard=True)
    found = read(tmp_path / "m")
    (recipe,) = found.Tensors("recipe/text_summary")
    shown = json.loads(recipe.tensor_proto.string_val[0].decode())
    trained = json.loads((tmp_path / "m" / "training.json").read_text())
    assert shown["recipe"] == trained["recipe"]
    assert shown["recipe"]["train"]["steps"] == 20
    histograms = found.Histograms("codebook/relative_use")
    assert steps_of(histograms) == [e.step for e in events if isinstance(e, Evaluated)]
    entries = trained["recipe"]["model"]["quantizer"]["codebook_size"]
    for each in histograms:
        assert each.histogram_value.num == entries
        assert each.histogram_value.sum == pytest.approx(entries)  # 1 on the mean


def test_levels_have_histograms_of_their_own(tmp_path: Path):
    pytest.importorskip("tensorboard")
    board = EventWriter(tmp_path, first_step=0)
    board.uses(3, {"top": np.array([0.0, 2.0]), "bottom": np.ones(4)})
    board.close()
    found = read(tmp_path)
    tags = ["codebook/relative_use_bottom", "codebook/relative_use_top"]
    assert sorted(found.Tags()["histograms"]) == tags
    assert found.Histograms(tags[1])[0].histogram_value.max == 2.0


def test_audio_previews_are_heard_there_and_originals_once(clips: Path, tmp_path: Path):
    pytest.importorskip("tensorboard")
    run(clips, tmp_path / "m", "train.steps=6", audio=True, tensorboard=True)
    found = read(tmp_path / "m")
    names = found.Tags()["audio"]
    originals = [name for name in names if name.startswith("originals/")]
    assert originals
    for name in originals:
        assert len(found.Audio(name)) == 1
        made = found.Audio(name.replace("originals/", "reconstructions/"))
        assert steps_of(made) == [3, 6]
        assert made[0].sample_rate == 800


def test_a_continuous_method_and_warnings_are_written(tmp_path: Path):
    pytest.importorskip("tensorboard")
    board = EventWriter(tmp_path, first_step=0)
    values = Progress(10, {"mse": 0.5, "kl": 0.25}, None, None, 1e-3, 7.0, 1.0, 2)
    board.write(Progress(**{**vars(values), "latents": {"active_units": 12.0}}))
    board.write(Warned(11, "use fell"))
    board.write(Finished(tmp_path, 11, 1.0, "steps"))
    found = read(tmp_path)
    assert found.Scalars("loss/total")[0].value == 0.75
    assert found.Scalars("latents/active_units")[0].value == 12.0
    assert "codebook/use" not in found.Tags()["scalars"]
    assert found.Tags()["tensors"] == ["warnings/text_summary"]


def test_resuming_takes_later_steps_back_and_a_new_run_starts_empty(tmp_path: Path):
    pytest.importorskip("tensorboard")
    first = EventWriter(tmp_path, first_step=0)
    for step in (10, 20, 30):
        first.write(progress(step))
    first.close()
    again = EventWriter(tmp_path, first_step=20)
    again.write(progress(25))
    again.close()
    assert steps_of(read(tmp_path).Scalars("loss/total")) == [10, 20, 25]
    new = EventWriter(tmp_path, first_step=0)
    new.write(progress(5))
    new.close()
    assert steps_of(read(tmp_path).Scalars("loss/total")) == [5]


def test_without_the_package_there_is_one_line_before_any_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="--tensorboard") as error:
        list(train([str(photos)], tmp_path / "m", edits=IMAGE_EDITS, tensorboard=True))
    assert error.value.hint == "pip install 'vqtok[tensorboard]'"
    assert not (tmp_path / "m").exists()
