"""Decoders that others published go on learning, and the codes of the original stay."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.checkpoints.foreign.checkpoints import CHECKPOINTS
from tests.programs import run
from tests.training.test_kill import CHILD
from vqtok.checkpoints import directory, foreign, resume
from vqtok.errors import UsageError
from vqtok.training.stages import freeze, held
from vqtok.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")

# Encode only, as do these; or hear two channels in chunks.
LEFT_OUT = {
    "Chameleon": "encodes only",
    "Emu3.5 IBQ of Apertus": "encodes only",
    "EnCodec 48 kHz": "cannot be trained here",
}
LISTED = ("VQGAN", "LlamaGen VQ-8, VQ-16", "diffusers VQModel", "EnCodec 24 kHz", "DAC", "SNAC",
          "Mimi", "WavTokenizer")  # fmt: skip
STEPS = 200 if "VQTOK_MANY_EXAMPLES" in os.environ else 40

FEW = [
    "train.stage=decoder",
    "train.steps=2",
    "train.batch=2",
    "train.average=0",
    "train.warmup=1",
    "train.precision=float32",
    "train.best_by=last",
    "train.holdout=0.3",
    "train.adversarial.width=4",
    "train.adversarial.ramp=2",
]
PICTURES = ["train.window=32"]
SOUNDS = ["train.window=1600", 'train.losses={"l1": 1.0}']


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(6):
        coarse = rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((44, 40 + i)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, t = tmp_path_factory.mktemp("clips"), np.arange(3000) / 800
    for i in range(5):
        soundfile.write(folder / f"{i}.wav", 0.3 * np.sin(2 * np.pi * (50 + 20 * i) * t), 800)
    return folder


def signals(model: Any, *, seed: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (40, 33) if model.spec.modality == "image" else (801,)
    return torch.rand((batch, model.channels, *size), generator=generator) * 2 - 1


def bits(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("family", [name for name in CHECKPOINTS if name not in LEFT_OUT])
def test_only_what_decoding_uses_learns_and_codes_stay(family: str, tmp_path: Path) -> None:
    model: Any = directory.load(CHECKPOINTS[family](tmp_path))
    x = signals(model, seed=9, batch=1)
    codes, shown, before = model.encode(x), model.decode(model.encode(x)), bits(model)
    freeze(model)
    learning = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-3, weight_decay=0.1)
    for step in range(2):
        target = signals(model, seed=step)
        result = model(target)
        optimizer.zero_grad()
        ((result.x - target).abs().mean() + result.loss).backward()
        optimizer.step()
    model.eval()
    assert all(map(torch.equal, model.encode(x).levels, codes.levels))
    after, still = model.state_dict(), held(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not moved.intersection(still)
    assert not torch.equal(model.decode(codes), shown)


@pytest.mark.parametrize("family", ["DAC", "SNAC", "VQGAN", "Mimi"])
def test_training_sees_the_codes_that_encode_makes(family: str, tmp_path: Path) -> None:
    model: Any = directory.load(CHECKPOINTS[family](tmp_path))
    x = signals(model, seed=3)
    codes, shown = model.encode(x), model.decode(model.encode(x))
    freeze(model)
    result = model(x)
    assert all(map(torch.equal, result.codes.levels, codes.levels))
    torch.testing.assert_close(result.x.clamp(-1, 1), shown.clamp(-1, 1), atol=1e-4, rtol=0)


def tune(data: Path, start: Path, output: Path, *edits: str, **options: Any) -> Any:
    """A run to its end; its last event."""
    *_, last = train([str(data)], output, start=str(start), edits=edits, device="cpu", **options)
    return last


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=() if name in ("VQGAN", "DAC") else pytest.mark.slow)
        for name in (*LISTED, "VAR", "TiTok", "Emu3", "X-codec")
    ],
)
def test_a_run_leaves_a_model_that_reads_the_codes_of_the_original(
    family: str, tmp_path: Path, photos: Path, clips: Path
) -> None:
    start = CHECKPOINTS[family](tmp_path)
    original: Any = directory.load(start)
    image = original.spec.modality == "image"
    edits = (*FEW, *(PICTURES if image else SOUNDS))
    tune(photos if image else clips, start, tmp_path / "tuned", *edits)
    info, found = directory.describe(tmp_path / "tuned"), foreign.describe(start)
    assert info.reads == (found.fingerprint,)
    assert info.fingerprint != found.fingerprint
    tuned: Any = directory.load(tmp_path / "tuned")
    x = signals(original, seed=4, batch=1)
    codes = original.encode(x)
    assert all(map(torch.equal, tuned.encode(x).levels, codes.levels))
    assert not torch.equal(tuned.decode(codes), original.decode(codes))
    card = (tmp_path / "tuned" / "README.md").read_text(encoding="utf-8")
    assert f"{original.name} with a decoder that was trained further" in card.replace("\\", "")


@pytest.mark.parametrize("family", ["VQGAN", "DAC `.pth`"])
def test_a_run_lowers_the_held_out_loss(
    family: str, tmp_path: Path, photos: Path, clips: Path
) -> None:
    start = CHECKPOINTS[family](tmp_path)
    original: Any = directory.load(start)
    image = original.spec.modality == "image"
    losses = 'train.losses={"mse": 1.0}' if image else 'train.losses={"mel": 1.0}'
    edits = [*FEW, *(PICTURES if image else SOUNDS), losses, "train.adversarial=null"]
    edits += [f"train.steps={STEPS}", f"train.evaluate_every={STEPS}", "train.learning_rate=1e-3"]
    tune(photos if image else clips, start, tmp_path / "tuned", *edits)
    text = (tmp_path / "tuned" / "training.json").read_text(encoding="utf-8")
    first, *_, last = json.loads(text)["curve"]
    assert (first["step"], last["step"]) == (0, STEPS)
    if image:
        assert last["psnr_db"] > first["psnr_db"] + 1
    else:
        assert last["mel_distance"] < first["mel_distance"] * 0.95
    tuned: Any = directory.load(tmp_path / "tuned")
    x = signals(original, seed=4, batch=1)
    assert all(map(torch.equal, tuned.encode(x).levels, original.encode(x).levels))


def same_run(one: Path, other: Path) -> None:
    whole, found = (load_file(each / resume.FILE) for each in (one, other))
    assert whole.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in whole.items())
    for name in ("model.safetensors", "config.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_run_that_was_stopped_goes_on_exactly(tmp_path: Path, clips: Path) -> None:
    start = CHECKPOINTS["DAC"](tmp_path)
    edits = (*FEW, *SOUNDS, "train.steps=4")
    tune(clips, start, tmp_path / "whole", *edits)
    stop = iter([False, True])
    tune(clips, start, tmp_path / "parts", *edits, should_stop=lambda: next(stop))
    assert resume.read_state(tmp_path / "parts")["step"] == 2
    list(train([str(clips)], tmp_path / "parts", resuming=True, device="cpu"))
    same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["DAC", "VQGAN"])
def test_a_run_that_is_killed_goes_on_exactly(
    family: str, tmp_path: Path, photos: Path, clips: Path
) -> None:
    start = str(CHECKPOINTS[family](tmp_path))
    image = family == "VQGAN"
    data = str(photos if image else clips)
    edits = [*FEW, *(PICTURES if image else SOUNDS), "train.steps=6", "train.evaluate_every=2"]
    child = CHILD.replace("edits=edits", f"edits=edits, start=None if resuming else {start!r}")

    def go(output: Path, *, resuming: bool, fatal: int) -> int:
        said = json.dumps([data, str(output), [] if resuming else edits, resuming, fatal])
        return run(child, said).returncode

    assert go(tmp_path / "whole", resuming=False, fatal=0) == 0
    parts = tmp_path / "parts"
    assert go(parts, resuming=False, fatal=1) == -9
    assert go(parts, resuming=True, fatal=3) == -9
    assert go(parts, resuming=True, fatal=0) == 0
    same_run(tmp_path / "whole", parts)


@pytest.mark.parametrize("family", list(LEFT_OUT))
def test_a_model_whose_decoder_cannot_learn_is_refused(
    family: str, tmp_path: Path, photos: Path, clips: Path
) -> None:
    start = CHECKPOINTS[family](tmp_path)
    data = clips if family.startswith("EnCodec") else photos
    with pytest.raises(UsageError, match=LEFT_OUT[family]):
        tune(data, start, tmp_path / "tuned", *FEW)
    assert not (tmp_path / "tuned").exists()


def test_all_of_a_published_model_is_not_trained(tmp_path: Path, clips: Path) -> None:
    start = CHECKPOINTS["DAC"](tmp_path)
    with pytest.raises(UsageError, match="only its decoder can be trained") as caught:
        tune(clips, start, tmp_path / "tuned", *SOUNDS)
    assert caught.value.hint == "--stage decoder keeps its codes"


def test_labels_are_refused(tmp_path: Path, clips: Path) -> None:
    start = CHECKPOINTS["DAC"](tmp_path)
    with pytest.raises(UsageError, match="--labels: the decoder of this model takes none"):
        tune(clips, start, tmp_path / "tuned", *FEW, *SOUNDS, "train.labels=true")


def test_an_unchanged_recipe_is_fitted_to_published_networks(
    tmp_path: Path, photos: Path, clips: Path
) -> None:
    start = CHECKPOINTS["DAC"](tmp_path)
    edits = ("train.stage=decoder", "train.steps=1", "train.holdout_items=1", *SOUNDS)
    tune(clips, start, tmp_path / "tuned", *edits)
    text = (tmp_path / "tuned" / "training.json").read_text(encoding="utf-8")
    plan = json.loads(text)["recipe"]["train"]
    assert plan["optimizer"] == "adamw"
    assert plan["store"] == "float32", "float16 would round the encoder"
    assert plan["adversarial"] is not None
    assert plan["learning_rate"] == pytest.approx(5e-5)
