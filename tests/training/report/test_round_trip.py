"""What passes between encoder and decoder on held-out data, and runs of models without codes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import vqtok
from tests.training.conftest import AUDIO_EDITS, IMAGE_EDITS
from vqtok import config
from vqtok.backends import torch_backend
from vqtok.checkpoints import resume
from vqtok.protocols import Config
from vqtok.training.log import Evaluated, Event, Progress
from vqtok.training.report.preview import RoundTrips
from vqtok.training.train import train

SMALL = {
    "type": "tokenizers/vqvae",
    "patch": 2,
    "widths": [8, 8],
    "encoder_blocks": [1, 1],
    "decoder_blocks": [1, 1],
    "kernel": 3,
    "latent": 4,
}


def model(quantizer: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    data = SMALL | {"quantizer": {"type": f"quantizers/{quantizer}"} | settings}
    return config.parse(data, Config).build().eval()


def images(count: int, side: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=generator) * 2 - 1


def test_a_vae_tells_nats_per_position_and_active_units_of_all_it_saw() -> None:
    vae = model("gaussian")
    with torch.no_grad():
        vae.quantizer.moments.weight[0] = 0.0  # a unit that is the same everywhere
        vae.quantizer.moments.weight[4:] = torch.randn(4, 4)
    trips = RoundTrips(vae)
    batches = [images(2, 12), images(1, 24, seed=1)]
    for x in batches:
        trip = torch_backend.coder(vae).round_trip(x.numpy())
        trips.add(trip)
        y = torch.from_numpy(trip.x)
        torch.testing.assert_close(y, vae(x).x.detach().clamp(-1, 1), atol=1e-6, rtol=0)
    with torch.no_grad():
        found = [vae.quantizer.posterior(vae.latents(x)) for x in batches]
    rows = [each.kl().sum(dim=1).flatten() for each in found]  # (B·h·w,)
    means = torch.cat([each.mean.transpose(0, 1).flatten(1) for each in found], dim=1)
    active = int((means.double().var(dim=1, correction=0) > 0.01).sum())
    assert 0 < active < 4
    assert trips.metrics == {
        "kl": pytest.approx(float(torch.cat(rows).mean()), rel=1e-5),
        "active_units": active,
    }


def test_codes_are_counted_and_plain_latents_are_not() -> None:
    found = []
    for made in (model("fsq", levels=[5, 4]), model("identity")):
        trips = RoundTrips(made)
        trips.add(torch_backend.coder(made).round_trip(images(1, 13).numpy()))
        found.append(trips.metrics)
    assert set(found[0]) == {"use", "perplexity"}
    assert found[1] == {}


def run(data: Path, output: Path, quantizer: str, *edits: str, **options: Any) -> list[Event]:
    audio = options.pop("audio", False)
    shared = [edit for edit in (AUDIO_EDITS if audio else IMAGE_EDITS) if ".quantizer." not in edit]
    every = [*shared, f"model.quantizer.type=quantizers/{quantizer}", *edits]
    return list(train([str(data)], output, edits=every, device="cpu", **options))


@pytest.mark.parametrize(
    ("quantizer", "extra"), [("identity", set()), ("gaussian", {"kl", "active_units"})]
)
@pytest.mark.parametrize("audio", [False, True])
def test_a_run_differs_by_one_flag_and_leaves_a_model(
    quantizer: str, extra: set[str], audio: bool, photos: Path, clips: Path, tmp_path: Path
) -> None:
    data, quality = (clips, "mel_distance") if audio else (photos, "psnr_db")
    events = run(data, tmp_path / "m", quantizer, "train.steps=4", audio=audio)
    last = [each for each in events if isinstance(each, Evaluated)][-1]
    assert set(last.metrics) == {quality} | extra
    made = vqtok.load(str(tmp_path / "m"))
    x = torch.zeros(1, 1, 101) if audio else torch.zeros(1, 3, 9, 7)
    assert made(x).x.shape == x.shape
    facts = json.loads((tmp_path / "m" / "training.json").read_text())
    assert set(facts["metrics"]) == {quality} | extra
    card = (tmp_path / "m" / "README.md").read_text()
    assert "## Latents" in card
    assert ("nats per position" in card) == (quantizer == "gaussian")


def test_a_vaes_run_resumes_bit_for_bit_in_the_middle_of_its_warm_up(
    photos: Path, tmp_path: Path
) -> None:
    edits = ("model.quantizer.kl_steps=6", "model.quantizer.kl=0.01", "train.steps=9")
    run(photos, tmp_path / "whole", "gaussian", *edits)
    stops = itertools.count(1)
    run(photos, tmp_path / "parts", "gaussian", *edits, should_stop=lambda: next(stops) == 4)
    list(train([str(photos)], tmp_path / "parts", resuming=True, device="cpu"))
    whole, parts = (load_file(tmp_path / name / resume.FILE) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert any(name.endswith("learning.steps") for name in whole)
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_the_discrete_vae_of_the_preset_trains_by_its_likelihood(
    photos: Path, tmp_path: Path
) -> None:
    shared = [edit for edit in IMAGE_EDITS if ".quantizer." not in edit]
    placed = ["model.quantizer.warmup=2", "model.quantizer.samples=2"]
    edits = [*shared, "model.quantizer.codebook_size=16", *placed, "train.steps=6"]
    events = list(train([str(photos)], tmp_path / "m", preset="dvae", edits=edits, device="cpu"))
    shown = [each.losses for each in events if isinstance(each, Progress)]
    assert set(shown[-1]) == {"logit-laplace", "kl"}
    made = vqtok.load(str(tmp_path / "m"))
    codes = made.encode(torch.zeros(1, 3, 9, 7))
    assert made.decode(codes).shape == (1, 3, 9, 7)
