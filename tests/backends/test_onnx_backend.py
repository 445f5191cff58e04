"""Coders without torch give the codes of torch: any size, tile, stream, level, label, threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tokenizers import test_codec, test_vqvae, test_vqvae2
from vqtok import config
from vqtok.backends import onnx_backend, torch_backend
from vqtok.backends.onnx_backend import audio
from vqtok.checkpoints import directory
from vqtok.codes.container import Codes
from vqtok.graphs import store
from vqtok.protocols import Config, RecomputeStats
from vqtok.tokenizers import codec
from vqtok.tokenizers.exact import tiling2d

Pair = tuple[Any, Any]
Save = Callable[..., Pair]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a model with its graphs; its coders of torch and of onnxruntime."""

    def write(tokenizer: Any, *, half: bool = False, count: int = 1) -> Pair:
        for part in tokenizer.modules():
            if hasattr(part, "initialised"):
                part.initialised.fill_(True)
        directory.save(tmp_path / "model", tokenizer, half=half)
        assert sorted(path.name for path in tmp_path.joinpath("model").iterdir()) == [
            "config.json",
            "decoder.onnx",
            "encoder.onnx",
            "graphs.json",
            "model.safetensors",
        ]
        loaded = directory.load(tmp_path / "model")
        ours = onnx_backend.coder(tmp_path / "model", loaded.spec, name="model", count=count)
        theirs = torch_backend.coder(loaded)
        assert (ours.spec, ours.name, ours.labels) == (theirs.spec, theirs.name, theirs.labels)
        return theirs, ours

    return write


def changed(model: Any, **changes: Any) -> Any:
    """The same kind of model with another config."""
    torch.manual_seed(0)
    return config.parse({**config.dump(model.config), **changes}, Config).build().eval()


LABELS = ["a", "b", "c"]
IMAGES: dict[str, Callable[[], Any]] = {
    "convnext": lambda: test_vqvae.build("convnext"),
    "strided": lambda: test_vqvae.build("strided"),
    "stack": lambda: test_vqvae.build("convnext", "rvq"),
    "levels of a number": lambda: test_vqvae.build("strided", "fsq"),
    "logits": lambda: changed(test_vqvae.build("strided"), output="logits"),
    "logit-laplace": lambda: changed(test_vqvae.build("convnext"), output="logit-laplace"),
    "two levels": lambda: test_vqvae2.build("convnext"),
    "three levels": lambda: test_vqvae2.build("convnext", 3),
    "two strided levels": lambda: test_vqvae2.build("strided", quantizer="rvq"),
    "three strided levels": lambda: test_vqvae2.build("strided", 3, "fsq", condition_blocks=0),
}
SOUNDS: dict[str, Callable[[], Any]] = {
    "stack": test_codec.build,
    "bands": lambda: test_codec.build("vq", mel=test_codec.MEL),
    "speakers": lambda: changed(test_codec.build(), labels=LABELS),
    "speakers in blocks": lambda: changed(test_codec.build("vq"), labels=LABELS, told="blocks"),
}


def same(one: Codes, other: Codes) -> bool:
    assert one.extent == other.extent
    pairs = list(zip(one.levels, other.levels, strict=True))
    assert all(a.dtype == b.dtype and a.shape == b.shape for a, b in pairs)
    return all(np.array_equal(a, b) for a, b in pairs)


def images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    return [test_vqvae.picture(*size, seed=seed)[0].numpy() for seed, size in enumerate(sizes)]


def unlabelled(model: Any) -> str | None:
    return LABELS[1] if model.labels else None


@pytest.mark.parametrize("form", IMAGES)
def test_images_have_the_codes_of_torch(form: str, save: Save):
    theirs, ours = save(IMAGES[form]())
    signals = images((1, 1), (37, 21), (16, 16), (16, 16), (8, 50))
    expected = theirs.encode_many(signals)
    for found, wanted in zip(ours.encode_many(signals), expected, strict=True):
        assert same(found, wanted)
    alone = ours.encode_windows((37, 21), lambda rows, columns: signals[1][:, rows, columns])
    assert same(alone, expected[1])
    np.testing.assert_allclose(ours.decode(expected[1]), theirs.decode(expected[1]), atol=1e-5)
    assert ours.recompute_stats.latents > 0


@pytest.mark.parametrize("form", ["convnext", "strided", "two levels", "three strided levels"])
def test_tiles_have_the_codes_of_torch(form: str, save: Save, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiling2d, "TILE", 16)
    theirs, ours = save(IMAGES[form]())
    signals = images((61, 45), (61, 45))
    expected = theirs.encode_many(signals)
    for found, wanted in zip(ours.encode_many(signals), expected, strict=True):
        assert same(found, wanted)
    np.testing.assert_allclose(ours.decode(expected[0]), theirs.decode(expected[0]), atol=1e-5)


@pytest.mark.parametrize("form", ["convnext", "three levels", "two strided levels"])
def test_near_ties_are_decided_as_torch_decides_them(form: str, save: Save):
    theirs, ours = save(IMAGES[form]())
    for exact in ours._exact:
        exact._tolerance = 0.05  # so that many latents are computed again
    signals = images((45, 40))
    assert same(ours.encode_many(signals)[0], theirs.encode_many(signals)[0])
    assert ours.recompute_stats.recomputed > 5


def test_an_error_that_was_not_foreseen_makes_the_tolerance_grow(save: Save):
    theirs, ours = save(IMAGES["convnext"]())
    network, random = ours._levels._features, np.random.default_rng(0)

    def err(inputs: Any, *, threads: int) -> list[np.ndarray]:
        (z,) = network(inputs, threads=threads)
        noise = random.standard_normal(z.shape)
        noise *= 3e-3 / np.linalg.norm(noise, axis=1, keepdims=True)
        return [(z + noise).astype(np.float32)]

    ours._levels._features = err
    ours._exact[0]._tolerance = 4e-3
    signals = images((45, 40), (45, 40))
    for found, wanted in zip(ours.encode_many(signals), theirs.encode_many(signals), strict=True):
        assert same(found, wanted)


@pytest.mark.parametrize("form", SOUNDS)
def test_recordings_have_the_codes_of_torch(form: str, save: Save, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(codec, "TILE", 20)
    monkeypatch.setattr(audio, "TILE", 20)
    theirs, ours = save(SOUNDS[form]())
    signals = [test_codec.sound(length)[0].numpy() for length in (1, 7, 8, 100, 333, 400)]
    expected = theirs.encode_many(signals)
    for found, wanted in zip(ours.encode_many(signals), expected, strict=True):
        assert same(found, wanted)
    blocks = np.split(signals[4][None], [5, 70, 71, 300], axis=-1)
    streamed = [piece for (piece,) in ours.encode_stream(blocks)]
    np.testing.assert_array_equal(np.concatenate(streamed, axis=-1), expected[4].levels[0])
    label = unlabelled(ours)
    decoded = theirs.decode(expected[4], label=label)
    np.testing.assert_allclose(ours.decode(expected[4], label=label), decoded, atol=1e-5)
    pieces = [(piece,) for piece in np.split(expected[4].levels[0], [3, 30], axis=-1)]
    parts = list(ours.decode_stream(pieces, 333, label=label))
    np.testing.assert_array_equal(
        np.concatenate(parts, axis=-1), ours.decode(expected[4], label=label)
    )


def test_labels_condition_the_decoder_of_images(save: Save):
    model = changed(test_vqvae.build("convnext"), labels=LABELS)
    with torch.no_grad():
        model.labels.vectors.normal_()
    theirs, ours = save(model)
    codes = ours.encode_many(images((20, 20)))[0]
    for label in (*LABELS, 2):
        found = ours.decode(codes, label=label)
        np.testing.assert_allclose(found, theirs.decode(codes, label=label), atol=1e-5)


def test_fewer_stages_are_decoded_and_measured_as_in_torch(save: Save):
    theirs, ours = save(IMAGES["stack"]())
    x = np.stack(images((20, 20), (20, 20)))
    found, wanted = ours.round_trip(x, depth=2), theirs.round_trip(x, depth=2)
    assert same(found.codes, wanted.codes)
    np.testing.assert_allclose(found.x, wanted.x, atol=1e-5)


@pytest.mark.parametrize("form", [IMAGES["two levels"], SOUNDS["stack"]])
def test_float16_weights_are_read(form: Callable[[], Any], save: Save):
    theirs, ours = save(form(), half=True)
    if ours.spec.modality == "image":
        signals = images((30, 33))
    else:
        signals = [test_codec.sound(300)[0].numpy()]
    assert same(ours.encode_many(signals)[0], theirs.encode_many(signals)[0])


def test_threads_change_nothing(save: Save):
    _, ours = save(IMAGES["convnext"](), count=1)
    signals = images((300, 250))
    one = ours.encode_many(signals)[0]
    ours.use_threads(2)
    assert ours.threads == 2
    assert same(ours.encode_many(signals)[0], one)


def test_a_model_without_codes_has_no_graphs(tmp_path: Path):
    model = changed(test_vqvae.build("convnext"), quantizer={"type": "quantizers/identity"})
    directory.save(tmp_path / "model", model)
    assert not (tmp_path / "model" / store.FACTS).exists()


def test_a_second_saving_replaces_the_graphs(tmp_path: Path):
    model = test_vqvae.build("convnext")
    directory.save(tmp_path / "model", model)
    first = directory.fingerprint(tmp_path / "model")
    store.read(tmp_path / "model", fingerprint=first)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    directory.save(tmp_path / "model", model)
    second = directory.fingerprint(tmp_path / "model")
    assert second != first
    store.read(tmp_path / "model", fingerprint=second)


def test_statistics_begin_at_zero(save: Save):
    _, ours = save(SOUNDS["stack"]())
    assert ours.recompute_stats == RecomputeStats()


@pytest.mark.parametrize("form", [*IMAGES.values(), *SOUNDS.values()])
def test_graphs_are_valid_onnx(form: Callable[[], Any], save: Save, tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    save(form())
    for name in (store.ENCODER, store.DECODER):
        onnx.checker.check_model(str(tmp_path / "model" / name), full_check=True)
