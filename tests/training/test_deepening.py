"""A deeper model begins as the one that it was made of, and goes on from there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from vqtok.errors import UsageError
from vqtok.tokenizers import vqvae, vqvae2
from vqtok.quantizers import vq
from vqtok.training.learner import begin_from

VQ = vq.Config(codebook_size=8, warmup=0)
SMALL: dict[str, Any] = {
    "vqvae": vqvae.Config(VQ, widths=(8, 12), encoder_blocks=(1, 2), decoder_blocks=(1, 1)),
    "vqvae2": vqvae2.Config(VQ, widths=(8, 12), encoder_blocks=(1, 2), decoder_blocks=(1, 0)),
}
DEEPER: dict[str, dict[str, Any]] = {
    "vqvae": {"encoder_blocks": (3, 2), "decoder_blocks": (1, 4)},
    "vqvae2": {"encoder_blocks": (1, 3), "decoder_blocks": (3, 2), "condition_blocks": 2},
}


def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 40, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def trained(name: str) -> Any:
    torch.manual_seed(0)
    return SMALL[name].build().eval()


def deeper(name: str, **edits: Any) -> Any:
    torch.manual_seed(1)
    return dataclasses.replace(SMALL[name], **edits).build()


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_deeper_model_begins_with_the_codes_and_pixels_of_its_start(name: str) -> None:
    start, model = trained(name), deeper(name, **DEEPER[name])
    begin_from(model, start)
    model.eval()
    assert len(list(model.parameters())) > len(list(start.parameters()))
    expected, got = start.encode(pictures()), model.encode(pictures())
    for a, b in zip(expected.levels, got.levels, strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        torch.testing.assert_close(model(pictures()).x, start(pictures()).x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_new_block_learns(name: str) -> None:
    start, model = trained(name), deeper(name, **DEEPER[name])
    begin_from(model, start)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    begun = {key: value.detach().clone() for key, value in model.named_parameters()}
    for _ in range(2):  # the scales, then what lies behind them
        optimizer.zero_grad()
        found = model(pictures())
        ((found.x - pictures()).square().mean() + found.loss).backward()
        optimizer.step()
    new = {key for key in begun if key.endswith("scale") and not begun[key].any()}
    assert len(new) == sum(
        sum(after) - sum(before) if isinstance(after, tuple) else after - before
        for after, before in ((DEEPER[name][key], getattr(SMALL[name], key)) for key in DEEPER[name])
    )
    for key in new:
        for part in ("scale", "expand.weight", "depthwise.weight"):
            path = f"{key.removesuffix('scale')}{part}"
            assert not torch.equal(model.get_parameter(path), begun[path]), path


@pytest.mark.parametrize(
    "edits",
    [
        {"decoder_blocks": (1, 0)},
        {"widths": (8, 16)},
        {"network": "strided", "encoder_blocks": (3,), "decoder_blocks": (1,)},
    ],
)
def test_other_changes_of_how_a_model_is_built_are_refused(edits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="its weights do not fit the recipe") as error:
        begin_from(deeper("vqvae", **edits), trained("vqvae"))
    assert "more blocks" in str(error.value.hint)


def test_strided_residual_blocks_have_no_scale_and_cannot_be_added() -> None:
    small = vqvae.Config(VQ, network="strided", encoder_blocks=(1,), decoder_blocks=(1,))
    larger = dataclasses.replace(small, encoder_blocks=(2,))
    start: nn.Module = small.build()
    start.name = "small"  # type: ignore[assignment]
    with pytest.raises(UsageError, match="do not fit"):
        begin_from(larger.build(), start)
