"""``vqtok sample``: pictures, recordings and codes, the same ones for the same command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import vqtok as library
from tests.cli.conftest import Run
from vqtok.media.image.mosaic import GAP
from vqtok.plots import captions

SIZE = (24, 32)  # width, height


@pytest.fixture(scope="module")
def made(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Priors with fresh weights: "p" of images, "a" of audio, "plain" without classes."""
    import torch

    from vqtok.checkpoints import directory
    from vqtok.checkpoints import priors as store
    from vqtok.priors.transformer import Config

    folder = tmp_path_factory.mktemp("priors")
    torch.manual_seed(0)
    kinds: dict[str, tuple[str, tuple[int, ...], tuple[str, ...]]] = {
        "p": ("image-f8", (32, 24), ("cat", "dog", "old/car")),
        "a": ("audio-24k", (1600,), ("ann", "bob")),
        "plain": ("image-f8", (16, 16), ()),
    }
    for name, (tokenizer, extent, classes) in kinds.items():
        spec = directory.describe(shelf / tokenizer).spec
        prior = Config(width=16, blocks=1, heads=2, classes=classes).build(spec=spec).eval()
        if classes:
            prior.network.classes.vectors.data.mul_(50)  # so that a class matters untrained
        store.save(folder / name, prior, tokenizer=tokenizer, extent=extent)
    return folder


@pytest.fixture
def priors(here: Path, made: Path) -> Path:
    """The priors of ``made``, each test's own."""
    return shutil.copytree(made, here, dirs_exist_ok=True)


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_grid_shows_all_samples(vqtok: Run, priors: Path) -> None:
    result = vqtok(
        "sample", "-m", "p", "--count", "5", "-o", "grid.png", "--columns", "2", "--no-names"
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "grid.png\n"
    found = pixels("grid.png")
    width, height = SIZE
    assert found.shape == (3 * (height + GAP) - GAP, 2 * (width + GAP) - GAP, 3)


def test_a_grid_has_the_names_of_classes_under_its_pictures(vqtok: Run, priors: Path) -> None:
    command = ["sample", "-m", "p", "--count", "3", "--columns", "3"]
    for name, more in {"with": [], "without": ["--no-names"], "large": ["--scale", "5"]}.items():
        assert vqtok(*command, "-o", f"{name}.png", *more).exit_code == 0
    width, height = SIZE
    wide = max(width, *map(captions.width, ("cat", "dog", "old/car")))
    scale = -(-wide // width)
    plain, named = pixels("without.png"), pixels("with.png")
    assert named.shape == (
        scale * height + captions.HEIGHT,
        3 * (max(wide, scale * width) + GAP) - GAP,
        3,
    )
    cell = named[: scale * height, : scale * width]
    np.testing.assert_array_equal(cell[::scale, ::scale], plain[:height, :width])
    under = [
        named[scale * height :, at : at + scale * width]
        for at in range(0, 3 * (scale * width + GAP), scale * width + GAP)
    ]
    assert all(each.min() < 100 for each in under)  # ink
    assert (under[0] != under[1]).any()
    assert pixels("large.png").shape == (
        5 * height + captions.HEIGHT,
        3 * (5 * width + GAP) - GAP,
        3,
    )


def test_single_pictures_grow_if_asked_to(vqtok: Run, priors: Path) -> None:
    vqtok("sample", "-m", "plain", "-o", "one/", "--size", "9x5")
    vqtok("sample", "-m", "plain", "-o", "three/", "--size", "9x5", "--scale", "3")
    one, three = pixels("one/0000.png"), pixels("three/0000.png")
    np.testing.assert_array_equal(three, one.repeat(3, axis=0).repeat(3, axis=1))


def test_the_same_command_makes_the_same_bytes_and_another_seed_others(
    vqtok: Run, priors: Path
) -> None:
    for name, more in {"one": [], "two": [], "other": ["--seed", "7"]}.items():
        assert vqtok("sample", "-m", "p", "--count", "2", "-o", f"{name}.png", *more).exit_code == 0
    assert Path("one.png").read_bytes() == Path("two.png").read_bytes()
    assert (pixels("one.png") != pixels("other.png")).any()


def test_a_sample_depends_on_its_number_and_not_on_the_batch(vqtok: Run, priors: Path) -> None:
    vqtok("sample", "-m", "p", "--count", "5", "--class", "dog", "-o", "all/", "--batch", "2")
    vqtok("sample", "-m", "p", "--count", "3", "--class", "dog", "-o", "some/", "--batch", "8")
    for index in range(3):
        one, other = (Path(f"{name}/dog/{index:04d}.png") for name in ("all", "some"))
        assert one.read_bytes() == other.read_bytes()


def test_classes_go_by_in_turn_and_name_directories(vqtok: Run, priors: Path) -> None:
    result = vqtok("sample", "-m", "p", "--count", "4", "-o", "out/", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["class"] for row in rows] == ["cat", "dog", "old/car", "cat"]
    assert [row["target"] for row in rows] == [
        "out/cat/0000.png", "out/dog/0001.png", "out/old/car/0002.png", "out/cat/0003.png",
    ]  # fmt: skip
    assert all(Path(row["target"]).is_file() for row in rows)
    two = vqtok(
        "sample", "-m", "p", "--count", "3", "--class", "dog", "--class", "cat", "-o",
        "{class}-{index}.png",
    )  # fmt: skip
    assert two.stdout.split() == ["dog-0.png", "cat-1.png", "dog-2.png"]


def test_codes_say_whose_they_are_and_decode_to_the_picture(vqtok: Run, priors: Path) -> None:
    assert vqtok("sample", "-m", "p", "-o", "x.safetensors").exit_code == 0
    vqtok("sample", "-m", "p", "-o", "x.png")
    codes, header = library.read_codes("x.safetensors")
    assert codes.extent == (32, 24)
    assert header.model == "image-f8"
    assert vqtok("decode", "x.safetensors", "-o", "y.png").exit_code == 0
    assert (pixels("x.png") == pixels("y.png")).all()


def test_recordings_have_the_length_that_is_asked_for(vqtok: Run, priors: Path) -> None:
    vqtok("sample", "-m", "a", "--speaker", "bob", "-o", "usual.wav")
    result = vqtok("sample", "-m", "a", "--count", "2", "--seconds", "0.1", "-o", "new-{index}.wav")
    assert result.exit_code == 0, result.stderr
    assert soundfile.info("usual.wav").frames == 1600
    assert [soundfile.info(f"new-{n}.wav").frames for n in range(2)] == [800, 800]


def test_size_is_width_times_height(vqtok: Run, priors: Path) -> None:
    vqtok("sample", "-m", "plain", "--size", "40x17", "-o", "x.png")
    assert pixels("x.png").shape == (17, 40, 3)


def test_a_prompt_is_kept(vqtok: Run, priors: Path) -> None:
    vqtok("sample", "-m", "p", "--seed", "1", "-o", "start.npy")
    vqtok("sample", "-m", "p", "--count", "3", "--prompt", "start.npy", "--keep", "3", "-o", "on/",
          "--format", "npy")  # fmt: skip
    start = np.load("start.npy")
    made = [np.load(path) for path in sorted(Path("on").rglob("*.npy"))]
    assert len(made) == 3
    for codes in made:
        np.testing.assert_array_equal(codes[:3], start[:3])
    assert any((codes[3:] != start[3:]).any() for codes in made)
    vqtok("sample", "-m", "p", "--prompt", "start.npy", "-o", "half.npy")
    np.testing.assert_array_equal(np.load("half.npy")[:2], start[:2])


def test_pictures_and_recordings_are_prompts_too(
    vqtok: Run, priors: Path, picture: Callable[..., Path], recording: Callable[..., Path]
) -> None:
    photo = picture(width=24, height=32)
    vqtok("encode", photo, "-o", "photo.npy")
    result = vqtok("sample", "-m", "p", "--prompt", photo, "-o", "on.npy")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(np.load("on.npy")[:2], np.load("photo.npy")[:2])
    clip = recording(length=801, channels=1)
    vqtok("encode", clip, "-o", "clip.npy")
    result = vqtok("sample", "-m", "a", "--prompt", clip, "-o", "on2.npy")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(np.load("on2.npy")[:, :11], np.load("clip.npy")[:, :11])
    assert np.load("on2.npy").shape == (3, 20)


def test_the_likeliest_codes_need_no_luck(vqtok: Run, priors: Path) -> None:
    for number, flags in enumerate((["--temperature", "0"], ["--top-k", "1"])):
        for seed in ("1", "2"):
            target = f"{number}-{seed}.npy"
            vqtok("sample", "-m", "plain", "--seed", seed, "-o", target, *flags)
        np.testing.assert_array_equal(np.load(f"{number}-1.npy"), np.load(f"{number}-2.npy"))
    vqtok("sample", "-m", "plain", "--seed", "2", "-o", "free.npy")
    assert (np.load("free.npy") != np.load("0-2.npy")).any()
    vqtok("sample", "-m", "plain", "--seed", "2", "--top-p", "0.000001", "-o", "p.npy")
    np.testing.assert_array_equal(np.load("p.npy"), np.load("0-2.npy"))


def test_guidance_changes_samples_and_needs_a_class(vqtok: Run, priors: Path) -> None:
    vqtok("sample", "-m", "p", "--class", "cat", "-o", "1.npy")
    vqtok("sample", "-m", "p", "--class", "cat", "--guidance", "9", "-o", "9.npy")
    assert (np.load("1.npy") != np.load("9.npy")).any()
    assert vqtok("sample", "-m", "plain", "--guidance", "2", "-o", "x.npy").exit_code == 2


def test_standard_output_gets_the_file(vqtok: Run, priors: Path) -> None:
    vqtok("sample", "-m", "p", "--count", "2", "-o", "x.png")
    result = vqtok("sample", "-m", "p", "--count", "2", "-o", "-")
    assert result.stdout_bytes == Path("x.png").read_bytes()


WRONG: dict[str, tuple[list[str], str]] = {
    "a tokenizer": (["-m", "image-f8", "-o", "x.png"], "a tokenizer, not a prior"),
    "no such model": (["-m", "nobody", "-o", "x.png"], "unknown model"),
    "a near class": (["-m", "p", "--class", "cta", "-o", "x.png"], "did you mean cat?"),
    "no classes": (["-m", "plain", "--class", "cat", "-o", "x.png"], "has no classes"),
    "another kind": (["-m", "p", "-o", "x.wav"], "cannot be written as 'wav'"),
    "an unknown kind": (["-m", "p", "-o", "x.xyz"], "cannot be written as 'xyz'"),
    "no suffix": (["-m", "p", "-o", "x"], "no suffix"),
    "many in one": (["-m", "p", "--count", "2", "-o", "x.npy"], "the file holds one"),
    "one template for all": (["-m", "p", "--count", "9", "-o", "{class}.png"], "several samples"),
    "an unknown field": (["-m", "p", "-o", "{stem}.png"], "not a template"),
    "keep without a prompt": (["-m", "p", "--keep", "1", "-o", "x.png"], "--keep"),
    "no such prompt": (["-m", "p", "--prompt", "no.npy", "-o", "x.png"], "no such file"),
    "columns of no grid": (["-m", "p", "--columns", "2", "-o", "x.npy"], "--columns"),
    "a scale of codes": (["-m", "p", "--scale", "2", "-o", "x.npy"], "--scale"),
    "a size of audio": (["-m", "a", "--size", "3x3", "-o", "x.wav"], "the prior is of audio"),
    "no size": (["-m", "p", "--size", "3", "-o", "x.png"], "not WIDTHxHEIGHT"),
    "seconds of pictures": (["-m", "p", "--seconds", "1", "-o", "x.png"], "is of pictures"),
    "no time": (["-m", "a", "--seconds", "0", "-o", "x.wav"], "too short"),
    "another tokenizer": (
        ["-m", "p", "--tokenizer", "audio-24k", "-o", "x.png"],
        "its fingerprint is",
    ),
    "a temperature": (["-m", "p", "--temperature", "-1", "-o", "x.png"], "temperature"),
    "a top-k": (["-m", "p", "--top-k", "0", "-o", "x.png"], "top-k"),
    "a top-p": (["-m", "p", "--top-p", "2", "-o", "x.png"], "top-p"),
    "a guidance": (["-m", "p", "--guidance", "nan", "-o", "x.png"], "guidance"),
    "a number of samples": (["-m", "p", "--count", "9" * 25, "-o", "x.png"], "more than"),
    "a grid of gigabytes": (["-m", "p", "--count", "999999", "-o", "x.png"], "-o DIR/"),
    "codes of gigabytes": (["-m", "p", "--size", "99999x99999", "-o", "x.npy"], "pixels"),
    "a year": (["-m", "a", "--seconds", "3e7", "-o", "x.npy"], "samples of sound"),
    "a seed": (["-m", "p", "--seed", "9" * 25, "-o", "x.png"], "generators"),
    "a size of gigabytes": (["-m", "p", "--size", "99999x99999", "-o", "x.png"], "99999x99999"),
}


@pytest.mark.parametrize("dry", [(), ("-n",)], ids=["", "dry"])
@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_said_before_anything_is_written(
    case: str, dry: tuple[str, ...], vqtok: Run, priors: Path
) -> None:
    arguments, message = WRONG[case]
    before = sorted(priors.iterdir())
    result = vqtok("sample", *arguments, *dry)
    assert result.exit_code == 2, result.stderr
    assert message in result.stderr
    assert sorted(priors.iterdir()) == before


def test_the_default_may_be_missing(
    vqtok: Run, priors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqtok.pipeline.prior_models.DEFAULT", "elsewhere")
    result = vqtok("sample", "-o", "x.png")
    assert result.exit_code == 2
    assert "no prior named, and the default elsewhere is not here" in result.stderr


def test_the_shipped_prior_is_the_default(vqtok: Run, here: Path) -> None:
    result = vqtok("sample", "--count", "4", "--class", "horse", "-o", "grid.png", "--seed", "1")
    assert result.exit_code == 0, result.stderr
    first = Path("grid.png").read_bytes()
    named = ["-m", "prior-cifar10", "--tokenizer", "cifar10-f4"]
    result = vqtok("sample", *named, "--count", "4", "--class", "horse", "-o", "-", "--seed", "1")
    assert result.stdout_bytes == first


def test_existing_files_are_overwritten_with_force_only(vqtok: Run, priors: Path) -> None:
    Path("x.png").write_bytes(b"mine")
    result = vqtok("sample", "-m", "p", "-o", "x.png")
    assert result.exit_code == 2
    assert "already there" in result.stderr
    assert Path("x.png").read_bytes() == b"mine"
    assert vqtok("sample", "-m", "p", "-o", "x.png", "-f").exit_code == 0
    assert pixels("x.png").shape == (32, 24, 3)


def test_a_missing_tokenizer_keeps_only_media_from_being_made(
    vqtok: Run, priors: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VQTOK_MODELS", str(tmp_path / "nowhere"))
    result = vqtok("sample", "-m", "p", "-o", "x.png")
    assert result.exit_code == 1
    assert "its tokenizer image-f8" in result.stderr
    assert "--tokenizer" in result.stderr
    assert vqtok("sample", "-m", "p", "-o", "x.npy").exit_code == 0


def test_a_tokenizer_is_found_by_its_directory(
    vqtok: Run, priors: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VQTOK_MODELS", str(tmp_path / "nowhere"))
    place = str(shelf / "image-f8")
    assert vqtok("sample", "-m", "p", "--tokenizer", place, "-o", "x.png").exit_code == 0


def test_codes_of_another_model_are_no_prompt(
    vqtok: Run, priors: Path, recording: Callable[..., Path]
) -> None:
    vqtok("encode", recording(), "-o", "r.npy")
    result = vqtok("sample", "-m", "p", "--prompt", "r.npy", "-o", "x.png")
    assert result.exit_code == 1
    assert "made with model audio-24k" in result.stderr


def test_other_commands_say_that_a_prior_is_one(
    vqtok: Run, priors: Path, picture: Callable[..., Path]
) -> None:
    result = vqtok("encode", picture(), "-m", "p")
    assert result.exit_code == 2
    assert "vqtok sample -m p" in result.stderr


def test_info_and_models_describe_priors(
    vqtok: Run, priors: Path, monkeypatch: pytest.MonkeyPatch, shelf: Path
) -> None:
    shown = vqtok("info", "p").stdout
    assert "prior of image codes" in shown
    assert "32 × 24 pixels, 12 codes" in shown
    assert "cat, dog, old/car" in shown
    facts: dict[str, Any] = json.loads(vqtok("info", "a", "--json").stdout)
    assert facts["kind"] == "prior"
    assert facts["tokenizer"]["name"] == "audio-24k"
    assert facts["codes"] == 60
    assert facts["classes"] == ["ann", "bob"]
    monkeypatch.setenv("VQTOK_MODELS", f"{shelf}:{priors}")
    assert "prior of image-f8" in vqtok("models").stdout


def test_a_dry_run_says_what_would_be_written(vqtok: Run, priors: Path) -> None:
    whole = vqtok("sample", "-m", "p", "--count", "4", "-o", "grid.png", "-n")
    assert whole.stdout == "4 samples -> grid.png\n"
    each = vqtok("sample", "-m", "p", "--count", "2", "--class", "dog", "-o", "new/", "-n")
    assert each.stdout.splitlines()[1] == "sample 1 of dog -> new/dog/0001.png"
    assert not (priors / "grid.png").exists()
    assert not (priors / "new").exists()
