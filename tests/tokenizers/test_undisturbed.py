"""Codes do not depend on settings of torch that a caller happens to have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from vqtok.checkpoints import directory
from vqtok.nn.undisturbed import undisturbed


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
