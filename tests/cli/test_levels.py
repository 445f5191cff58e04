"""Models of several levels from end to end: files, corpora, evaluation and training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.pictures import look
from vqtok.checkpoints import directory
from vqtok.codes import files
from vqtok.config import parse
from vqtok.protocols import Config

QUANTIZER = {"type": "quantizers/vq", "codebook_size": 300, "warmup": 1, "samples": 1}

MODEL: dict[str, Any] = {
    "type": "tokenizers/vqvae2",
    "quantizer": QUANTIZER,
    "quantizers": {"top": QUANTIZER | {"codebook_size": 16}},
    "patch": 2,
    "widths": [8, 8],
    "encoder_blocks": [1, 1],
    "decoder_blocks": [1, 1],
    "kernel": 3,
    "latent": 4,
}

TRAIN = {
    "losses": {"mse": 1.0}, "batch": 2, "window": 32, "steps": 6, "evaluate_every": 3,
    "warmup": 1, "holdout": 0.3, "precision": "float32",
}  # fmt: skip


@pytest.fixture
def levels(here: Path) -> str:
    torch.manual_seed(0)
    model = parse(MODEL, Config).build().eval()
    for quantizer in model.quantizer:
        quantizer.initialised.fill_(True)
    directory.save(here / "levels", model)
    return "levels"


@pytest.fixture
def photos(picture, here) -> str:
    for index in range(6):
        picture(f"photos/{index}.png", width=40 + index, height=36)
    (here / "tiny.json").write_text(json.dumps({"model": MODEL, "train": TRAIN}))
    return "photos/"


@pytest.mark.parametrize("size", [(37, 21), (1, 1), (4, 4), (5, 64)])
def test_levels_are_named_in_safetensors_and_one_sequence_in_npy(
    vqtok, picture, here, levels, size
):
    picture("photo.png", width=size[0], height=size[1])
    for target in ("codes.safetensors", "codes.npy"):
        assert vqtok("encode", "photo.png", "-m", levels, "-o", target).exit_code == 0
    named, header = files.read(here / "codes.safetensors")
    flat, _ = files.read(here / "codes.npy")
    shapes = [(1, -(-size[1] // stride), -(-size[0] // stride)) for stride in (4, 2)]
    assert [level.name for level in header.spec.levels] == ["top", "bottom"]
    assert [each.shape for each in named.levels] == shapes
    assert [each.dtype for each in named.levels] == [np.uint8, np.uint16]
    for one, other in zip(named.levels, flat.levels, strict=True):
        np.testing.assert_array_equal(one, other)
    sequence = np.load(here / "codes.npy")
    np.testing.assert_array_equal(sequence, np.concatenate([e.reshape(-1) for e in named.levels]))
    for source in ("codes.safetensors", "codes.npy"):
        back = source + ".png"
        assert vqtok("decode", source, "-m", levels, "-o", back).exit_code == 0
        assert look(back).size == size
    assert (here / "codes.npy.png").read_bytes() == (here / "codes.safetensors.png").read_bytes()


@pytest.mark.parametrize("format", ["files", "tar", "bin", "parquet", "arrow"])
def test_every_kind_of_corpus_keeps_every_level(vqtok, photos, here, levels, format):
    made = vqtok("encode", photos, "-m", levels, "-o", "corpus", "--format", format)
    assert made.exit_code == 0, made.stderr
    assert vqtok("encode", photos, "-m", levels, "-o", "plain/").exit_code == 0
    assert vqtok("decode", "corpus", "-m", levels, "-o", "back/").exit_code == 0
    assert vqtok("decode", "plain", "-m", levels, "-o", "expected/").exit_code == 0
    found = sorted(path for path in (here / "back").rglob("*.png"))
    expected = sorted(path for path in (here / "expected").rglob("*.png"))
    assert len(found) == len(expected) == 6
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(look(one), look(other))
    told = vqtok("info", "corpus")
    assert "top" in told.stdout and "bottom" in told.stdout


def test_evaluation_tells_the_use_of_every_level(vqtok, photos, levels):
    result = vqtok("eval", photos, "-m", levels)
    assert result.exit_code == 0, result.stderr
    rows = dict(line.strip().split(":", 1) for line in result.stdout.splitlines() if ": " in line)
    assert "of 316 entries" in rows["codebook"]
    assert "of 16 entries used" in rows["top"]
    assert "of 8.23 bits per code" in rows["bottom"]
    summary = json.loads(vqtok("eval", photos, "-m", levels, "--json").stdout.splitlines()[-1])
    assert list(summary["levels"]) == ["top", "bottom"]
    bits = 4 / 16 + np.log2(300) / 4
    assert summary["bits_per_pixel"] == pytest.approx(bits, rel=0.06)  # sides are rounded up


def test_info_tells_levels_and_whose_quantizer_they_have(vqtok, levels):
    told = vqtok("info", levels).stdout
    assert "16 entries, one position per 4×4 pixels" in told
    assert "300 entries, one position per 2×2 pixels" in told
    assert "top: quantizers/vq" in told


def test_a_map_of_codes_shows_every_level(vqtok, picture, levels, here):
    picture("photo.png", width=64, height=48)
    vqtok("encode", "photo.png", "-m", levels, "-o", "codes.npy")
    assert vqtok("info", "codes.npy", "--plot", "map.png").exit_code == 0
    assert look("map.png").height > 2 * 48


def test_training_makes_a_model_whose_card_and_log_tell_of_each_level(vqtok, photos, here):
    told = vqtok("train", "--data", photos, "-o", "mine", "--preset", "tiny.json", "--dry-run")
    assert told.exit_code == 0, told.stderr
    assert "320 for a window of 32x32 pixels" in told.stdout
    result = vqtok("train", "--data", photos, "-o", "mine", "--preset", "tiny.json")
    assert result.exit_code == 0, result.stderr
    assert "use top" in result.stderr and "perplexity bottom" in result.stderr
    card = (here / "mine" / "README.md").read_text()
    for words in (
        "- `top` (h, w): 16 entries, one position per 4x4 pixels",
        "| codebook use, top |",
        "| perplexity, bottom |",
        "| step | PSNR dB | codebook use, top | perplexity, top | codebook use, bottom |",
    ):
        assert words in card
    assert "| codebook use |" not in card  # a mean over levels says little
    lines = [json.loads(line) for line in (here / "mine" / "log.jsonl").read_text().splitlines()]
    (progress,) = [line for line in lines if line["event"] == "progress"]
    assert set(progress["levels"]) == {"top", "bottom"}
    assert {"commitment_top", "commitment_bottom"} < set(progress["losses"])
    assert vqtok("encode", "photos/0.png", "-m", "mine/", "-o", "x.npy").exit_code == 0


def test_a_run_that_is_resumed_ends_as_if_it_had_not_stopped(vqtok, photos, here):
    whole = ("train", "--data", photos, "--preset", "tiny.json", "-o", "whole")
    assert vqtok(*whole, "--set", "train.schedule=constant").exit_code == 0
    first = ("train", "--data", photos, "--preset", "tiny.json", "-o", "parts", "--steps", "3")
    assert vqtok(*first, "--set", "train.schedule=constant").exit_code == 0
    more = ("train", "--data", photos, "-o", "parts", "--resume", "--steps", "6")
    assert vqtok(*more).exit_code == 0
    states = []
    for name in ("whole", "parts"):
        states.append(directory.load(here / name).state_dict())
    assert states[0].keys() == states[1].keys()
    for key in states[0]:
        assert torch.equal(states[0][key], states[1][key]), key


def test_a_decoder_that_goes_on_alone_leaves_the_codes_of_every_level(vqtok, photos, here):
    assert vqtok("train", "--data", photos, "-o", "one", "--preset", "tiny.json").exit_code == 0
    second = ("train", "--data", photos, "-o", "two", "--preset", "tiny.json", "-m", "one/")
    result = vqtok(*second, "--stage", "decoder", "--set", "train.learning_rate=0.01")
    assert result.exit_code == 0, result.stderr
    assert vqtok("encode", photos, "-m", "one/", "-o", "a/").exit_code == 0
    assert vqtok("encode", photos, "-m", "two/", "-o", "b/").exit_code == 0
    for path in sorted((here / "a").iterdir()):
        (one, _), (other, _) = files.read(path), files.read(here / "b" / path.name)
        for left, right in zip(one.levels, other.levels, strict=True):
            np.testing.assert_array_equal(left, right)
    models = [directory.load(here / name) for name in ("one", "two")]
    decoders = [each.decoder.state_dict() for each in models]
    assert any(not torch.equal(decoders[0][key], decoders[1][key]) for key in decoders[0])
    # The new model reads what the old one made.
    assert vqtok("decode", "a/0.safetensors", "-m", "two/", "-o", "x.png").exit_code == 0


def test_a_continuous_quantizer_is_refused_before_any_work(vqtok, photos):
    edit = ("--quantizer", "identity")
    result = vqtok("train", "--data", photos, "-o", "m", "--preset", "tiny.json", *edit)
    assert result.exit_code == 2
    assert "finer levels go by codes" in result.stderr


@pytest.mark.parametrize("preset", ["vqvae2", "vqvae2-small"])
def test_the_presets_are_the_papers_grids(preset):
    from vqtok.training.recipe import load

    recipe = load(preset)
    spec = recipe.model.build().spec
    assert spec.shapes((256, 256)) == ((32, 32), (64, 64))
    assert [level.codebook_size for level in spec.levels] == [512, 512]


def test_each_level_speaks_by_itself(vqtok, picture, levels, here):
    picture("photo.png", width=40, height=24)
    vqtok("encode", "photo.png", "-m", levels, "-o", "codes.npy")
    shown = {}
    for names in ("top", "bottom", "top,bottom"):
        run = vqtok("decode", "codes.npy", "-m", levels, "--levels", names, "-f", "-o", "x.png")
        assert run.exit_code == 0, run.stderr
        shown[names] = look("x.png").tobytes()
    vqtok("decode", "codes.npy", "-m", levels, "-o", "all.png")
    assert shown["top,bottom"] == look("all.png").tobytes()
    assert len(set(shown.values())) == 3
    codes, header = files.read(here / "codes.npy")
    even = np.full_like(codes.levels[1], np.bincount(codes.levels[1].ravel()).argmax())
    files.write(here / "even.npy", replace(codes, levels=(codes.levels[0], even)), header)
    vqtok("decode", "even.npy", "-m", levels, "-o", "even.png")
    assert look("even.png").tobytes() == shown["top"]


def test_an_unknown_level_is_named_with_those_there_are(vqtok, picture, levels):
    picture("photo.png")
    vqtok("encode", "photo.png", "-m", levels, "-o", "codes.npy")
    run = vqtok("decode", "codes.npy", "-m", levels, "--levels", "middle", "-o", "x.png")
    assert run.exit_code == 2
    assert "--levels middle" in run.stderr and "levels: top, bottom" in run.stderr
