"""A deeper model begins as the one that it was made of, and goes on from there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import IMAGE_EDITS
from vqtok import load
from vqtok.errors import UsageError
from vqtok.quantizers import vq
from vqtok.tokenizers import codec, vqvae, vqvae2
from vqtok.training.start import begin_from
from vqtok.training.train import prepare

VQ = vq.Config(codebook_size=8, warmup=0)
SMALL: dict[str, Any] = {
    "vqvae": vqvae.Config(VQ, widths=(8, 12), encoder_blocks=(1, 2), decoder_blocks=(1, 1)),
    "vqvae2": vqvae2.Config(VQ, widths=(8, 12), encoder_blocks=(1, 2), decoder_blocks=(1, 0)),
    "codec": codec.Config(
        VQ, rate=800, frame=16, hop=8, width=8, latent=4, encoder_blocks=1, decoder_blocks=1
    ),
}
DEEPER: dict[str, dict[str, Any]] = {
    "vqvae": {"encoder_blocks": (3, 2), "decoder_blocks": (1, 4)},
    "vqvae2": {"encoder_blocks": (1, 3), "decoder_blocks": (3, 2), "condition_blocks": 2},
    "codec": {"encoder_blocks": 2, "decoder_blocks": 3},
}


def signals(name: str) -> torch.Tensor:
    shape = (2, 1, 300) if name == "codec" else (2, 3, 40, 24)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


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
    expected, got = start.encode(signals(name)), model.encode(signals(name))
    for a, b in zip(expected.levels, got.levels, strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        torch.testing.assert_close(
            model(signals(name)).x, start(signals(name)).x, atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_new_block_learns(name: str) -> None:
    start, model = trained(name), deeper(name, **DEEPER[name])
    begin_from(model, start)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    begun = {key: value.detach().clone() for key, value in model.named_parameters()}
    for _ in range(2):  # the scales, then what lies behind them
        optimizer.zero_grad()
        found = model(signals(name))
        ((found.x - signals(name)).square().mean() + found.loss).backward()
        optimizer.step()
    new = {key for key in begun if key.endswith("scale") and not begun[key].any()}
    assert len(new) == sum(
        sum(after) - sum(before) if isinstance(after, tuple) else after - before
        for after, before in (
            (DEEPER[name][key], getattr(SMALL[name], key)) for key in DEEPER[name]
        )
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
    start: Any = small.build()
    start.name = "small"
    with pytest.raises(UsageError, match="do not fit"):
        begin_from(dataclasses.replace(small, encoder_blocks=(2,)).build(), start)


def test_a_run_makes_a_model_deeper_by_its_settings(photos: Path, tmp_path: Path) -> None:
    first = prepare([str(photos)], tmp_path / "first", edits=[*IMAGE_EDITS, "train.steps=1"])
    first.begin()
    first.evaluate(last=True)
    run = prepare(
        [str(photos)],
        tmp_path / "deeper",
        start=str(tmp_path / "first"),
        edits=["model.decoder_blocks=[1, 3]", "train.window=16", "train.batch=2"],
    )
    start = load(str(tmp_path / "first"))
    x = signals("vqvae")
    assert len(list(run.model.parameters())) > len(list(start.parameters()))
    run.model.eval()
    torch.testing.assert_close(run.model(x).x, start(x).x, atol=1e-6, rtol=0)
