"""``info`` and ``models``."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests.cli.pictures import look


def listing(result) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in result.stdout.splitlines() if line.startswith("  "))
    return {key.strip(): value.strip() for key, value in pairs}


def test_info_of_codes_tells_shape_use_rate_and_source(vqtok, picture):
    picture("photo.jpg", width=64, height=32)
    vqtok("encode", "photo.jpg", "-o", "codes.npy")
    rows = listing(vqtok("info", "codes.npy"))
    codes = np.load("codes.npy")
    assert rows["kind"] == "codes of an image"
    assert rows["model"].startswith("image-f8 (")
    assert rows["codes"] == "4 × 8 (h, w), uint8"
    assert rows["codebook"] == f"64 entries, {len(np.unique(codes))} used"
    assert rows["rate"] == "0.0938 bits per pixel"
    assert rows["source"] == "photo.jpg, JPEG"


def test_info_of_codes_agrees_with_numpy_in_json(vqtok, recording):
    recording("a.wav", channels=2)
    vqtok("encode", "a.wav", "-o", "a.npy")
    facts = json.loads(vqtok("info", "a.npy", "--json").stdout)
    codes = np.load("a.npy")
    assert facts["levels"][0]["shape"] == list(codes.shape)
    assert facts["tokens"] == codes.size
    assert facts["bits"] == codes.size * 4
    stages = facts["levels"][0]["use"]["stages"]
    for stage, use in enumerate(stages):
        shares = np.unique(codes[:, stage], return_counts=True)[1] / codes[:, stage].size
        assert use["entropy_bits"] == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-4)
    assert facts["source"] == {"name": "a.wav", "rate": 8000, "length": 4001, "format": "WAV"}


def test_info_of_media_tells_what_codes_it_would_be(vqtok, picture, recording):
    picture("p.png", width=17, height=8)
    recording("s.wav", rate=16000, length=16000, channels=2)
    lines = vqtok("info", "p.png", "s.wav", "--json").stdout.splitlines()
    image, audio = (json.loads(line) for line in lines)
    assert (image["width"], image["height"], image["expected"]["tokens"]) == (17, 8, 3)
    assert (audio["rate_hz"], audio["channels"]) == (16000, 2)
    assert audio["expected"]["tokens"] == 2 * 3 * 100
    vqtok("encode", "p.png", "s.wav")
    made = [json.loads(vqtok("info", f"{n}.safetensors", "--json").stdout) for n in "ps"]
    assert [each["tokens"] for each in made] == [3, 600]


def test_info_of_a_model_by_name_and_by_directory(vqtok, shelf):
    named = vqtok("info", "audio-24k")
    rows = listing(named)
    assert rows["kind"] == "model for audio"
    assert rows["codes"] == "3 × 16 entries, one position per 80 samples"
    assert rows["rate"] == "1.2 kbit/s (0.4 at depth 1 of 3)"
    assert rows["trained"] == "3 steps, 2 files"
    assert vqtok("info", shelf / "audio-24k").stdout == named.stdout
    facts = json.loads(vqtok("info", "audio-24k", "--json").stdout)
    assert (facts["rate_hz"], facts["kbit_per_s"]) == (8000, 1.2)
    assert facts["quantizer"] == "quantizers/rvq"


def test_info_reads_a_pipe(vqtok, picture, here):
    picture("p.png")
    result = vqtok("info", "-", "--json", input=(here / "p.png").read_bytes())
    assert json.loads(result.stdout)["width"] == 37


def test_info_tells_what_is_wrong_and_goes_on(vqtok, picture, here):
    picture("p.png")
    vqtok("encode", "p.png", "-o", "p.npy")
    (here / "cut.npy").write_bytes((here / "p.npy").read_bytes()[:-30])
    result = vqtok("info", "cut.npy", "p.npy")
    assert result.exit_code == 1
    assert "Error: cut.npy: " in result.stderr
    assert listing(result)["kind"] == "codes of an image"


def test_info_of_nothing_is_a_usage_error_with_a_near_name(vqtok):
    result = vqtok("info", "image-f9")
    assert result.exit_code == 2
    assert "image-f9" in result.stderr
    assert "image-f8" in result.stderr


def test_plot_draws_a_png_and_does_not_overwrite(vqtok, picture):
    picture("p.png", width=80, height=80)
    vqtok("encode", "p.png", "-o", "p.npy")
    assert vqtok("info", "p.npy", "--plot", "map.png").exit_code == 0
    assert look("map.png").format == "PNG"
    refused = vqtok("info", "p.npy", "--plot", "map.png")
    assert refused.exit_code == 2
    assert vqtok("info", "p.npy", "--plot", "map.png", "-f").exit_code == 0
    assert vqtok("info", "p.npy", "p.png", "--plot", "other.png").exit_code == 2
    assert vqtok("info", "p.npy", "--plot", "other.gif").exit_code == 2


def test_models_lists_names_as_a_table_and_as_json(vqtok, shelf):
    result = vqtok("models")
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert head.split()[:3] == ["name", "for", "rate"]
    ours = [row for row in rows if row.split()[0] in ("audio-24k", "image-f8")]
    assert [row.split()[0] for row in ours] == ["audio-24k", "image-f8"]
    facts = [json.loads(line) for line in vqtok("models", "--json").stdout.splitlines()]
    paths = {each["name"]: each["path"] for each in facts}
    assert paths["image-f8"] == str(shelf / "image-f8")


def test_models_reports_a_damaged_one_and_lists_the_others(vqtok, shelf, here):
    shutil.copytree(shelf / "image-f8", here / "models" / "damaged")
    (here / "models/damaged/model.safetensors").write_bytes(b"short")
    result = vqtok("models")
    assert result.exit_code == 1
    assert "image-f8" in result.stdout
    assert "damaged" not in result.stdout
    assert "models/damaged/model.safetensors" in result.stderr
