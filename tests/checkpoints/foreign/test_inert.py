"""What lies beside the weights is inert: read past, whatever it is, without running any of it."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import operator
import pathlib
import pickle
import random
import re
import sys
import types
import uuid
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from tests.checkpoints.foreign.test_rosinality import made
from vqtok.checkpoints import foreign
from vqtok.checkpoints.foreign import _reading

STATE = made()


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntFlag):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: float


class Options:
    """What training programs keep: any class, with nested ones, slots and mappings."""

    class Inner:
        __slots__ = ("value",)

    class Kind(str, enum.Enum):
        A = "a"

    def __init__(self) -> None:
        self.inner = Options.Inner()
        self.inner.value = self
        self.kind = Options.Kind.A
        self.callback = self.method

    def method(self) -> None:
        """Kept by callbacks."""


class AttributeDict(dict[str, Any]):
    """As Lightning, box and easydict keep options."""

    __getattr__ = dict.__getitem__


class Rows(list[Any]):
    """A list of somebody's."""


def schedule(step: int) -> float:
    return 1.0 / (1 + step)


def records() -> Any:
    return np.array([(1, 2.5)], dtype=[("a", "u1"), ("b", "f8")])


BESIDE: dict[str, Any] = {
    "numpy scalar": np.float64(0.1),
    "numpy integer": np.int64(3),
    "numpy boolean": np.bool_(True),
    "numpy array": np.arange(6.0).reshape(2, 3),
    "numpy array of text": np.array(["a", "bc"]),
    "numpy array of objects": np.array([{}, None], dtype=object),
    "numpy records": records(),
    "numpy dtype": np.dtype("float32"),
    "numpy date": np.datetime64("2026-01-01"),
    "numpy state": np.random.RandomState(0).get_state(),
    "numpy RandomState": np.random.RandomState(0),
    "numpy Generator": np.random.default_rng(0),
    "numpy masked": np.ma.masked_array([1, 2], [0, 1]),
    "python state": random.getstate(),
    "python Random": random.Random(0),
    "torch state": torch.get_rng_state(),
    "torch dtype, device, size": (torch.float16, torch.device("cuda:1"), torch.Size((1, 2))),
    "date": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
    "dates": (datetime.date(2026, 1, 2), datetime.timedelta(1), datetime.time(3)),
    "decimal, fraction, uuid": (decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=5)),
    "complex, range, slice, ellipsis": (1j, range(3), slice(1), ...),
    "bytes, bytearray, sets": (b"a", bytearray(b"b"), {1, (2, 3)}, frozenset((1, "a"))),
    "large integers": (1 << 127, -(1 << 90), 1 << 3000),
    "not numbers": (float("nan"), float("inf")),
    "paths": (pathlib.PurePosixPath("a"), Path("b"), pathlib.PureWindowsPath("c")),
    "enums": (Colour.RED, Level.LOW, {Colour.RED: 1}),
    "namespace": argparse.Namespace(rate=3, kind=Colour.RED),
    "simple namespace": types.SimpleNamespace(a=1),
    "partial": functools.partial(schedule, step=3),
    "functions and classes": (schedule, Options, np.mean, nn.Linear, operator.itemgetter(1)),
    "callables kept as such": (Options().method, "a".upper, len),
    "named tuple": Point(1, 2.0),
    "mappings": (collections.OrderedDict(a=1), collections.defaultdict(list, {1: [2]}),
                 collections.Counter("aab"), AttributeDict(a=1), collections.deque([1], 3)),
    "lists": Rows([1, 2]),
    "odd keys": {None: 1, 2.5: 2, b"k": 3, (1, 2): 4, ("a", 0.5): 5, Options: 6, True: 7},
    "options that hold themselves": Options(),
    "exception": ValueError("x"),
    "pattern": re.compile("a+"),
    "module": nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)),
    "optimizer": torch.optim.AdamW([nn.Parameter(torch.zeros(2))]).state_dict(),
    "scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(
        torch.optim.SGD([nn.Parameter(torch.zeros(2))], 0.1), 3
    ),
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("what", BESIDE)
def test_what_lies_beside_the_weights_is_read_past(
    tmp_path: Path, what: str, protocol: int, monkeypatch: pytest.MonkeyPatch
):
    held = {"first": BESIDE[what], "state_dict": STATE, "last": [BESIDE[what]]}
    path = tmp_path / "x.pt"
    torch.save(held, path, pickle_protocol=protocol)
    monkeypatch.setattr(pickle, "Unpickler", None)  # nobody else reads it
    monkeypatch.setattr(torch, "load", None)
    assert len(foreign.recognise(path).weights()) == len(STATE) - 4


def test_all_of_it_at_once_in_either_format(tmp_path: Path):
    for legacy in (False, True):
        path = tmp_path / "x.pt"
        torch.save({**BESIDE, "model": STATE}, path, _use_new_zipfile_serialization=not legacy)
        assert len(foreign.recognise(path).weights()) == len(STATE) - 4


def test_no_module_is_imported_for_what_a_file_names(tmp_path: Path):
    path = tmp_path / "x.pt"
    module = types.ModuleType("stranger")
    kind = type("Thing", (), {"__module__": "stranger"})
    module.Thing = kind  # type: ignore[attr-defined]
    sys.modules["stranger"] = module
    try:
        torch.save({"state_dict": STATE, "thing": kind(), "kind": kind}, path)
    finally:
        del sys.modules["stranger"]
    before = set(sys.modules)
    assert len(foreign.recognise(path).weights()) == len(STATE) - 4
    new = set(sys.modules) - before
    assert not {name for name in new if not name.startswith("vqtok")}


def test_settings_beside_the_weights_are_kept_as_plain_data(tmp_path: Path):
    nested = AttributeDict(rates=(2, 4), more=collections.OrderedDict(a=None, b=[]), empty=())
    torch.save({"state_dict": STATE, "metadata": {"kwargs": nested}}, tmp_path / "x.pt")
    expected = {"rates": [2, 4], "more": {"a": None, "b": []}, "empty": []}
    assert _reading.read(tmp_path / "x.pt").extra == {"metadata": {"kwargs": expected}}


DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8,
          torch.bool, torch.complex64, torch.float8_e4m3fn, torch.uint16, torch.uint32]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_are_those_that_were_saved(tmp_path: Path, dtype: torch.dtype, legacy: bool):
    base = torch.randint(0, 2, (4, 6)).to(dtype)
    held = {"whole": base, "view": base[1:, ::2], "turned": base.T, "none": base[:0],
            "one": base[0, 0], "parameter": nn.Parameter(base.clone(), False)}  # fmt: skip
    path = tmp_path / "x.pt"
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    found = _reading.read(path).tensors
    assert set(found) == set(held)
    for name, tensor in held.items():
        assert (found[name].dtype, found[name].shape) == (dtype, tensor.shape)
        ours, theirs = (each.detach().clone(memory_format=torch.contiguous_format)
                        for each in (found[name], tensor))  # fmt: skip
        assert ours.untyped_storage().tolist() == theirs.untyped_storage().tolist()


def test_numbers_of_a_machine_of_the_other_byte_order_are_turned(tmp_path: Path):
    path = tmp_path / "x.pt"
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    torch.save({"a": tensor, "b": tensor.bool()}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            if name.endswith("byteorder"):
                data = b"big"
            elif name.endswith("data/0"):
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            archive.writestr(name, data)
    found = _reading.read(path).tensors
    assert torch.equal(found["a"], tensor)
    assert torch.equal(found["b"], tensor.bool())
