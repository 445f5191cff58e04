"""Whatever a config asks for: a model, or one error before much is built."""

from __future__ import annotations

import dataclasses
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.checkpoints.conftest import TINY
from tests.conftest import TINY_AUDIO
from vqtok import config as configs
from vqtok.checkpoints import directory, facts, foreign
from vqtok.checkpoints.building import Budget
from vqtok.errors import CheckpointError, ConfigError, VqtokError

SPEC = {"levels": [{"axes": ["h", "w"], "codebook_size": 16, "depth": None, "name": "codes",
                    "stride": [2, 2]}], "modality": "image", "rate": None}  # fmt: skip

LARGE = (10**9, -1, 0, 10**6, 1 << 62)


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """Thirty seconds of the processor for each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def bases() -> dict[str, dict[str, Any]]:
    """A sound config of every tokenizer that has one by default, and of ours."""
    found = {"vqvae": dict(TINY), "codec": dict(TINY_AUDIO)}
    for name in configs.members("tokenizers"):
        kind = configs.config_class(f"tokenizers/{name}")
        fields = dataclasses.fields(kind)  # type: ignore[arg-type]
        if all(each.default is not each.default_factory for each in fields):
            found.setdefault(name, configs.dump(kind()))
    return found


def edits(config: dict[str, Any], value: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The config with each of its numbers, and each of the numbers in its lists, replaced."""
    for key, held in config.items():
        if type(held) is int:
            yield key, {**config, key: value}
        elif isinstance(held, list) and held and type(held[0]) is int:
            yield key, {**config, key: [value, *held[1:]]}
            yield key, {**config, key: [2] * min(abs(value), 100_000)}


OF_LIBRARIES = ("dac", "encodec", "encodec_chunked", "mimi", "wavtokenizer", "xcodec")
"""Networks that take a while to begin with."""


HOSTILE = [
    pytest.param(
        name, value, marks=pytest.mark.slow if value in LARGE[3:] and number % 3 != 1 else ()
    )
    for number, name in enumerate(bases())
    for value in (LARGE[:1] if name in OF_LIBRARIES else LARGE)
]
"""Every config with every number; of some configs other large numbers than the first are slow."""


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_a_hostile_number_in_a_config_is_one_error(tmp_path: Path, name: str, value: int):
    save_file({"a": torch.zeros(3)}, tmp_path / "model.safetensors")
    for key, model in edits(bases()[name], value):
        text = json.dumps({"vqtok": 1, "spec": SPEC, "model": model})
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(VqtokError) as told:
            directory.load(tmp_path)
        assert "\n" not in str(told.value), key


@pytest.mark.parametrize("kind", [KeyError, AttributeError, RuntimeError, MemoryError, OSError,
                                  RecursionError, AssertionError])  # fmt: skip
def test_whatever_a_library_raises_is_one_error(
    saved: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
):
    def build(self: object, **named: object) -> Any:
        raise kind("of a library\nin two lines")

    monkeypatch.setattr(configs.config_class("tokenizers/vqvae"), "build", build)
    with pytest.raises(ConfigError, match=r"cannot be built: .?of a library(\\n| )in two lines"):
        directory.load(saved)


HF: dict[str, dict[str, Any]] = {
    "mimi": {"model_type": "mimi", "num_quantizers": 1},
    "encodec": {"model_type": "encodec", "chunk_length_s": 1.0, "overlap": 0.01,
                "norm_type": "zzz"},
    "mimi of 10^9 layers": {"model_type": "mimi", "num_hidden_layers": 10**9},
    "mimi of no heads": {"model_type": "mimi", "num_attention_heads": 0},
    "mimi of ratios below zero": {"model_type": "mimi", "upsampling_ratios": [-8, 0]},
    "mimi of another activation": {"model_type": "mimi", "hidden_act": "__import__"},
    "dac of nothing": {"model_type": "dac", "downsampling_ratios": []},
    "dac of 10^9 entries": {"model_type": "dac", "codebook_size": 10**9},
    "dac below zero": {"model_type": "dac", "encoder_hidden_size": -64},
    "encodec of text": {"model_type": "encodec", "sampling_rate": "fast"},
    "encodec of no filters": {"model_type": "encodec", "num_filters": 0},
    "encodec of many layers": {"model_type": "encodec", "num_residual_layers": 16_000_000},
    "encodec with a list": {"model_type": ["encodec"]},
    "snac of nothing": {"vq_strides": [], "encoder_rates": [], "decoder_rates": []},
    "snac of numbers": {"vq_strides": 1, "encoder_rates": 2, "decoder_rates": 3},
    "not a number": {"model_type": "encodec", "normalize": False, "kernel_size": None},
}  # fmt: skip


@pytest.mark.parametrize("name", HF)
def test_a_hostile_config_of_a_library_is_one_error(tmp_path: Path, name: str):
    pytest.importorskip("transformers")
    save_file({"encoder.a": torch.zeros(3)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(HF[name]))
    with pytest.raises((ConfigError, CheckpointError)) as told:
        foreign.open(tmp_path)
    assert "\n" not in str(told.value)


def test_modules_without_numbers_are_counted_too():
    with Budget({}, subject="x"), pytest.raises(ConfigError, match="far larger"):
        held: nn.Module = nn.Identity()
        for _ in range(1_000_000):
            held = nn.Sequential(held)
    nn.Sequential(*(nn.Identity() for _ in range(20_000)))  # not counted any more


def test_numbers_as_large_as_the_weights_may_be_in_a_config():
    facts.check_sizes({"a": [{"b": (1 << 20, True, 1e300, "x")}]}, 3, subject="x")
    facts.check_sizes({"a": 1 << 30}, 1 << 30, subject="x")
    with pytest.raises(ConfigError, match="far larger than the weights"):
        facts.check_sizes({"a": [{"b": (1 << 30,)}]}, 1 << 29, subject="x")
