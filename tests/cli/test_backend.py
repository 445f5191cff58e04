"""--backend: which one ran, and one line for everything that can be wrong with graphs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Run
from vqtok.codes import files
from vqtok.graphs import store
from vqtok.graphs.graph import Graph


@pytest.fixture
def model(here: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model directory of one's own, to be damaged."""
    shutil.copytree(shelf / "image-f8", here / "own")
    shutil.copytree(shelf / "audio-24k", here / "other")
    return here / "own"


def codes_of(path: Path) -> np.ndarray:
    found: np.ndarray = files.read(path)[0].levels[0]
    return found


def test_each_backend_says_that_it_ran_and_codes_are_the_same(vqtok: Run, picture: Any):
    photo = picture(width=100, height=70)
    for backend, ran in (("torch", "torch"), ("onnx", "onnx"), ("auto", "onnx")):
        done = vqtok("encode", photo, "-o", f"{backend}.npy", "--backend", backend, "-v")
        assert done.exit_code == 0, done.stderr
        assert f"device cpu, backend {ran}" in done.stderr
        decoded = vqtok("decode", f"{backend}.npy", "-o", f"{backend}.png", "--backend", backend)
        assert decoded.exit_code == 0, decoded.stderr
    first = codes_of(Path("torch.npy"))
    for backend in ("onnx", "auto"):
        np.testing.assert_array_equal(codes_of(Path(f"{backend}.npy")), first)


def test_evaluation_takes_either(vqtok: Run, picture: Any):
    photo = picture(width=40, height=40)
    found = []
    for backend in ("torch", "onnx"):
        done = vqtok("eval", photo, "--backend", backend, "--metrics", "psnr", "--json")
        assert done.exit_code == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[0])["psnr_db"])
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_unknown_backends_and_devices_are_refused(vqtok: Run, picture: Any):
    photo = picture()
    done = vqtok("encode", photo, "-o", "c.npy", "--backend", "jax")
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: --backend jax: unknown\nHint: one of auto, torch, onnx\n",
    )
    done = vqtok("encode", photo, "-o", "c.npy", "--backend", "onnx", "--device", "cuda")
    assert done.exit_code == 2
    assert "computes on CPUs, not on cuda" in done.stderr


def without_facts(model: Path) -> None:
    (model / store.FACTS).unlink()


def without_encoder(model: Path) -> None:
    (model / store.ENCODER).unlink()


def cut_encoder(model: Path) -> None:
    data = (model / store.ENCODER).read_bytes()
    (model / store.ENCODER).write_bytes(data[: len(data) // 2])


def changed_encoder(model: Path) -> None:
    path = model / store.ENCODER
    path.write_bytes(path.read_bytes().replace(b"epsilon", b"epsilom", 1))


def another_models(model: Path) -> None:
    for name in store.FILES:
        shutil.copy(model.parent / "other" / name, model / name)


def another_models_encoder(model: Path) -> None:
    shutil.copy(model.parent / "other" / store.ENCODER, model / store.ENCODER)


def changed_facts(model: Path) -> None:
    path = model / store.FACTS
    path.write_text(path.read_text().replace('"halo": ', '"halo": 1'))


def not_json(model: Path) -> None:
    (model / store.FACTS).write_text("{")


def foreign_operator(model: Path) -> None:
    path = model / store.ENCODER
    path.write_bytes(path.read_bytes().replace(b"\x04Gelu", b"\x04Loop"))


def weights_elsewhere(model: Path) -> None:
    path = model / store.ENCODER
    path.write_bytes(path.read_bytes().replace(b"model.safetensors", b"../../etc/passwdX"))


def huge(model: Path) -> None:
    with (model / store.ENCODER).open("r+b") as stream:
        stream.truncate(store.LARGEST + 1)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_facts, "a model without graphs"),
        (without_encoder, "encoder.onnx: no such file"),
        (cut_encoder, "encoder.onnx: "),
        (changed_encoder, "encoder.onnx: damaged, or another model's"),
        (another_models, "graphs of other weights"),
        (another_models_encoder, "encoder.onnx: damaged, or another model's"),
        (changed_facts, "graphs.json: damaged"),
        (not_json, "graphs.json: damaged"),
        (foreign_operator, "encoder.onnx: a foreign graph: operator 'Loop'"),
        (weights_elsewhere, "a foreign graph: weights in '../../etc/passwdX'"),
        (huge, "encoder.onnx: "),
    ],
)
def test_graphs_that_cannot_be_used_are_one_line(
    damage: Callable[[Path], None], reason: str, model: Path, vqtok: Run, picture: Any
):
    photo = picture()
    assert vqtok("encode", photo, "-o", "a.npy", "-m", model, "--backend", "onnx").exit_code == 0
    damage(model)
    done = vqtok("encode", photo, "-o", "b.npy", "-m", model, "--backend", "onnx")
    assert done.exit_code == 1
    error, hint = done.stderr.strip().splitlines()
    assert error.startswith("Error: ")
    assert reason in error
    assert hint.startswith("Hint: vqtok convert ")
    assert not Path("b.npy").exists()
    torch = vqtok("encode", photo, "-o", "c.npy", "-m", model, "--backend", "torch")
    assert torch.exit_code == 0, torch.stderr
    np.testing.assert_array_equal(codes_of(Path("a.npy")), codes_of(Path("c.npy")))
    repaired = vqtok("convert", model)
    assert repaired.exit_code == 0, repaired.stderr
    again = vqtok("encode", photo, "-o", "b.npy", "-m", model, "--backend", "onnx")
    assert again.exit_code == 0, again.stderr


def test_auto_takes_torch_where_there_are_no_graphs(model: Path, vqtok: Run, picture: Any):
    without_facts(model)
    done = vqtok("encode", picture(), "-o", "a.npy", "-m", model, "-v")
    assert done.exit_code == 0
    assert "backend torch" in done.stderr


def test_auto_takes_torch_where_graphs_are_of_other_weights(model: Path, vqtok: Run, picture: Any):
    another_models(model)
    done = vqtok("encode", picture(), "-o", "a.npy", "-m", model, "-v")
    assert done.exit_code == 0
    assert "backend torch" in done.stderr


def test_weights_that_are_not_finite_are_refused(model: Path, vqtok: Run, picture: Any):
    encoder = Graph.from_bytes((model / store.ENCODER).read_bytes())
    with (model / "model.safetensors").open("r+b") as stream:
        stream.seek(encoder.weights[0].begin)
        stream.write(np.float32(np.inf).tobytes())
    facts = json.loads((model / store.FACTS).read_text())
    from vqtok.checkpoints.directory import fingerprint

    facts.pop("digest")
    facts["fingerprint"] = fingerprint(model)
    facts["digest"] = store._digest(facts)
    (model / store.FACTS).write_text(json.dumps(facts))
    done = vqtok("encode", picture(), "-o", "a.npy", "-m", model, "--backend", "onnx")
    assert done.exit_code == 1
    assert "NaN or infinite values" in done.stderr


@pytest.mark.parametrize("version", ["1.9.0", None])
def test_an_onnxruntime_that_is_old_or_missing_is_one_line(
    version: str | None, vqtok: Run, picture: Any, monkeypatch: pytest.MonkeyPatch
):
    old = None
    if version is not None:
        old = ModuleType("onnxruntime")
        old.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime", old)
    done = vqtok("encode", picture(), "-o", "a.npy", "--backend", "onnx")
    assert done.exit_code == 2
    said = "too old" if version else "not installed"
    assert f"Error: onnxruntime: {version + ' is ' if version else ''}{said}, 1.22" in done.stderr
    assert "pip install --upgrade onnxruntime" in done.stderr
    auto = vqtok("encode", picture(), "-o", "a.npy", "-v")
    assert auto.exit_code == 0, auto.stderr
    assert "backend torch" in auto.stderr


def test_convert_says_what_it_cannot_do_without_an_output(vqtok: Run, model: Path):
    assert vqtok("convert", model, "--half").exit_code == 2
    done = vqtok("convert", model)
    assert (done.exit_code, done.stdout) == (0, f"{model}\n")
