"""From pictures to codes, to a prior, to its samples and what it costs: the whole path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.coded import TINY

SMALL = [part for edit in TINY for part in ("--set", edit)]


@pytest.fixture
def photos(picture: Callable[..., Path]) -> Path:
    for label in ("cat", "dog"):
        for index in range(5):
            picture(f"photos/{label}/{index}.png", width=24, height=32 + index % 2)
    return Path("photos")


@pytest.mark.parametrize("format", ["safetensors", "npy", "bin", "tar"])
def test_the_whole_path(format: str, vqtok: Run, photos: Path, shelf: Path) -> None:
    assert vqtok("encode", photos, "-o", "codes/", "--format", format).exit_code == 0
    trained = vqtok("train", "--data", "codes", "-o", "prior", "--steps", "2", *SMALL)
    assert trained.exit_code == 0, trained.stderr
    assert "image items of codes" in trained.stderr
    assert "Next: vqtok sample -m prior/" in trained.stderr
    assert trained.stdout == "prior\n"
    drawn = vqtok("sample", "-m", "prior", "--count", "2", "--class", "dog", "-o", "grid.png")
    assert drawn.exit_code == 0, drawn.stderr
    found = vqtok("eval", "codes", "-m", "prior", "--json")
    assert found.exit_code == 0, found.stderr
    *items, total = map(json.loads, found.stdout.splitlines())
    assert len(items) == total["items"] == 10
    assert {each["class"] for each in items} == {"cat", "dog"}
    assert total["unlabelled"] == 0
    weights = [each["codes"] for each in items]
    mean = np.average([each["nats_per_code"] for each in items], weights=weights)
    assert total["nats_per_code"] == pytest.approx(mean, abs=1e-5)
    assert total["bits_per_code"] == pytest.approx(mean / np.log(2), abs=1e-5)
    assert total["uniform_bits_per_code"] == 6.0
    assert 0 < total["unigram_bits_per_code"] < 6.0


def test_a_rehearsal_of_a_prior_writes_nothing(vqtok: Run, photos: Path) -> None:
    vqtok("encode", photos, "-o", "codes/")
    result = vqtok("train", "--data", "codes", "-o", "prior", "-n", *SMALL)
    assert result.exit_code == 0, result.stderr
    assert "items of image codes to train on" in result.stdout
    assert "12 for a window of 24x32 pixels" in result.stdout
    assert not Path("prior").exists()


def test_costs_are_shown_beside_what_knows_only_frequencies(vqtok: Run, photos: Path) -> None:
    vqtok("encode", photos, "-o", "codes/")
    vqtok("train", "--data", "codes", "-o", "prior", "--steps", "1", *SMALL)
    result = vqtok("eval", "codes/cat", "-m", "prior", "-v")
    assert result.exit_code == 0, result.stderr
    for word in ("unigram:", "uniform:", "6.000 bits per code", "bits per dimension", "nats/code"):
        assert word in result.stdout
    assert "Cross-entropy of whole items" in result.stderr


def test_eval_says_what_was_in_no_known_class(vqtok: Run, photos: Path) -> None:
    vqtok("encode", photos, "-o", "codes/")
    vqtok("train", "--data", "codes", "-o", "prior", "--steps", "1", *SMALL)
    Path("codes/cat").rename("codes/lion")
    result = vqtok("eval", "codes", "-m", "prior")
    assert "5 items lie in no directory named as a class" in result.stdout
    told = vqtok("eval", "codes", "-m", "prior", "--label", "cat", "--json")
    assert {json.loads(line).get("class") for line in told.stdout.splitlines()[:-1]} == {"cat"}
    assert vqtok("eval", "codes", "-m", "prior", "--label", "lion").exit_code == 2


def test_eval_leaves_out_codes_of_others_and_goes_on(
    vqtok: Run, photos: Path, recording: Callable[..., Path]
) -> None:
    vqtok("encode", photos, "-o", "codes/")
    vqtok("train", "--data", "codes", "-o", "prior", "--steps", "1", *SMALL)
    vqtok("encode", recording(), "-o", "codes/cat/speech.npy")
    result = vqtok("eval", "codes", "-m", "prior")
    assert result.exit_code == 1
    assert "speech.npy: made with model audio-24k" in result.stderr
    assert "10 items" in result.stdout


@pytest.mark.parametrize("flag", [["--metrics", "psnr"], ["--depth", "1"], ["--mono"]])
def test_eval_refuses_flags_that_say_nothing_of_codes(
    flag: list[str], vqtok: Run, photos: Path
) -> None:
    vqtok("encode", photos, "-o", "codes/")
    vqtok("train", "--data", "codes", "-o", "prior", "--steps", "1", *SMALL)
    result = vqtok("eval", "codes", "-m", "prior", *flag)
    assert result.exit_code == 2
    assert f"{flag[0]}: of no effect" in result.stderr
