"""The program in JavaScript of an exported model's README, as Node runs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.backends.test_onnx_backend import IMAGES
from tests.conftest import TINY_AUDIO
from vqtok.checkpoints import directory
from vqtok.config import parse
from vqtok.pipeline import export
from vqtok.protocols import Config

pytestmark = [pytest.mark.slow, pytest.mark.outside]

FORMS = {
    "picture": IMAGES["convnext"],
    "levels": IMAGES["two levels"],
    "sound": lambda: parse(TINY_AUDIO, Config).build().eval(),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``node_modules`` with onnxruntime-node; its script, not run, would fetch CUDA."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no npm on the path")
    folder = tmp_path_factory.mktemp("npm")
    done = subprocess.run(
        ["npm", "install", "--ignore-scripts", "--prefix", str(folder), "onnxruntime-node"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"npm brings no onnxruntime-node: {done.stderr.strip()[-200:]}")
    return folder / "node_modules"


def node(program: str, folder: Path) -> str:
    (folder / "program.mjs").write_text(program)
    done = subprocess.run(
        ["node", "program.mjs"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_signal(program: str, name: str) -> str:
    """Let the program read its signal from a file, and write what it makes of it."""
    begun, made = "// from -1 to 1", f"console.log(back.{name}.dims);"
    assert program.count(begun) == program.count(made) == 1
    read = 'new Float32Array(fs.readFileSync("signal").buffer.slice(0))'
    program = program.replace(begun, f"\nvalues.set({read});")
    keep = (
        "for (const [name, each] of Object.entries({ ...codes, ...back }))\n"
        "  fs.writeFileSync(`${name}.bytes`, new Uint8Array(each.data.buffer,"
        " each.data.byteOffset, each.data.byteLength));"
    )
    return f'import fs from "node:fs";\n{program}\n{keep}\n'


def check(model: str, out: Path, packages: Path) -> None:
    """Export a model; Node makes what Python makes of its graphs, and the model's codes."""
    export.export(export.check(model, out, force=False), out)
    (out / "node_modules").symlink_to(packages)
    (program,) = re.findall(r"```js\n(.*?)```", (out / "README.md").read_text(), flags=re.S)
    spec: Any = json.loads((out / "spec.json").read_text())
    signal, levels = spec["signal"]["name"], [each["name"] for each in spec["levels"]]
    shape = json.loads(re.findall(r"shape = (\[.*?\]);", program)[0])
    printed = node(program, out)
    assert re.findall(r"^(\w+) \[", printed, flags=re.M) == levels
    assert re.findall(r"\d+", printed.splitlines()[-1]) == [str(size) for size in shape]

    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    x = (x * 0.3 + np.linspace(-0.5, 0.5, shape[-1])).astype(np.float32)
    x.tofile(out / "signal")
    node(with_signal(program, signal), out)
    sessions = [
        onnxruntime.InferenceSession(out / f"{each}.onnx") for each in ("encoder", "decoder")
    ]
    codes = sessions[0].run(None, {signal: x})
    (back,) = sessions[1].run(None, dict(zip(levels, codes, strict=True)))
    loaded = directory.load(directory.describe(model))
    import torch

    exact = loaded.encode(torch.from_numpy(x))
    for name, expected, mine in zip(levels, codes, exact.levels, strict=True):
        found = np.fromfile(out / f"{name}.bytes", np.int64).reshape(expected.shape)
        np.testing.assert_array_equal(found, expected)
        assert (found != mine.numpy()).mean() < 1e-3  # a graph decides near ties in float32
    found = np.fromfile(out / f"{signal}.bytes", np.float32).reshape(back.shape)
    np.testing.assert_allclose(found, back, atol=1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_it_gives_the_codes_and_signals_of_python(name: str, tmp_path: Path, packages: Path):
    model = FORMS[name]()
    for part in model.modules():
        if hasattr(part, "initialised"):
            part.initialised.fill_(True)
    directory.save(tmp_path / "model", model)
    check(str(tmp_path / "model"), tmp_path / "out", packages)


@pytest.mark.parametrize("name", ["image-f8", "audio-24k"])
def test_so_do_shipped_models(name: str, tmp_path: Path, packages: Path):
    check(name, tmp_path / "out", packages)
