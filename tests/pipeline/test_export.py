"""Graphs of every family of checkpoints give the codes and signals of torch."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from PIL import Image

from tests.checkpoints.foreign.checkpoints import CHECKPOINTS
from tests.tokenizers import published
from vqtok.checkpoints import directory, foreign
from vqtok.errors import CheckpointError, UsageError
from vqtok.pipeline import agreement, export

pytest.importorskip("onnx")

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")

QUICK = {"Open-MAGVIT2", "SNAC"}
"""Families that the default run has, one of pictures and one of sound."""

PADS_INSIDE = {
    "EnCodec 24 kHz",
    "EnCodec 48 kHz",
    "EnCodec `.th`",
    "Mimi",
    "WavTokenizer",
    "WavTokenizer `.ckpt`",
}
"""Fill up an unfinished frame in every layer, which no padding before the graph can do."""

ENCODE_ONLY = {"Chameleon", "Emu3.5 IBQ of Apertus"}

FAMILIES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in CHECKPOINTS
    if name not in ENCODE_ONLY
]


def ours(name: str, folder: Path) -> export.Written:
    info = export.check(str(CHECKPOINTS[name](folder)), folder / "out", force=False)
    assert info.foreign == name
    return export.export(info, folder / "out")


def signal_for(model: Any, name: str, spec: dict[str, Any]) -> np.ndarray:
    """Three random signals of a size that is no multiple of anything, if that is for graphs."""
    random, channels = np.random.default_rng(1), spec["axes"][1]
    if spec["name"] == "pixels":
        sides = (spec["multiple"],) * 2 if spec["fill"] == "resize" else (45, 39)
        return random.uniform(-1, 1, (3, channels, *sides)).astype(np.float32)
    count = 23 if "chunk" in spec else 51
    length = count * spec["multiple"] - (0 if name in PADS_INSIDE else 3)
    return (random.standard_normal((3, channels, length)) * 0.2).clip(-1, 1).astype(np.float32)


def brought(x: np.ndarray, spec: dict[str, Any]) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Bring signals to a size that graphs take, as ``spec.json`` says; where they lie in it."""
    if spec["fill"] == "resize":
        return x, (slice(None),) * 4
    pads, places = [(0, 0), (0, 0)], [slice(None), slice(None)]
    for size in x.shape[2:]:
        missing = -size % spec["multiple"]
        before = missing // 2 if spec["fill"] == "black" else 0
        pads.append((before, missing - before))
        places.append(slice(before, before + size))
    if spec["fill"] == "edge":
        return np.pad(x, pads, mode="edge"), tuple(places)
    value = -1.0 if spec["fill"] == "black" else 0.0
    return np.pad(x, pads, constant_values=value), tuple(places)


def test_every_family_has_a_checkpoint_to_export():
    assert set(CHECKPOINTS) == {family.name for family in foreign.families()}


@pytest.mark.parametrize("name", sorted(ENCODE_ONLY))
def test_what_has_no_decoder_is_not_exported(name: str, tmp_path: Path):
    with pytest.raises(UsageError, match="encodes only: this model has no decoder"):
        ours(name, tmp_path)


@pytest.mark.parametrize("name", FAMILIES)
def test_graphs_give_the_codes_and_signals_of_torch(name: str, tmp_path: Path):
    written = ours(name, tmp_path)
    assert written.agreement.codes > 0
    spec = json.loads((tmp_path / "out" / "spec.json").read_text())
    signal, levels = spec["signal"], [each["name"] for each in spec["levels"]]
    model: Any = foreign.open(next(path for path in tmp_path.iterdir() if path.name != "out"))
    assert (spec["fingerprint"], levels) == (
        model.spec.fingerprint,
        [each.name for each in model.spec.levels],
    )
    x = signal_for(model, name, signal)
    codes = model.encode(x)
    whole, place = brought(x, signal)
    encoder = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
    assert [each.shape for each in encoder.get_inputs()] == [signal["axes"]]
    assert [each.name for each in encoder.get_outputs()] == levels
    found = encoder.run(None, {signal["name"]: whole})
    for mine, theirs in zip(codes.levels, found, strict=True):
        # Graphs also give codes that lie wholly in the padding; models fill up a last chunk.
        inside = tuple(slice(min(a, b)) for a, b in zip(mine.shape, theirs.shape, strict=True))
        one, other = mine.numpy()[inside], theirs[inside]
        if name == "EnCodec 48 kHz" and one.shape[-1] == 4:
            # The bytes of a loudness, which two sums may round in two ways.
            one, other = (each.astype(np.uint8).view(np.float32) for each in (one, other))
            np.testing.assert_allclose(one, other, rtol=1e-6)
        else:
            np.testing.assert_array_equal(one, other)
    given = dict(zip(levels, found, strict=True))
    decoder = onnxruntime.InferenceSession(tmp_path / "out" / "decoder.onnx")
    assert [each.name for each in decoder.get_inputs()] == levels
    options = [each.name for each in decoder.get_overridable_initializers()]
    assert options == [each["name"] for each in signal.get("noise", ())]
    if options:
        quiet = decoder.run(None, given)[0]
        drawn = model.halves().noise(codes.levels)
        given |= {name: each.numpy() for name, each in zip(options, drawn, strict=True)}
        assert not np.allclose(quiet, decoder.run(None, given)[0], atol=1e-3)
    (back,) = decoder.run(None, given)
    heard = model.decode(codes).numpy()
    np.testing.assert_allclose(back[place], heard, atol=1e-4 * float(np.abs(heard).max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["VQGAN", "Cosmos DI", "TiTok", "DAC", "SNAC", "EnCodec 48 kHz", "EnCodec 24 kHz"]
)
def test_the_program_in_the_readme_runs(name: str, tmp_path: Path):
    ours(name, tmp_path)
    out = tmp_path / "out"
    signal = json.loads((out / "spec.json").read_text())["signal"]
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (21, 37, 3), dtype=np.uint8)).save(out / "photo.png")
    channels, rate = signal["axes"][1], signal.get("rate_hz", 8000)
    sound = random.standard_normal((1234, channels)) * 0.1
    soundfile.write(out / "speech.wav", sound, rate)
    (program,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), flags=re.S)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=out, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if signal["name"] == "pixels":
        with Image.open(out / "back.png") as back:
            assert (back.size, back.mode) == ((37, 21), "RGB")
        return
    back, _ = soundfile.read(out / "back.wav", always_2d=True)
    assert back.shape == sound.shape
    model: Any = foreign.open(next(path for path in tmp_path.iterdir() if path.name != "out"))
    if name == "DAC":  # the program does what vqtok does
        read, _ = soundfile.read(out / "speech.wav", dtype="float32")
        expected = model.decode(model.encode(read[None, None])).numpy()[0, 0].clip(-1, 1)
        np.testing.assert_allclose(back[:, 0], expected, atol=2e-4)


def test_graphs_that_do_not_agree_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = CHECKPOINTS["Open-MAGVIT2"](tmp_path)
    info = export.check(str(path), tmp_path / "out", force=False)
    monkeypatch.setattr(agreement, "WITHIN", 0.0)
    with pytest.raises(CheckpointError, match="not exported: pixels differ from torch's by") as how:
        export.export(info, tmp_path / "out")
    assert how.value.subject == info.name
    monkeypatch.undo()
    model: Any = directory.load(export.check(str(path), tmp_path / "out", force=False))
    made = export._made(info, model)
    model.encoder.conv_out.weight.neg_()
    with pytest.raises(CheckpointError, match=r"\d+ of \d+ codes differ from torch's"):
        agreement.compare(made, model)
    assert not (tmp_path / "out").exists()


def test_without_onnx_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    info = export.check(str(CHECKPOINTS["Open-MAGVIT2"](tmp_path)), tmp_path / "out", force=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as error:
        export.export(info, tmp_path / "out")
    assert (error.value.subject, error.value.hint) == ("onnx", "pip install 'vqtok[onnx]'")


def diffusers_f4(folder: Path) -> Path:
    """Stride 4, 8192 entries and 55 million weights, as LDM vq-f4 has them."""
    tests: Any = importlib.import_module("tests.checkpoints.foreign.test_diffusers")
    model = tests.made(
        block_out_channels=(128, 256, 512),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        latent_channels=3,
        num_vq_embeddings=8192,
        vq_embed_dim=3,
    )
    model.save_pretrained(folder / "model")
    return folder / "model"


def encodec(folder: Path) -> Path:
    """What the class of transformers builds by itself: EnCodec at 24 kHz."""
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig()).eval()
    published.lively(model)
    model.save_pretrained(folder / "model")
    return folder / "model"


REAL = {
    "diffusers VQModel": (diffusers_f4, (1, 3, 96, 128)),
    "EnCodec 24 kHz": (encodec, (1, 1, 24000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_graphs_agree_at_the_sizes_of_published_models(name: str, tmp_path: Path):
    make, shape = REAL[name]
    source = make(tmp_path)
    info = export.check(str(source), tmp_path / "out", force=False)
    assert info.foreign == name
    written = export.export(info, tmp_path / "out")
    assert written.agreement.differing <= 1e-3 * written.agreement.codes
    model: Any = foreign.open(source)
    signal = json.loads((tmp_path / "out" / "spec.json").read_text())["signal"]["name"]
    x = np.random.default_rng(3).uniform(-0.5, 0.5, shape).astype(np.float32)
    codes = model.encode(torch.from_numpy(x))
    encoder, decoder = (
        onnxruntime.InferenceSession(tmp_path / "out" / f"{part}.onnx")
        for part in ("encoder", "decoder")
    )
    found = encoder.run(None, {signal: x})
    pairs = list(zip(codes.levels, found, strict=True))
    assert len(np.unique(found[0])) > 10
    differing = sum(int((mine.numpy() != theirs).sum()) for mine, theirs in pairs)
    assert differing <= 1e-3 * sum(theirs.size for theirs in found)
    given = replace(codes, levels=tuple(torch.from_numpy(each) for each in found))
    heard = model.decode(given).numpy()
    names = [each.name for each in decoder.get_inputs()]
    (back,) = decoder.run(None, dict(zip(names, found, strict=True)))
    np.testing.assert_allclose(back, heard, atol=1e-4 * float(np.abs(heard).max()))
