"""vqtok export: graphs that other programs run, with the codes and signals of the model."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from PIL import Image

from tests.backends.test_onnx_backend import IMAGES, LABELS, SOUNDS, changed
from tests.cli.conftest import Run
from tests.tokenizers import test_codec, test_vqvae
from vqtok.checkpoints import directory

QUANTIZERS: list[dict[str, Any]] = [
    {"type": "quantizers/vq", "codebook_size": 50, "cosine": True, "codebook_dim": 3},
    {"type": "quantizers/fsq", "levels": [5, 4, 3]},
    {"type": "quantizers/lfq", "bits": 5},
    {"type": "quantizers/bsq", "bits": 4},
    {"type": "quantizers/gumbel", "codebook_size": 50},
    {"type": "quantizers/grouped", "quantizer": {"type": "quantizers/gumbel", "codebook_size": 9}},
    {"type": "quantizers/grouped", "quantizer": {"type": "quantizers/fsq", "levels": [4, 3]}},
    {
        "type": "quantizers/grouped",
        "quantizer": {"type": "quantizers/rvq", "codebook_size": 20, "depth": 3},
    },
]


def changed_in(build: Callable[..., Any], *form: str, quantizer: dict[str, Any]) -> Any:
    """A model with another quantizer."""
    return changed(build(*form), quantizer=quantizer)


def saved(model: Any, here: Path) -> Any:
    for part in model.modules():
        if hasattr(part, "initialised"):
            part.initialised.fill_(True)
    directory.save(here / "model", model)
    return directory.load(here / "model")


@pytest.mark.parametrize(
    "form",
    [
        *IMAGES.values(),
        *SOUNDS.values(),
        lambda: changed(test_vqvae.build("convnext"), labels=LABELS),
        *(
            partial(changed_in, test_vqvae.build, "convnext", quantizer=quantizer)
            for quantizer in QUANTIZERS
        ),
        *(
            partial(changed_in, test_codec.build, quantizer=quantizer)
            for quantizer in (QUANTIZERS[2], QUANTIZERS[-1])
        ),
    ],
)
def test_codes_and_signals_are_those_of_the_model(form: Callable[[], Any], here: Path, vqtok: Run):
    made = form()
    label = LABELS[2] if made.labels.names else None
    if label is not None:
        with torch.no_grad():
            made.labels.vectors.normal_(std=0.1)
    model = saved(made, here)
    done = vqtok("export", "./model", "-o", "out")
    assert done.exit_code == 0, done.stderr
    assert "compared with torch: 0 of" in done.stderr
    assert done.stdout.split() == [
        f"out/{name}" for name in ("encoder.onnx", "decoder.onnx", "spec.json", "README.md")
    ]
    onnx = pytest.importorskip("onnx")
    for name in ("encoder.onnx", "decoder.onnx"):
        onnx.checker.check_model(f"out/{name}", full_check=True)
    if model.spec.modality == "image":
        x = test_vqvae.picture(32, 48, batch=2)
    else:
        x = torch.cat([test_codec.sound(400), test_codec.sound(400) * 0.5])
    spec = json.loads(Path("out/spec.json").read_text())
    assert spec["fingerprint"] == model.spec.fingerprint
    codes = model.encode(x)
    found = onnxruntime.InferenceSession("out/encoder.onnx").run(
        None, {spec["signal"]["name"]: x.numpy()}
    )
    for level, array in zip(codes.levels, found, strict=True):
        np.testing.assert_array_equal(array, level.numpy())
    given = dict(zip([each["name"] for each in spec["levels"]], found, strict=True))
    if label is not None:
        assert spec["labels"] == LABELS
        given["label"] = np.array([2])
    (back,) = onnxruntime.InferenceSession("out/decoder.onnx").run(None, given)
    np.testing.assert_allclose(back, model.decode(codes, label=label).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["image-f8", "audio-24k"])
def test_the_program_in_the_readme_runs(name: str, here: Path, vqtok: Run):
    assert vqtok("export", name, "-o", "out").exit_code == 0
    (program,) = re.findall(r"```python\n(.*?)```", Path("out/README.md").read_text(), flags=re.S)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (21, 37, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("out/photo.png")
    soundfile.write("out/speech.wav", random.standard_normal(1234) * 0.1, 8000)
    subprocess.run([sys.executable, "-c", program], cwd=here / "out", check=True)
    if name == "image-f8":
        with Image.open("out/back.png") as back:
            assert back.size == (37, 21)
    else:
        assert len(soundfile.read("out/back.wav")[0]) == 1234


def test_a_page_holds_its_script_and_may_load_from_its_own_folder_alone(here: Path, vqtok: Run):
    done = vqtok("export", "image-f8", "-o", "out", "--page")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.split()[-1] == "out/index.html"
    page = Path("out/index.html").read_text(encoding="utf-8")
    assert not re.search(r"<[^>]*\s(on\w+|style)=", page.partition("<script")[0])
    assert not re.search(r"https?:|//[\w.]+/", re.sub(r"http://localhost\S*", "", page))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    allowed = dict(rule.split(" ", 1) for rule in html.unescape(policy).split("; "))
    assert allowed["default-src"] == "'none'"
    assert allowed["connect-src"] == "'self'"
    for name, rule in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{name}[^>]*>(.*?)</{name}>", page, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in allowed[rule]
    spec = json.loads(Path("out/spec.json").read_text())
    assert (spec["signal"]["multiple"], spec["signal"]["fill"]) == (8, "edge")
    assert "npm install" in Path("out/README.md").read_text()
    assert vqtok("export", "image-f8", "-o", "plain").exit_code == 0
    assert not Path("plain/index.html").exists()


def test_what_cannot_be_exported_is_refused_with_the_reason(here: Path, vqtok: Run):
    continuous = {"type": "quantizers/gaussian"}
    saved(changed(test_vqvae.build("convnext"), quantizer=continuous), here)
    done = vqtok("export", "./model", "-o", "out")
    assert done.exit_code == 2
    assert "Error: model: an autoencoder without codes" in done.stderr
    assert not Path("out").exists()


def test_what_is_there_is_kept(here: Path, vqtok: Run):
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    done = vqtok("export", "image-f8", "-o", "full")
    assert done.exit_code == 2
    assert "not empty" in done.stderr
    assert vqtok("export", "image-f8", "-o", "out").exit_code == 0
    done = vqtok("export", "image-f8", "-o", "out")
    assert (done.exit_code, "-f overwrites" in done.stderr) == (2, True)
    done = vqtok("export", "image-f8", "-o", "out", "-f", "--json")
    assert done.exit_code == 0
    agreement = json.loads(done.stdout)["agreement"]
    assert agreement["codes"] > agreement["differing"] == 0
    assert agreement["error"] < 1e-4
