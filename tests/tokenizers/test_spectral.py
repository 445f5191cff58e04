"""Features of the encoder: bands where they belong, and perturbations in training alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.tokenizers.test_codec import MEL, build, sound
from vqtok import config, distributed
from vqtok.errors import ConfigError
from vqtok.protocols import Config
from vqtok.tokenizers._spectral import FrontEnd, Mel, Perturbation, check_bands

RATE, FRAME = 24000, 1280


def front_end(**settings: Any) -> FrontEnd:
    return FrontEnd(Mel(**settings), frame=FRAME, rate=RATE)


def tone(*hz: float) -> Tensor:
    """(B, 1, bins) complex: all that there is of each item is near one frequency."""
    at = torch.linspace(0, RATE / 2, FRAME // 2 + 1, dtype=torch.float64)
    near = (-0.5 * ((at - torch.tensor(hz, dtype=torch.float64)[:, None]) / 40.0).square()).exp()
    return torch.complex(near, torch.zeros_like(near))[:, None]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bands_hold_magnitudes_and_no_phases() -> None:
    spectrum = tone(500.0, 3000.0)
    found = front_end()(spectrum)
    assert found.shape == (2, 1, 40)
    assert found.dtype == torch.float64
    assert torch.allclose(front_end()(spectrum * torch.tensor(0.6 + 0.8j)), found, atol=1e-9)
    low, high = found.argmax(dim=2)[:, 0].tolist()
    assert low < high
    assert float(found.min()) == pytest.approx(math.log(1e-3), abs=1e-6)


def test_nothing_is_left_above_eight_kilohertz() -> None:
    assert float(front_end()(tone(9000.0)).max()) == pytest.approx(math.log(1e-3), abs=1e-6)


@given(hz=st.floats(300.0, 4000.0), stretch=st.floats(0.8, 1.25))
def test_a_stretched_item_looks_like_one_of_another_frequency(hz: float, stretch: float) -> None:
    plain = front_end()(tone(hz))
    factor = torch.tensor([stretch], dtype=torch.float64)
    none = torch.ones(1, 40, dtype=torch.float64)
    stretched = front_end()(tone(hz * stretch), Perturbation(factor, none))
    centre = [
        float((each.exp()[0, 0] * torch.arange(40)).sum() / each.exp().sum())
        for each in (plain, stretched)
    ]
    assert centre[0] == pytest.approx(centre[1], abs=0.4)  # bands


def test_colour_multiplies_bands() -> None:
    gain = torch.linspace(0.5, 2.0, 40, dtype=torch.float64)[None]
    spectrum = torch.full((1, 1, FRAME // 2 + 1), 50.0, dtype=torch.complex128)
    found = front_end()(spectrum, Perturbation(torch.ones(1, dtype=torch.float64), gain))
    torch.testing.assert_close(
        found - front_end()(spectrum), gain.log()[:, None], atol=1e-4, rtol=0
    )


def test_perturbations_stay_within_what_was_asked_for_and_use_it() -> None:
    found = front_end(warp=1.25, colour_db=3.0).perturbation(2000, generator=seeded(0))
    assert found is not None
    assert 0.8 <= float(found.stretch.min()) < 0.81
    assert 1.24 < float(found.stretch.max()) <= 1.25
    assert abs(float(found.stretch.log().mean())) < 0.01
    decibels = 20.0 * found.gain.log10()
    # Four cosines of mean square one half, 3 dB each.
    assert float(decibels.square().mean().sqrt()) == pytest.approx(3.0 * math.sqrt(2.0), rel=0.05)


@pytest.mark.parametrize("mel", [None, Mel()])
def test_without_a_perturbation_nothing_is_drawn(mel: Mel | None) -> None:
    generator = seeded(0)
    before = generator.get_state()
    plain = FrontEnd(mel, frame=FRAME, rate=RATE)
    assert plain.perturbation(3, generator=generator) is None
    assert torch.equal(generator.get_state(), before)


def test_ranks_draw_the_perturbations_of_the_joint_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = front_end(warp=1.25, colour_db=3.0)
    whole = found.perturbation(6, generator=seeded(0))
    assert whole is not None
    for start in (0, 2, 4):
        share = distributed.Share(6, slice(start, start + 2))
        monkeypatch.setattr(distributed, "share", lambda batch, share=share: share)
        part = found.perturbation(2, generator=seeded(0))
        assert part is not None
        for each, all_ in zip(part, whole, strict=True):
            assert torch.equal(each, all_[start : start + 2])


def test_codes_and_evaluation_are_never_perturbed() -> None:
    model, x = build(mel=MEL), sound(300, batch=2)
    codes, shown = model.encode(x), model(x)
    assert torch.equal(model(x).x, shown.x)
    model.train()
    assert torch.equal(model.encode(x).levels[0], codes.levels[0])
    assert torch.equal(model.latents(x), build(mel=MEL).latents(x))


def test_training_is_perturbed_as_the_generator_says() -> None:
    x = sound(300, batch=2)

    def found(seed: int) -> Tensor:
        model = build("vq", mel=MEL).train()
        model.quantizer.generator = seeded(seed)
        given: list[Tensor] = []
        model.quantizer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        model(x)
        return given[0]

    assert torch.equal(found(1), found(1))
    assert not torch.equal(found(1), found(2))
    assert not torch.equal(found(1), build("vq", mel=MEL).latents(x))


def test_a_model_that_reads_bins_has_the_weights_that_it_had_before() -> None:
    shapes = {name: tuple(each.shape) for name, each in build().state_dict().items()}
    assert shapes["encoder.0.weight"][1] == 2 * (16 // 2 + 1)
    banded = build(mel=MEL).state_dict()
    assert {name for name in banded if banded[name].shape != shapes[name]} == {"encoder.0.weight"}
    assert banded["encoder.0.weight"].shape[1] == MEL["bands"]


@given(
    bands=st.integers(2, 200),
    warp=st.floats(1.0, 2.0),
    frame=st.integers(2, 100).map(lambda n: 16 * n),
    rate=st.integers(800, 48000),
)
def test_bands_that_pass_the_check_all_hold_a_bin(
    bands: int, warp: float, frame: int, rate: int
) -> None:
    mel = Mel(bands, warp)
    try:
        check_bands(mel, frame=frame, rate=rate)
    except ValueError:
        return
    made = FrontEnd(mel, frame=frame, rate=rate)
    noise = torch.ones(1, 1, frame // 2 + 1, dtype=torch.complex128)
    for stretch in (1.0 / warp, 1.0):  # beyond, bands may reach past half the rate: silence
        gain = torch.ones(1, bands, dtype=torch.float64)
        found = made(noise, Perturbation(torch.tensor([stretch], dtype=torch.float64), gain))
        assert float(found.min()) > -0.01


@pytest.mark.parametrize(
    ("mel", "message"),
    [
        ({"bands": 1}, "at least 2"),
        ({"bands": 10**9}, "too many for frames of 16 samples"),
        ({"bands": 60}, "too many for frames of 16 samples"),
        ({"bands": 6, "warp": 0.9}, "not from 1 to 2"),
        ({"bands": 6, "warp": 2.5}, "not from 1 to 2"),
        ({"bands": 6, "colour_db": -1.0}, "colour_db"),
        ({"bands": 6, "pitch": 1.0}, "pitch"),
    ],
)
def test_bands_that_cannot_be_are_refused(mel: dict[str, float], message: str) -> None:
    data = {"type": "tokenizers/codec", "rate": 800, "frame": 16, "hop": 8, "mel": mel}
    with pytest.raises(ConfigError, match=message):
        config.parse(data | {"quantizer": {"type": "quantizers/vq"}}, Config)
