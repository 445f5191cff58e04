"""Codes do not depend on settings of torch that a caller happens to have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tokenizers import published
from vqtok.checkpoints import directory
from vqtok.nn import undisturbed as guard
from vqtok.nn.undisturbed import undisturbed
from vqtok.tokenizers.published import vqgan


@contextmanager
def doubles() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SETTINGS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "doubles": doubles,
}


def signal(model) -> torch.Tensor:
    torch.manual_seed(0)
    shape = (1, 3, 40, 56) if model.spec.modality == "image" else (1, 1, 4000)
    return torch.rand(shape, dtype=torch.float32) * 2 - 1


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["image-f8", "audio-24k"])
def test_settings_of_the_caller_change_nothing(shelf: Path, name: str, setting: str):
    model = directory.load(shelf / name)
    x = signal(model)
    codes = model.encode(x)
    y = model.decode(codes)
    with SETTINGS[setting]():
        before = torch.get_default_dtype()
        again = model.encode(x)
        back = model.decode(again)
        assert torch.is_autocast_enabled("cpu") is (setting == "autocast")
        assert torch.get_default_dtype() == before
    for first, second in zip(codes.levels, again.levels, strict=True):
        assert torch.equal(torch.as_tensor(first), torch.as_tensor(second))
    assert back.dtype == torch.float32
    assert torch.equal(y, back)


def picture_network() -> Any:
    torch.manual_seed(0)
    config = vqgan.Config(
        widths=(8, 16), stem=8, blocks=1, decoder_blocks=1, attention=(), decoder_attention=(),
        latent=4, decoder_latent=4, dim=4, codebook_size=512, groups=4,
    )  # fmt: skip
    return config.build().eval().requires_grad_(False)


SENSITIVE: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: published.tiny(name) for name in published.TINY},
    "vqgan": picture_network,
}
"""Networks of others, which the guard alone keeps in float32; of so many codes some turn."""


def long_signal(model: Any) -> torch.Tensor:
    torch.manual_seed(0)
    shape = (1, 3, 64, 64) if model.spec.modality == "image" else (1, 1, 4000)
    return torch.rand(shape, dtype=torch.float32) * 2 - 1


def turned(model: Any) -> int:
    """Count the codes that autocast around ``encode`` makes others."""
    x = long_signal(model)
    plain = torch.as_tensor(model.encode(x).levels[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return int((torch.as_tensor(model.encode(x).levels[0]) != plain).sum())


@pytest.mark.parametrize("name", SENSITIVE)
def test_autocast_turns_no_code_and_would_without_the_guard(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    model = SENSITIVE[name]()
    assert turned(model) == 0
    monkeypatch.setattr(guard, "_float32", torch.inference_mode)
    assert turned(model) > 0


def test_another_default_dtype_changes_no_samples_and_would_without_the_guard(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
):
    model = directory.load(shelf / "image-f8")
    codes = model.encode(signal(model))
    with doubles():
        assert model.decode(codes).dtype == torch.float32
        monkeypatch.setattr(guard, "_float32", torch.inference_mode)
        assert model.decode(codes).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_converted(shelf: Path, dtype: torch.dtype):
    model = directory.load(shelf / "image-f8")
    x = signal(model).to(dtype)
    codes, same = model.encode(x), model.encode(x.float())
    assert torch.equal(torch.as_tensor(codes.levels[0]), torch.as_tensor(same.levels[0]))


def test_inside_there_is_no_autocast_and_between_steps_there_is():
    def look() -> tuple[bool, torch.dtype]:
        return torch.is_autocast_enabled("cpu"), (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    def steps() -> Iterator[tuple[bool, torch.dtype]]:
        yield look()
        yield look()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert look() == (True, torch.bfloat16)
        assert undisturbed(look)() == (False, torch.float32)
        for found in undisturbed(steps)():
            assert found == (False, torch.float32)
            assert look() == (True, torch.bfloat16)
