"""A rehearsal tells what the run will be, and leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import AUDIO_EDITS, IMAGE_EDITS
from tests.training.test_run import run
from vqtok.checkpoints import directory
from vqtok.training.report.rehearsal import Rehearsal, rehearse
from vqtok.training.train import prepare


def rehearsed(data: Path, *edits: str, audio: bool = False, **options: Any) -> Rehearsal:
    every = (AUDIO_EDITS if audio else IMAGE_EDITS) + list(edits)
    output = data.parent / "never"
    return rehearse(prepare([str(data)], output, edits=every, device="cpu", **options))


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_nothing_is_written(photos: Path, tmp_path: Path):
    before = tree(tmp_path)
    rehearsed(photos)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("store", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_sizes_are_those_of_the_model_that_the_run_leaves(
    kind: str, store: str, photos: Path, clips: Path, tmp_path: Path
):
    audio = kind == "audio"
    data = clips if audio else photos
    found = rehearsed(data, f"train.store={store}", audio=audio)
    run(data, tmp_path / "m", "train.steps=1", f"train.store={store}", audio=audio)
    info = directory.describe(tmp_path / "m")
    assert sum(found.parameters.values()) == info.parameters
    assert {"encoder", "quantizer", "decoder"} <= set(found.parameters)
    assert found.model_bytes == info.size_bytes


def test_tokens_and_bits_are_those_of_encoding(photos: Path):
    found = rehearsed(photos)
    assert (found.window, found.window_tokens) == ((16, 16), 16)  # stride 4, 16 entries
    assert found.bits_per_pixel == pytest.approx(4 / 16)
    assert found.kbit_per_s is None
    assert found.typical is not None
    height, width = found.typical
    assert width == 30
    assert found.typical_tokens == -(-height // 4) * 8


def test_a_recording_has_its_length_at_the_rate_of_the_model(clips: Path):
    found = rehearsed(clips, audio=True)
    assert found.window_tokens == 2 * 4096 // 8
    assert found.typical is not None
    assert found.typical_tokens == 2 * -(-found.typical[0] // 8)
    assert found.kbit_per_s == pytest.approx(2 * 3 * 100 / 1000)
    assert found.data["rates"] == [800]


def test_time_is_measured_and_bounded_by_the_minutes(photos: Path):
    found = rehearsed(photos, "train.steps=1000", "train.accumulate=1")
    assert 0 < found.step_s < 60
    assert found.total_s == pytest.approx(1000 * found.step_s)
    assert found.peak_bytes is None or 1e7 < found.peak_bytes < 1e11
    limited = rehearsed(photos, "train.steps=100000000", "train.minutes=2")
    assert (limited.total_s, limited.minutes) == (120.0, 2.0)


def test_a_code_depends_on_no_more_than_the_receptive_field(photos: Path, tmp_path: Path):
    found = rehearsed(photos)
    assert found.receptive_field is not None
    prepared = prepare([str(photos)], tmp_path / "n", edits=IMAGE_EDITS, device="cpu")
    model = prepared.model.eval()
    side = 4 * (-(-found.receptive_field // 4) + 2)
    x = torch.rand(1, 3, side, side, requires_grad=True)
    z = model.encoder(x)
    middle = z.shape[-1] // 2
    z[0, :, middle, middle].sum().backward()
    touched = x.grad[0].abs().sum(0).nonzero()
    reach = int((touched.max(0).values - touched.min(0).values).max()) + 1
    assert reach <= found.receptive_field
    assert reach > found.receptive_field / 2


def test_unreadable_files_are_counted_and_json_holds_everything(photos: Path):
    for index in range(3):
        (photos / f"broken{index}.png").write_bytes(b"\x89PNG nothing")
    found = rehearsed(photos, "train.holdout=0.1", "train.batch=16")
    assert found.unreadable
    data = json.loads(json.dumps(found.to_json()))
    assert data["files"] == 8
    assert data["held_out"] == 1
    assert set(data) == set(found.__dataclass_fields__) - {"left_out"}  # for people alone
