"""DALL-E's pickled modules, made by ``dall_e`` itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.foreign.conftest import agrees, picture, randomised
from vqtok.checkpoints import foreign

dall_e = pytest.importorskip("dall_e", reason="needs the package DALL-E")

pytestmark = pytest.mark.outside


@pytest.fixture
def modules() -> tuple[Any, Any]:
    encoder = dall_e.Encoder(n_hid=64, n_blk_per_group=1, vocab_size=512)
    decoder = dall_e.Decoder(n_init=8, n_hid=64, n_blk_per_group=1, vocab_size=512)
    return randomised(encoder, 1), randomised(decoder, 2)


@pytest.mark.parametrize("legacy", [False, True])
def test_codes_and_pixels_are_those_of_dall_e(tmp_path: Path, modules: Any, legacy: bool):
    encoder, decoder = modules
    folder = tmp_path / "dvae"
    folder.mkdir()
    for name, module in (("encoder", encoder), ("decoder", decoder)):
        torch.save(module, folder / f"{name}.pkl", _use_new_zipfile_serialization=not legacy)
    x = picture(32, 48)
    codes = encoder(dall_e.map_pixels((x + 1) / 2)).argmax(dim=1)
    one_hot = torch.nn.functional.one_hot(codes, 512).movedim(-1, 1).float()
    shown = dall_e.unmap_pixels(torch.sigmoid(decoder(one_hot)[:, :3])) * 2 - 1
    agrees(folder, x, [codes], shown)
    assert foreign.recognise(folder).family == "DALL-E dVAE"
