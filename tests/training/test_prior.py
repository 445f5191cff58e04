"""A prior is trained by the same loop: it learns, resumes exactly, and knows whose codes it has."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import vqtok
from tests import coded
from tests.coded import TINY
from vqtok.checkpoints import directory, priors, resume
from vqtok.errors import ConfigError, UsageError
from vqtok.training.log import Evaluated, Event, Finished, Progress, Started
from vqtok.training.report.rehearsal import rehearse
from vqtok.training.train import prepare, train


def run(data: Path, output: Path, *edits: str, **options: object) -> list[Event]:
    every = [] if options.get("start") or options.get("resuming") else TINY
    return list(train([str(data)], output, edits=[*every, *edits], device="cpu", **options))


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    return coded.folder(tmp_path / "codes", few=8)


def test_codes_make_a_prior_with_the_directories_as_classes(codes: Path, tmp_path: Path) -> None:
    events = run(codes, tmp_path / "p", "train.steps=5")
    started = events[0]
    assert isinstance(started, Started)
    assert (started.learns, started.files, started.held_out) == ("prior", 11, 1)
    measured = [e for e in events if isinstance(e, Evaluated)]
    assert [e.step for e in measured] == [3, 5]
    progress = [e for e in events if isinstance(e, Progress)][-1]
    assert set(progress.losses) == {"nats_per_code"}
    assert progress.use is None
    prior = priors.load(tmp_path / "p")
    assert prior.classes == ("cat", "dog")
    assert prior.spec == coded.IMAGE
    info = directory.describe(tmp_path / "p")
    assert info.learned is not None
    assert info.learned.tokenizer == "a-model"
    assert info.learned.extent == (32, 24)
    facts = json.loads((tmp_path / "p" / "training.json").read_text())
    assert facts["metrics"] == measured[-1].metrics
    card = (tmp_path / "p" / "README.md").read_text()
    assert "nats per code" in card
    assert "vqtok sample" in card


def test_a_prior_learns_what_its_codes_are_like(codes: Path, tmp_path: Path) -> None:
    edits = ["train.steps=60", "train.learning_rate=0.01", "train.evaluate_every=60"]
    last = run(codes, tmp_path / "p", *edits)[-1]
    assert isinstance(last, Finished)
    # Eight of the 64 entries occur: a uniform guess among them costs ln 8.
    assert last.metrics["nats_per_code"] < math.log(8) + 0.5 < math.log(64)
    nats, dims = last.metrics["nats_per_code"], 3 * 32 * 24
    assert last.metrics["bits_per_code"] == pytest.approx(nats / math.log(2))
    assert last.metrics["bits_per_dimension"] == pytest.approx(nats / math.log(2) * 12 / dims)


def test_measurements_are_those_of_the_saved_model(codes: Path, tmp_path: Path) -> None:
    evaluated = run(codes, tmp_path / "p", "train.steps=3", "train.holdout=0.3")[-2]
    assert isinstance(evaluated, Evaluated)
    prior = priors.load(tmp_path / "p")
    task = prepare([str(codes)], tmp_path / "q", edits=[*TINY, "train.holdout=0.3"]).task
    costs = []
    for index in range(task.held_out):
        grids = task._held  # type: ignore[attr-defined]
        path = Path(grids[index])
        told = torch.tensor([prior.classes.index(path.parent.name)])
        item, _ = vqtok.read_codes(path)
        costs.append(prior.nll(item, condition=told)[0].mean())
    assert task.held_out == 4
    mean = float(torch.stack(costs).mean())
    assert evaluated.metrics["nats_per_code"] == pytest.approx(mean, rel=1e-5)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(codes: Path, tmp_path: Path) -> None:
    # Dropout and hidden classes are random choices of the model: they too must be the same.
    edits = ["train.steps=9", "model.dropout=0.3", "model.unlabelled=0.3", "train.average=0.9"]
    run(codes, tmp_path / "whole", *edits)
    stops = itertools.count(1)
    run(codes, tmp_path / "parts", *edits, should_stop=lambda: next(stops) == 4)
    torch.manual_seed(99)
    run(codes, tmp_path / "parts", resuming=True)
    whole, parts = (load_file(tmp_path / name / resume.FILE) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_recordings_of_fewer_stages_make_a_prior_of_those(tmp_path: Path) -> None:
    data = coded.folder(tmp_path / "codes", coded.AUDIO, classes=("only",), extent=(1600,), depth=2)
    started = run(data, tmp_path / "p", "train.steps=2")[0]
    assert isinstance(started, Started)
    assert "no classes" in " ".join(started.notes)
    prior = priors.load(tmp_path / "p")
    assert prior.classes == ()
    assert prior.sample(2, (800,)).levels[0].shape == (2, 2, 10)


@pytest.mark.parametrize(
    ("preset", "spec", "edits"),
    [
        ("prior-transformer", coded.TWO, TINY[:3]),
        ("prior-pixelcnn", coded.IMAGE, ["model.width=8", "model.layers=2", "model.heads=1"]),
        (
            "prior-hierarchical",
            coded.TWO,
            [
                "model.top.width=16", "model.top.heads=2", "model.top.blocks=1",
                "model.finer.width=8", "model.finer.layers=1", "model.finer.heads=1",
            ],
        ),
    ],
)  # fmt: skip
def test_every_preset_trains(
    preset: str, spec: coded.CodeSpec, edits: list[str], tmp_path: Path
) -> None:
    data = coded.folder(tmp_path / "codes", spec, each=3)
    every = [*edits, *TINY[3:], "train.steps=2"]
    events = list(train([str(data)], tmp_path / "p", preset=preset, edits=every, device="cpu"))
    assert isinstance(events[-1], Finished)
    made = priors.load(tmp_path / "p").sample(1, (16, 16), condition=torch.tensor([1]))
    assert made.check().spec == spec


def test_a_prior_of_several_levels_is_refused_for_one(codes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several levels"):
        prepare([str(codes)], tmp_path / "p", preset="prior-hierarchical")


def test_a_run_can_begin_with_another_prior(codes: Path, tmp_path: Path) -> None:
    run(codes, tmp_path / "old", "train.steps=3")
    weights = priors.load(tmp_path / "old").state_dict()
    new = prepare([str(codes)], tmp_path / "new", start=str(tmp_path / "old"))
    for name, value in new.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_codes_of_another_tokenizer_are_refused(codes: Path, tmp_path: Path) -> None:
    run(codes, tmp_path / "p", "train.steps=1")
    other = coded.folder(tmp_path / "other", coded.IMAGE.with_fingerprint("eeee"))
    with pytest.raises(UsageError, match="another tokenizer"):
        prepare([str(other)], tmp_path / "q", start=str(tmp_path / "p"))
    with pytest.raises(UsageError, match="another tokenizer"):
        prepare([str(other)], tmp_path / "p", resuming=True)


@pytest.mark.parametrize(
    "edit",
    ["train.flip=true", "train.losses.mse=1", "train.adversarial.width=4", "train.stage=decoder"],
)
def test_settings_of_tokenizers_are_refused(edit: str, codes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of no effect on a prior"):
        prepare([str(codes)], tmp_path / "p", edits=[*TINY, edit])


def test_media_and_codes_are_not_confused(codes: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="these are codes, the recipe is for images"):
        prepare([str(codes)], tmp_path / "m", preset="image-f8")
    with pytest.raises(vqtok.VqtokError, match="no codes files") as caught:
        prepare([str(photos)], tmp_path / "m", preset="prior-transformer")
    assert "vqtok encode" in str(caught.value.hint)
    with pytest.raises(ConfigError, match=r"train\.samples"):
        prepare([str(photos)], tmp_path / "m", edits=["train.samples=1"])


def test_labels_can_be_left_out(codes: Path, tmp_path: Path) -> None:
    run(codes, tmp_path / "p", "train.steps=1", "train.labels=false")
    assert priors.load(tmp_path / "p").classes == ()


def test_a_rehearsal_tells_the_codes_of_a_window(codes: Path, tmp_path: Path) -> None:
    found = rehearse(prepare([str(codes)], tmp_path / "p", edits=TINY))
    assert (found.learns, found.window, found.window_tokens) == ("prior", (32, 24), 12)
    assert found.receptive_field is None
    assert not (tmp_path / "p").exists()


def test_samples_are_shown_where_the_tokenizer_is(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQTOK_MODELS", str(shelf))
    spec = directory.describe("image-f8").spec
    data = coded.folder(tmp_path / "codes", spec, each=2)
    evaluated = run(data, tmp_path / "p", "train.steps=1", "train.samples=3")[-2]
    assert isinstance(evaluated, Evaluated)
    assert evaluated.pictures == ("previews/step-0000001.png",)
    assert (tmp_path / "p" / evaluated.pictures[0]).is_file()
    assert "step-0000001.png" in (tmp_path / "p" / "README.md").read_text()


def test_without_the_tokenizer_a_run_shows_no_samples(codes: Path, tmp_path: Path) -> None:
    evaluated = run(codes, tmp_path / "p", "train.steps=1")[-2]
    assert isinstance(evaluated, Evaluated)
    assert evaluated.pictures == ()
