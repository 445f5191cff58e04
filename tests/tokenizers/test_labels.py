"""Labels: what the decoder is told changes what it gives, never the codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY_AUDIO, TINY_IMAGE
from vqtok import config
from vqtok.checkpoints import directory
from vqtok.errors import ConfigError, UsageError
from vqtok.protocols import Config
from vqtok.tokenizers import codec
from vqtok.tokenizers._labels import GAIN
from vqtok.tokenizers.exact import tiling2d

NAMES = ("anna", "bert", "carl")
KINDS = {
    "image": TINY_IMAGE,
    "levels": TINY_IMAGE | {"type": "tokenizers/vqvae2"},
    "audio": TINY_AUDIO,
    "audio, blocks": TINY_AUDIO | {"told": "blocks", "decoder_blocks": 2},
}


def build(kind: str, names: tuple[str, ...] = NAMES) -> Any:
    """A model whose labels' vectors differ, as after a training."""
    torch.manual_seed(0)
    model = config.parse(KINDS[kind] | {"labels": names}, Config).build().eval()
    if names:
        torch.nn.init.normal_(model.labels.vectors, std=2.0)
    return model


def signal(kind: str, *, batch: int = 1) -> Tensor:
    shape = (batch, 3, 40, 24) if "audio" not in kind else (batch, 1, 1003)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_each_label_sounds_and_looks_different_and_codes_stay_the_same(kind: str) -> None:
    model, plain = build(kind), build(kind, ())
    codes = model.encode(signal(kind))
    for told, untold in zip(codes.levels, plain.encode(signal(kind)).levels, strict=True):
        assert torch.equal(told, untold)
    given = [model.decode(codes, label=name) for name in NAMES]
    assert not torch.equal(given[0], given[1]) and not torch.equal(given[1], given[2])
    for number, expected in enumerate(given):
        assert torch.equal(model.decode(codes, label=number), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_decoding_are_told_the_same(kind: str) -> None:
    model, x = build(kind), signal(kind, batch=3)
    labels = torch.tensor([2, 0, 1])
    result = model(x, labels=labels)
    for item, label in enumerate(labels.tolist()):
        alone = model.decode(model.encode(x[item : item + 1]), label=label)
        shown = result.x[item : item + 1].clamp(-1, 1)
        torch.testing.assert_close(alone, shown, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_label_adds_nothing_and_learns(kind: str) -> None:
    torch.manual_seed(0)
    model = config.parse(KINDS[kind] | {"labels": NAMES}, Config).build()
    torch.manual_seed(0)
    plain = config.parse(KINDS[kind], Config).build()
    x = signal(kind, batch=2)
    found = model(x, labels=torch.tensor([0, 2]))
    assert torch.equal(found.x, plain(x).x)
    found.x.square().sum().backward()
    moved = model.labels.vectors.grad.flatten(1).abs().sum(dim=1) > 0
    assert moved.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("kind", "tile"), [("image", 16), ("levels", 16), ("audio", 7), ("audio, blocks", 7)]
)
def test_tiles_are_told_as_the_whole_is(
    kind: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(kind)
    codes = model.encode(signal(kind))
    whole = model.decode(codes, label="carl")
    room = codec if "audio" in kind else tiling2d
    monkeypatch.setattr(room, "TILE", tile)
    torch.testing.assert_close(model.decode(codes, label="carl"), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_is_asked_for_with_the_names(kind: str) -> None:
    model = build(kind)
    codes = model.encode(signal(kind))
    with pytest.raises(UsageError, match="no label given") as found:
        model.decode(codes)
    assert found.value.hint == "one of anna, bert, carl"
    with pytest.raises(UsageError, match="does not know") as found:
        model.decode(codes, label="anne")
    assert found.value.hint == "did you mean anna?"
    with pytest.raises(UsageError, match="0 … 2"):
        model.decode(codes, label=3)
    with pytest.raises(UsageError, match="no label given"):
        model(signal(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_labels_refuses_one(kind: str) -> None:
    model = build(kind, ())
    assert not any("labels" in name for name in model.state_dict())
    with pytest.raises(UsageError, match="without labels"):
        model.decode(model.encode(signal(kind)), label="anna")
    with pytest.raises(UsageError, match="without labels"):
        model(signal(kind), labels=torch.tensor([0]))


def test_each_block_is_told_by_a_vector_of_its_own() -> None:
    model = build("audio, blocks")
    assert model.labels.vectors.shape == (3, 2, 8)
    z, told = torch.randn(1, 8, 1, 5), model.labels.vectors[:1]
    first, second = model.decoder[1:3]
    one, two = (GAIN * told[:, at, :, None, None] for at in range(2))
    torch.testing.assert_close(model.decoder[1:3](z, told), second(first(z + one) + two))


@pytest.mark.parametrize("names", [("anna", "anna"), ("",)])
def test_names_that_cannot_be_told_apart_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="labels"):
        build("image", names)


def test_labels_are_saved_with_the_model(tmp_path: Path) -> None:
    model = build("image")
    codes = model.encode(signal("image"))
    directory.save(tmp_path / "model", model)
    loaded: Any = directory.load(tmp_path / "model")
    assert loaded.labels.names == NAMES
    assert torch.equal(loaded.decode(codes, label="bert"), model.decode(codes, label="bert"))
