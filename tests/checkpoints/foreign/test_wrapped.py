"""Weights of every family are found however training programs wrapped and libraries cut them."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from tests.checkpoints.foreign.checkpoints import CHECKPOINTS
from vqtok.checkpoints import foreign
from vqtok.checkpoints.foreign import _reading

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")

NOT_BY_NAME = {"DALL-E dVAE", "Cosmos DI"}
"""Published as pickled or scripted networks in a file for each side: nobody wraps these."""

NOT_WEIGHTS_ALONE = {"DAC `.pth`"}
"""Their files say what their weights do not tell, the sampling rate."""

FAMILIES = [name for name in CHECKPOINTS if name not in NOT_BY_NAME]

KEYS = ("state_dict", "model_state_dict", "model", "params", "ema", "params_ema", "module",
        "generator", "net")  # fmt: skip
BEFORE = ("", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.")
"""What is put before every name: DataParallel, a compiled model, one in the other, Lightning."""

BESIDE = {
    "epoch": 3,
    "best": np.float64(0.25),  # numpy's own numbers, as loops around metrics keep them
    "step": np.int64(7),
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]},
}


@cache
def plain(name: str) -> tuple[dict[str, Tensor], dict[str, Any], Path, str]:
    """Weights of a small checkpoint of a family, what else its file holds, where it is; its sign.

    A family that is in a language model comes without the language model's own weights.
    """
    path = CHECKPOINTS[name](Path(mkdtemp()))
    found = _reading.read(path)
    state = {key: tensor.clone() for key, tensor in found.tensors.items()}  # out of the file
    return state, dict(found.extra), path, foreign.describe(path).fingerprint


def same(name: str, path: Path) -> None:
    *_, sign = plain(name)
    facts = foreign.describe(path)
    assert (facts.foreign, facts.fingerprint) == (name, sign)


def beside_config(name: str, folder: Path) -> Path:
    """An empty folder with the ``config.json`` of the family's checkpoint, if it has one."""
    *_, path, _ = plain(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if path.is_dir() and (path / "config.json").is_file():
        shutil.copy(path / "config.json", folder)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
@settings(deadline=None, max_examples=3, suppress_health_check=list(HealthCheck))
@given(
    way=st.lists(st.sampled_from(KEYS), max_size=3),
    before=st.sampled_from(BEFORE),
    beside=st.booleans(),
    file=st.sampled_from(["model_best.pth.tar", "pytorch_model.bin", "last.ckpt"]),
)
def test_weights_of_every_family_are_found_below_any_keys_and_prefixes(
    tmp_path: Path, name: str, way: list[str], before: str, beside: bool, file: str
):
    state, extra, *_ = plain(name)
    held: Any = OrderedDict((f"{before}{key}", tensor) for key, tensor in state.items())
    for index, key in enumerate(reversed(way or ["state_dict"])):
        held = {**(extra if index == 0 else {}), **(BESIDE if beside else {}), key: held}
    folder = beside_config(name, tmp_path / "wrapped")
    torch.save(held, folder / file)
    same(name, folder)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("name", [each for each in FAMILIES if each not in NOT_WEIGHTS_ALONE])
def test_weights_of_every_family_are_put_together_from_shards(tmp_path: Path, name: str, kind: str):
    state, *_ = plain(name)
    folder = beside_config(name, tmp_path / "shards")
    names = sorted(state)
    stem = "model" if kind == "safetensors" else "pytorch_model"
    table = {}
    for index in range(3):
        part = {key: state[key].clone().contiguous() for key in names[index::3]}
        shard = f"{stem}-{index + 1:05}-of-00003.{kind}"
        if kind == "bin":
            torch.save(part, folder / shard)
        else:
            save_file(part, folder / shard)
        table |= dict.fromkeys(part, shard)
    index_file = folder / f"{stem}.{kind}.index.json"
    index_file.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": table}))
    same(name, folder)
