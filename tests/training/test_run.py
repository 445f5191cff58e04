"""The loop: it learns, resumes exactly, leaves a model, and never trains on what it measures."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import vqtok
from tests.training.conftest import AUDIO_EDITS, IMAGE_EDITS
from vqtok.checkpoints import resume
from vqtok.errors import CheckpointError, ConfigError, TrainingError, UsageError
from vqtok.training import monitor
from vqtok.training.log import Evaluated, Event, Finished, Progress, Started, Warned
from vqtok.training.train import train


def run(
    data: Path, output: Path, *edits: str, audio: bool = False, **options: object
) -> list[Event]:
    every = (AUDIO_EDITS if audio else IMAGE_EDITS) + list(edits)
    return list(train([str(data)], output, edits=every, device="cpu", **options))


def state(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / resume.FILE)


def test_a_run_tells_what_it_does_and_ends_with_a_model(photos: Path, tmp_path: Path) -> None:
    events = run(photos, tmp_path / "m", "train.steps=5")
    assert isinstance(events[0], Started)
    assert events[0].files == 5
    assert events[0].held_out == 1
    assert [e.step for e in events if isinstance(e, Evaluated)] == [3, 5]
    assert [e.step for e in events if isinstance(e, Progress)] == [5]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "steps"
    model = vqtok.load(str(tmp_path / "m"))
    codes = model.encode(torch.zeros(1, 3, 9, 7))
    assert model.decode(codes).shape == (1, 3, 9, 7)
    facts = json.loads((tmp_path / "m" / "training.json").read_text())
    assert facts["step"] == 5
    assert facts["metrics"] == events[-1].metrics
    assert "PSNR" in (tmp_path / "m" / "README.md").read_text()


def test_an_audio_run_leaves_a_codec_and_previews(clips: Path, tmp_path: Path) -> None:
    events = run(clips, tmp_path / "m", "train.steps=4", audio=True)
    evaluated = [e for e in events if isinstance(e, Evaluated)]
    assert set(evaluated[-1].metrics) == {"mel_distance", "use", "perplexity"}
    assert all((tmp_path / "m" / name).stat().st_size > 44 for name in evaluated[-1].pictures)
    codec = vqtok.load(str(tmp_path / "m"))
    assert codec.decode(codec.encode(torch.zeros(1, 1, 101))).shape == (1, 1, 101)


@pytest.mark.parametrize("kind", ["image", "audio", "disguised"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    kind: str, photos: Path, clips: Path, tmp_path: Path
) -> None:
    audio = kind != "image"
    data = clips if audio else photos
    # The schedule is planned over all steps, so the first part stops early instead of being short.
    edits = ["train.steps=9"]
    if kind == "disguised":
        edits.append('model.mel={"bands": 4, "warp": 1.3, "colour_db": 3.0}')
    run(data, tmp_path / "whole", *edits, audio=audio)
    stops = itertools.count(1)
    run(data, tmp_path / "parts", *edits, audio=audio, should_stop=lambda: next(stops) == 4)
    assert resume.read_state(tmp_path / "parts")["step"] == 4
    last = run(data, tmp_path / "parts", audio=audio, resuming=True)[-1]
    assert isinstance(last, Finished)
    assert last.step == 9
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_training_lowers_the_loss(photos: Path, tmp_path: Path) -> None:
    events = run(photos, tmp_path / "m", "train.steps=120", "train.evaluate_every=60")
    scores = [e.metrics["psnr_db"] for e in events if isinstance(e, Evaluated)]
    losses = [e.losses["mse"] for e in events if isinstance(e, Progress)]
    assert losses[-1] < 0.7 * losses[0]
    assert scores[-1] > 8.0  # a grey image of these photos scores about 9 dB, noise about 5


def test_steps_that_are_not_finite_are_skipped_and_counted(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqtok.training.losses import terms

    calls = itertools.count()
    monkeypatch.setitem(
        terms.TERMS,
        "mse",
        lambda pair: (pair.y - pair.x).square().mean() * (torch.nan if next(calls) == 1 else 1.0),
    )
    events = run(photos, tmp_path / "m", "train.steps=4")
    progress = [e for e in events if isinstance(e, Progress)][-1]
    assert progress.skipped == 1
    weights = load_file(tmp_path / "m" / "model.safetensors")
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


def test_a_run_stops_at_its_minutes(photos: Path, tmp_path: Path) -> None:
    events = run(photos, tmp_path / "m", "train.minutes=0.02", "train.steps=1000000")
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "minutes"


def test_resuming_drops_log_lines_after_the_step_it_resumes_from(
    photos: Path, tmp_path: Path
) -> None:
    run(photos, tmp_path / "m", "train.steps=3")
    log = tmp_path / "m" / "log.jsonl"
    extra = json.dumps({"event": "progress", "step": 99}) + '\n{"cut off'
    log.write_text(log.read_text() + extra)
    run(photos, tmp_path / "m", "train.steps=6", resuming=True)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 6


def test_data_of_the_wrong_kind_is_refused_with_the_right_preset(
    photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="image files") as error:
        list(train([str(photos)], tmp_path / "m", preset="audio-24k"))
    assert error.value.hint == "--preset image-f8"


def test_a_folder_of_anything_trains_on_what_most_of_it_is(
    photos: Path, clips: Path, tmp_path: Path
) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "notes.txt").write_text("hello")
    (photos / "folder.png").mkdir()
    edits = [*IMAGE_EDITS, "train.steps=6", "train.holdout=0.5"]
    events = list(train([str(tmp_path)], tmp_path / "m", edits=edits))
    assert isinstance(events[-1], Finished)
    assert [Path(name).name for name in events[-1].unreadable] == [
        "broken.png",
        "empty.jpg",
    ]


def test_nothing_to_resume_is_an_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume"):
        run(photos, tmp_path / "m", resuming=True)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("train.stepz=3", r"train\.stepz: unknown key"),
        ("train.steps=many", r"train\.steps: expected an integer"),
        ("train.losses.psnr=1", r"train\.losses\.psnr: unknown term"),
        ("train.losses.mel=1", r"train\.losses\.mel: this term is for audio"),
        ("model.quantizer.type=quantizers/vqq", r"unknown type 'quantizers/vqq'"),
        ("train.batch=0", "batch must be at least 1"),
    ],
)
def test_a_wrong_edit_names_its_place(
    edit: str, message: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(photos, tmp_path / "m", edit)


def test_a_run_shorter_than_the_warm_up_still_ends_with_a_codebook(
    photos: Path, tmp_path: Path
) -> None:
    run(photos, tmp_path / "m", "train.steps=3", "model.quantizer.warmup=50")
    quantizer = vqtok.load(str(tmp_path / "m")).quantizer
    assert quantizer.initialised
    run(
        photos,
        tmp_path / "stopped",
        "train.steps=9",
        "model.quantizer.warmup=50",
        should_stop=itertools.chain([False] * 2, itertools.repeat(True)).__next__,
    )
    # Not the end of the run: what resumes from here must find the warm-up where it was.
    assert not vqtok.load(str(tmp_path / "stopped")).quantizer.initialised


def test_a_codebook_that_collapses_is_placed_anew_and_said_to_be(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = iter([1.0, 0.1, 1.0, 1.0])
    monkeypatch.setattr(monitor, "WINDOW", 5)
    monkeypatch.setattr(monitor.Monitor, "window_use", lambda self, level: next(uses))
    events = run(photos, tmp_path / "m", "train.steps=20")
    (warned,) = [e for e in events if isinstance(e, Warned)]
    assert "use fell to 10%" in warned.text
    assert "placed anew by k-means" in warned.text
    assert warned.step == 10
    logged = [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    assert [line["text"] for line in logged if line["event"] == "warned"] == [warned.text]
    assert vqtok.load(str(tmp_path / "m")).quantizer.initialised


def test_a_run_that_diverges_ends_and_keeps_its_best_model(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqtok.training.losses import terms

    calls = itertools.count()
    monkeypatch.setattr(monitor, "HOPELESS", 4)
    monkeypatch.setitem(
        terms.TERMS,
        "mse",
        lambda pair: (pair.y - pair.x).square().mean() * (torch.nan if next(calls) > 4 else 1.0),
    )
    with pytest.raises(TrainingError, match="diverged"):
        run(photos, tmp_path / "m", "train.steps=50")
    assert vqtok.load(str(tmp_path / "m")).encode(torch.zeros(1, 3, 8, 8))
    assert resume.read_state(tmp_path / "m")["step"] == 6


def test_a_run_that_was_only_begun_can_be_resumed(photos: Path, tmp_path: Path) -> None:
    events = train(
        [str(photos)], tmp_path / "m", edits=[*IMAGE_EDITS, "train.steps=3"], device="cpu"
    )
    next(events)
    next(events)  # the first step is done
    events.close()
    last = run(photos, tmp_path / "m", resuming=True)[-1]
    assert isinstance(last, Finished)
    assert last.step == 3


def test_data_that_has_changed_is_said_when_resuming(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "m", "train.steps=3")
    (photos / "9.png").write_bytes((photos / "0.png").read_bytes())
    started = run(photos, tmp_path / "m", "train.steps=4", resuming=True)[0]
    assert isinstance(started, Started)
    assert any("7 files, 6 before" in note for note in started.notes)
