"""Presets: the codes that their names and descriptions promise, and one step of each kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vqtok.training import recipe

CODES = {
    "image-f8": ((32, 32), 8192),
    "image-f8-small": ((32, 32), 8192),
    "image-f16": ((16, 16), 16384),
    "image-fsq": ((32, 32), 8000),
    "dvae": ((32, 32), 1024),
    "vqvae-2017": ((64, 64), 512),
}
"""Preset → codes of an image of 256x256, and entries."""


@pytest.mark.parametrize("name", CODES)
def test_images_become_as_many_codes_as_promised(name: str):
    spec: Any = recipe.load(name).model.build().spec
    assert (spec.shapes((256, 256))[0], spec.levels[0].codebook_size) == CODES[name]


@pytest.mark.parametrize("name", CODES)
def test_a_window_is_whole_codes_and_gives_gradients_to_everything(name: str):
    plan = recipe.load(name)
    torch.manual_seed(0)
    model: Any = plan.model.build().train()
    stride = model.spec.levels[0].stride[0]
    assert plan.train.window % stride == 0
    x = torch.rand(2, 3, 2 * stride, 2 * stride) * 2 - 1
    found = model(x)
    ((found.x if found.raw is None else found.raw).square().mean() + found.loss).backward()
    parts = [*model.encoder.parameters(), *model.decoder.parameters()]
    assert all(each.grad is not None and each.grad.isfinite().all() for each in parts)
