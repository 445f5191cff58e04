"""TorchScript archives: numbers are read of them, and the code in them is not even looked at."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqtok.checkpoints import foreign
from vqtok.checkpoints.foreign import _reading
from vqtok.errors import CheckpointError


class Scaled(nn.Module):
    """A module with every kind of attribute that an archive keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3))
        self.register_buffer("table", torch.arange(4, dtype=torch.int32), persistent=False)
        self.sizes = [1, 2]
        self.name = "scaled"
        self.dtype = torch.bfloat16

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype).float() * self.weight[:, None, None] + self.table[self.sizes[1]]


def module() -> nn.Module:
    conv = nn.Conv2d(3, 3, 1)
    return nn.Sequential(conv, nn.ModuleList([Scaled(), nn.Identity()])[0], conv).eval()


def saved(path: Path, *, traced: bool) -> nn.Module:
    made = module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the format
        x = torch.zeros(1, 3, 4, 4)
        archive: Any = torch.jit.trace(made, x) if traced else torch.jit.script(made)
        torch.jit.save(archive, path)
    return made


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """The archive with other contents."""
    with zipfile.ZipFile(path) as archive:
        parts = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, change(name, data))


@pytest.mark.parametrize("traced", [False, True])
def test_every_tensor_is_read_under_its_name(tmp_path: Path, traced: bool):
    made = saved(tmp_path / "x.jit", traced=traced)
    found = _reading.read(tmp_path / "x.jit").tensors
    expected = made.state_dict() | {"1.table": torch.arange(4, dtype=torch.int32)}
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], each) for name, each in expected.items())
    assert all(found[name].dtype == each.dtype for name, each in expected.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_numbers_keep_their_format(tmp_path: Path, dtype: torch.dtype):
    made = nn.Conv2d(3, 4, 1).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(made), tmp_path / "x.jit")
    found = _reading.read(tmp_path / "x.jit").tensors
    assert found["weight"].dtype == dtype
    assert torch.equal(found["weight"], made.weight)


@pytest.mark.parametrize("traced", [False, True])
def test_code_in_an_archive_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traced: bool
):
    path = tmp_path / "x.jit"
    made = saved(path, traced=traced)
    rewritten(path, lambda name, data: b"import os; os.abort()" if "code/" in name else data)
    with pytest.raises(RuntimeError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(path)
    for place in (torch, torch.jit):
        # Versions of torch.load before 2.6 hand archives to torch.jit.load whatever they are asked.
        monkeypatch.setattr(place, "load", lambda *args, **named: pytest.fail("loaded"))
    found = _reading.read(path).tensors
    assert torch.equal(found["0.weight"], made.state_dict()["0.weight"])


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


@pytest.mark.parametrize("function", ["system", "eval", "touch"])
def test_a_malicious_archive_is_refused_and_does_not_run(tmp_path: Path, function: str):
    trace = tmp_path / "ran"
    calls = {
        "system": Call(os.system, f"touch {trace}"),
        "eval": Call(eval, f"open({str(trace)!r}, 'w').close()"),
        "touch": Call(Path.touch, trace),
    }
    evil = pickle.dumps({"weight": calls[function]}, protocol=2)
    path = tmp_path / "x.jit"
    saved(path, traced=False)
    rewritten(path, lambda name, data: evil if name.endswith("/data.pkl") else data)
    for read in (_reading.read, foreign.open):
        with pytest.raises(CheckpointError, match="refused: it would run"):
            read(path)
    assert not trace.exists()
    pickle.loads(evil)  # the test can fail: whoever unpickles it is hit
    assert trace.exists()


def test_a_class_of_an_archive_is_not_imported(tmp_path: Path):
    """An archive may name any class of its own, or what looks like one."""
    path = tmp_path / "x.jit"
    saved(path, traced=False)
    named = b"c__torch__.os\nsystem\n"

    def changed(name: str, data: bytes) -> bytes:
        if not name.endswith("/data.pkl"):
            return data
        start = data.index(b"c__torch__")
        end = data.index(b"\n", data.index(b"\n", start) + 1) + 1
        return data[:start] + named + data[end:]

    rewritten(path, changed)
    assert "0.weight" in _reading.read(path).tensors


def test_an_archive_that_is_cut_short_is_damaged(tmp_path: Path):
    path = tmp_path / "x.jit"
    saved(path, traced=False)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        _reading.read(path)
