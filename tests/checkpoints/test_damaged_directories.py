"""Each kind of damage to a model directory has one line that names the file and the key."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.examples import examples
from vqtok.checkpoints import directory
from vqtok.errors import CheckpointError, ConfigError, UsageError, VqtokError


def edit_config(saved: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = saved / "config.json"
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def edit_weights(saved: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = saved / "model.safetensors"
    tensors = load_file(path)
    path.unlink()  # the old file may still be mapped
    edit(tensors)
    save_file(tensors, path)


ENTRIES = "quantizer.codebook.entries"

WEIGHTS: list[tuple[Callable[[dict[str, torch.Tensor]], object], str]] = [
    (lambda t: t.pop(ENTRIES), f"missing: {ENTRIES}$"),
    (lambda t: [t.pop(name) for name in sorted(t)[:5]], r"missing: \S+, \S+, \S+ and 2 more$"),
    (lambda t: t.update(extra=torch.zeros(1)), "unknown: extra$"),
    (lambda t: t.update({ENTRIES: t[ENTRIES][:-1]}), r"shape \(15, 4\) found, \(16, 4\) expected"),
    (lambda t: t.update({ENTRIES: t[ENTRIES].int()}), "floating-point values expected"),
    (lambda t: t.update({ENTRIES: t[ENTRIES] * torch.nan}), f"{ENTRIES}: NaN or infinite"),
]


@pytest.mark.parametrize(("edit", "message"), WEIGHTS)
def test_weights_that_do_not_fit_are_named(saved: Path, edit, message: str):
    edit_weights(saved, edit)
    with pytest.raises(CheckpointError, match=message) as told:
        directory.load(saved)
    assert str(told.value).startswith(f"{saved / 'model.safetensors'}: ")


CONFIGS: list[tuple[Callable[[dict[str, Any]], object], type[VqtokError], str]] = [
    (lambda d: d["model"].update(latnet=4), ConfigError, "model.latnet: unknown key"),
    (lambda d: d["model"].update(latent="4"), ConfigError, "model.latent: expected an integer"),
    (lambda d: d["model"].update(kernel=2), ConfigError, "model: .*kernel odd"),
    (lambda d: d["model"].update(latent=-4), ConfigError, "model: cannot be built"),
    (lambda d: d["model"].pop("quantizer"), ConfigError, "model.quantizer: the key is missing"),
    (lambda d: d["model"].update(type="os/system"), ConfigError, "model.type: unknown type"),
    (lambda d: d.update(model=d["model"]["quantizer"]), ConfigError, "model.type: .* not fit here"),
    (lambda d: d["model"].update(latent=8), CheckpointError, r"shape \(.*\) found"),
    (lambda d: d["spec"]["levels"][0].update(codebook_size=99), CheckpointError, "not that of the"),
    (lambda d: d["spec"].pop("levels"), CheckpointError, "damaged spec: 'levels' is missing"),
    (lambda d: d.pop("spec"), CheckpointError, "not a vqtok model"),
    (lambda d: d.update(vqtok=2), CheckpointError, "version 2 of a newer vqtok"),
    (lambda d: d.update(vqtok="1"), CheckpointError, "not a vqtok model"),
]


@pytest.mark.parametrize(("edit", "kind", "message"), CONFIGS)
def test_configs_that_do_not_fit_are_located(saved: Path, edit, kind, message: str):
    edit_config(saved, edit)
    with pytest.raises(kind, match=message) as told:
        directory.load(saved)
    assert str(saved) in str(told.value)


def test_a_typo_gets_the_near_key(saved: Path):
    edit_config(saved, lambda data: data["model"].update(latnet=4))
    with pytest.raises(ConfigError) as told:
        directory.load(saved)
    assert told.value.hint == "did you mean latent?"


@pytest.mark.parametrize("read", [directory.load, directory.describe])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(saved: Path, name: str, read: Callable[[Path], object]):
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"no {re.escape(name)}"):
        read(saved)


@pytest.mark.parametrize("read", [directory.load, directory.describe])
@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_truncated_weights_are_refused_with_and_without_torch(
    saved: Path, keep: int, read: Callable[[Path], object]
):
    path = saved / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    with pytest.raises(CheckpointError, match=r"truncated or damaged|damaged: truncated"):
        read(saved)


def test_a_config_that_is_not_json_is_located(saved: Path):
    (saved / "config.json").write_text('{"vqtok": 1,\n oops}')
    with pytest.raises(ConfigError, match="line 2, column 2"):
        directory.load(saved)


@pytest.mark.parametrize("text", [None, "oops", "[1]", "\0"])
def test_a_damaged_training_record_hurts_nobody(saved: Path, text: str | None):
    (saved / "training.json").unlink()
    if text is not None:
        (saved / "training.json").write_text(text)
    assert directory.describe(saved).training == {}
    directory.load(saved)


@examples(20, many=60, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["config.json", "model.safetensors"]), st.data())
def test_flipped_bytes_never_escape_as_other_errors(saved: Path, name: str, data: st.DataObject):
    path = saved / name
    whole = path.read_bytes()
    head = min(len(whole), 3000)  # beyond lie the weights, where a flip is another number
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, head - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(damaged))
    try:
        for read in (directory.describe, directory.load):
            try:
                read(saved)
            except VqtokError as error:
                assert "\n" not in str(error)
    finally:
        path.write_bytes(whole)


HUGE: list[Callable[[dict[str, Any]], object]] = [
    lambda model: model.update(encoder_blocks=[10**9]),
    lambda model: model.update(widths=[1_000_000]),
    lambda model: model.update(latent=1 << 40),
    lambda model: model["quantizer"].update(codebook_size=1 << 30),
    lambda model: model["quantizer"].update(codebook_dim=1 << 28),
    lambda model: model.update(quantizer={"type": "quantizers/rvq", "depth": 10**9}),
]


@pytest.mark.parametrize("edit", HUGE)
def test_a_config_far_larger_than_its_weights_is_refused_before_it_is_built(saved: Path, edit):
    edit_config(saved, lambda data: edit(data["model"]))
    begun = time.process_time()
    with pytest.raises(ConfigError, match="far larger than the weights"):
        directory.load(saved)
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("side", [1.5, "9", None, 10**400, -1], ids=lambda side: str(side)[:9])
def test_a_shape_that_is_none_does_not_reach_the_facts(saved: Path, side: object):
    path = saved / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    table[ENTRIES]["shape"][0] = side
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + length :])
    with pytest.raises(CheckpointError, match="damaged: unreadable header"):
        directory.describe(saved)


def test_a_name_longer_than_names_can_be_is_an_unknown_model(models: Path):
    with pytest.raises(UsageError, match="unknown model"):
        directory.resolve("é" * 300)
    assert directory.find("0" * 16, name="é" * 300) is None
