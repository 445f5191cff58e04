"""Files of strangers: read as numbers, or refused; nothing in them ever runs."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from tests.checkpoints.foreign import test_var
from tests.examples import examples
from vqtok.checkpoints import foreign
from vqtok.checkpoints.foreign import _archives, _reading
from vqtok.errors import CheckpointError

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Touch:
    """Leaves a file behind if it is unpickled by something that runs it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Call:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


def same(found: Any) -> None:
    assert set(found) == set(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("key", ["", "state_dict", "model", "ema"])
def test_every_way_to_save_weights_is_read(tmp_path: Path, key: str, legacy: bool):
    held: Any = {key: WEIGHTS, "optimizer": {"state": {0: torch.zeros(3)}}} if key else WEIGHTS
    torch.save(held, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    same(_reading.read(tmp_path / "x.pt").tensors)


def test_averages_are_preferred(tmp_path: Path):
    other = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    torch.save({"model": other, "ema": WEIGHTS}, tmp_path / "x.pt")
    same(_reading.read(tmp_path / "x.pt").tensors)


def test_what_else_there_is_comes_along(tmp_path: Path):
    torch.save({"state_dict": WEIGHTS, "metadata": {"kwargs": {"rate": 3}}}, tmp_path / "x.pth")
    assert _reading.read(tmp_path / "x.pth").extra == {"metadata": {"kwargs": {"rate": 3}}}


def test_safetensors_whole_and_in_shards_are_read(tmp_path: Path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    same(_reading.read(tmp_path).tensors)
    shards = tmp_path / "shards"
    shards.mkdir()
    for index, (name, tensor) in enumerate(WEIGHTS.items()):
        save_file({name: tensor}, shards / f"{index}.safetensors")
    table = {"weight_map": {name: f"{i}.safetensors" for i, name in enumerate(WEIGHTS)}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(table))
    same(_reading.read(shards).tensors)
    table["weight_map"]["a.bias"] = "../model.safetensors"
    (shards / "model.safetensors.index.json").write_text(json.dumps(table))
    with pytest.raises(CheckpointError, match="not a file beside it"):
        _reading.read(shards)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_dropped(tmp_path: Path, prefix: str):
    torch.save({prefix + name: tensor for name, tensor in WEIGHTS.items()}, tmp_path / "x.pt")
    same(_reading.read(tmp_path / "x.pt").tensors)


def test_options_beside_the_weights_do_no_harm(tmp_path: Path):
    held = {"model": WEIGHTS, "args": argparse.Namespace(rate=3), "path": Path("x")}
    torch.save(held, tmp_path / "x.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "x.pt", weights_only=True)
    same(_reading.read(tmp_path / "x.pt").tensors)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_module_gives_its_weights_without_its_class(tmp_path: Path, legacy: bool):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)))
    torch.save(module, tmp_path / "x.pkl", _use_new_zipfile_serialization=not legacy)
    found = _reading.read(tmp_path / "x.pkl").tensors
    assert set(found) == set(module.state_dict())
    assert all(torch.equal(found[name], each) for name, each in module.state_dict().items())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("inside", ["beside", "instead", "key"])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, inside: str, legacy: bool):
    trace = tmp_path / "ran"
    evil: Any = Touch(trace)
    held = {"beside": {"state_dict": WEIGHTS, "x": evil}, "instead": evil, "key": {evil: 1}}
    path = tmp_path / "evil.pt"
    torch.save(held[inside], path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"refused: it would run |damaged"):
        _reading.read(path)
    with pytest.raises(CheckpointError):
        foreign.open(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the test can fail: whoever trusts it is hit
    assert trace.exists()


@pytest.mark.parametrize(
    "call",
    [
        Call(eval, "1 / 0"),
        Call(exec, "raise SystemExit"),
        Call(getattr, "", "upper"),
        Call(__import__, "antigravity"),
        Call(torch.hub.load_state_dict_from_url, "http://127.0.0.1:9"),
        Call(nn.Linear, 1 << 20, 1 << 20),
        Call(torch.zeros, 1 << 40),
    ],
    ids=lambda call: call.called[0].__name__,
)
def test_no_function_is_ever_called(tmp_path: Path, call: Call):
    torch.save({"model": WEIGHTS, "x": call}, tmp_path / "x.pt")
    try:
        same(_reading.read(tmp_path / "x.pt").tensors)
    except CheckpointError as error:
        assert "refused: it would run" in str(error)


def test_a_plain_pickle_is_refused_without_running(tmp_path: Path):
    trace = tmp_path / "ran"
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"w": Touch(trace)}, protocol=4))
    with pytest.raises(CheckpointError):
        _reading.read(tmp_path / "x.pkl")
    assert not trace.exists()


def test_a_tensor_larger_than_its_numbers_is_refused(tmp_path: Path):
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="larger than its numbers"):
        _reading.read(tmp_path / "x.pt")
    held = {"w": torch.zeros(1).expand(1 << 40), "args": argparse.Namespace()}
    torch.save(held, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="larger than its numbers"):
        _reading.read(tmp_path / "x.pt")


def test_a_memo_beyond_all_reason_takes_no_memory(tmp_path: Path):
    hostile = b"\x80\x02}r" + struct.pack("<I", 0x7FFFFFFF) + b"."
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", hostile)
    with pytest.raises(CheckpointError, match="beyond all reason"):
        _archives.read(tmp_path / "x.pt")


@pytest.mark.parametrize("data", [b"", b"GGUF" + bytes(40), b"\x89HDF\r\n\x1a\n" + bytes(40)])
def test_other_formats_say_so(tmp_path: Path, data: bytes):
    (tmp_path / "x.bin").write_bytes(data)
    with pytest.raises(CheckpointError, match="neither safetensors nor"):
        _reading.read(tmp_path / "x.bin")


def test_an_unknown_checkpoint_names_its_keys_and_the_families(tmp_path: Path):
    torch.save(WEIGHTS, tmp_path / "strange.pt")
    with pytest.raises(CheckpointError, match=r"2 tensors, of a\.bias, a\.weight") as told:
        foreign.open(tmp_path / "strange.pt")
    assert "VQGAN" in (told.value.hint or "")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("quantize.embedding.weight", (5,)), ("encoder.conv_in.weight", (40, 3, 3, 3))],
)
def test_a_known_network_in_impossible_sizes_is_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...]
):
    torch.save(test_var.made() | {name: torch.zeros(shape)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="VAR: its sizes do not fit together"):
        foreign.recognise(tmp_path / "x.pt")


def test_several_checkpoints_in_a_directory_are_named(tmp_path: Path):
    for name in ("a.pt", "b.pt"):
        torch.save(WEIGHTS, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"a\.pt, b\.pt") as told:
        _reading.read(tmp_path)
    assert told.value.hint == "name one file"


def whole(legacy: bool) -> bytes:
    stream = io.BytesIO()
    held = {"state_dict": WEIGHTS, "args": argparse.Namespace(rate=3)}
    torch.save(held, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


@pytest.mark.parametrize("legacy", [False, True])
@examples(20, many=60, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_gives_numbers_or_a_checkpoint_error(
    tmp_path: Path, legacy: bool, place: float, byte: int, cut: bool
):
    data = bytearray(whole(legacy))
    at = int(place * len(data))
    data[at] = byte
    (tmp_path / "x.pt").write_bytes(data[:at] if cut else data)
    try:
        found = _reading.read(tmp_path / "x.pt").tensors
    except CheckpointError:
        return
    assert sum(each.numel() for each in found.values()) < 100


def test_a_file_of_few_bytes_that_nests_itself_without_end_is_refused_soon(tmp_path: Path):
    laughs: Any = argparse.Namespace(weight=torch.ones(2))
    for _ in range(40):
        laughs = [laughs] * 100
    torch.save({"state_dict": laughs}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="nested beyond all reason"):
        _reading.read(tmp_path / "x.pt")
    mappings: Any = {"weight": torch.ones(2)}
    for _ in range(9):
        mappings = dict.fromkeys("abcdefghij", mappings)
    torch.save(mappings, tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match="nested beyond all reason"):
        foreign.open(tmp_path / "y.pt")
