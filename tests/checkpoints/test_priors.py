"""A prior's directory: it comes back as it was, and says whose codes it models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import vqtok
from tests import coded
from vqtok.checkpoints import directory, priors
from vqtok.errors import CheckpointError
from vqtok.priors.transformer import Config


@pytest.fixture
def place(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    prior = Config(width=16, blocks=1, heads=2, classes=("a", "b")).build(spec=coded.IMAGE)
    prior.eval()
    priors.save(tmp_path / "p", prior, tokenizer="tok", extent=(32, 24))
    return tmp_path / "p"


def test_a_prior_comes_back_as_it_was(place: Path) -> None:
    torch.manual_seed(0)
    made = Config(width=16, blocks=1, heads=2, classes=("a", "b")).build(spec=coded.IMAGE).eval()
    back = vqtok.load_prior(str(place))
    assert back.name == "p"
    assert back.spec == coded.IMAGE
    codes = coded.codes_of(coded.IMAGE, (32, 24), seed=0)
    assert torch.equal(back(codes), made(codes))
    assert not any(parameter.requires_grad for parameter in back.parameters())


def test_its_facts_need_no_network(place: Path) -> None:
    info = directory.describe(place)
    assert info.spec == coded.IMAGE
    assert info.fingerprint != coded.IMAGE.fingerprint
    assert info.learned is not None
    assert info.learned.fingerprint == coded.IMAGE.fingerprint
    assert (info.learned.tokenizer, info.learned.extent) == ("tok", (32, 24))


def test_a_prior_is_never_taken_for_its_tokenizer(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQTOK_MODELS", str(place.parent))
    assert directory.find(coded.IMAGE.fingerprint) is None
    with pytest.raises(CheckpointError, match="no tokenizer"):
        vqtok.load(str(place))


def test_a_tokenizer_is_no_prior(shelf: Path) -> None:
    with pytest.raises(CheckpointError, match="no prior"):
        priors.load(shelf / "image-f8")


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "damaged codes: 'extent' is missing": lambda data: data["codes"].pop("extent"),
    "damaged codes: not an object": lambda data: data.update(codes=[]),
    "damaged codes: an extent of another rank": lambda data: data["codes"].update(extent=[3]),
    "damaged codes: extent is out of range": lambda data: data["codes"].update(extent=[0, 3]),
    "damaged codes: a name": lambda data: data["codes"].update(tokenizer="a\n"),
    "damaged codes: a name that": lambda data: data["codes"].update(fingerprint=7),
    "shape": lambda data: data["spec"]["levels"][0].update(codebook_size=65),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_damaged_config_is_refused(message: str, place: Path) -> None:
    path = place / "config.json"
    data = json.loads(path.read_text())
    DAMAGES[message](data)
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=message):
        priors.load(place)
