"""The default recipe is fitted to the files, each change is told, and what the user set stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vqtok import config
from vqtok.training.data.files import find_files
from vqtok.training.data.fit import fit, modality, spec_of
from vqtok.training.data.survey import Survey, survey
from vqtok.training.recipe import DEFAULT_PRESET, Recipe, load

IMAGE = load(DEFAULT_PRESET["image"])
AUDIO = load(DEFAULT_PRESET["audio"])
SIDE = st.integers(1, 3000)


def fields(edits: list[str]) -> set[str]:
    return {edit.partition("=")[0] for edit in edits}


def photos_of(count: int, *size: int) -> Survey:
    return Survey("image", count, sides=((size[0], size[1]),))


def clips_of(count: int, seconds: float) -> Survey:
    return Survey("audio", count, seconds=(seconds,))


def entries(recipe: Recipe) -> int:
    size: int = config.dump(recipe)["model"]["quantizer"]["codebook_size"]
    return size


def test_much_data_of_a_usual_size_is_trained_on_as_the_preset_says() -> None:
    assert fit(IMAGE, photos_of(50_000, 512, 768)) == (IMAGE, ())
    assert fit(AUDIO, clips_of(5000, 8.0)) == (AUDIO, ())


def test_thumbnails_get_smaller_windows_in_larger_batches() -> None:
    recipe, notes = fit(IMAGE, photos_of(50_000, 32, 32))
    assert recipe.train.window == 32
    assert recipe.train.batch == 64
    assert entries(recipe) == 8192
    assert [note.partition(":")[0] for note in notes] == [
        "train.window 64 → 32",
        "train.batch 16 → 64",
    ]
    assert fit(IMAGE, photos_of(50_000, 28, 28)).recipe.train.window == 24  # of the stride
    assert fit(IMAGE, photos_of(50_000, 3, 3)).recipe.train.window == 8


def test_few_images_get_a_codebook_that_they_can_fill() -> None:
    recipe, notes = fit(IMAGE, photos_of(50, 64, 64))
    assert entries(recipe) == 128  # 3200 positions, 16 each: 200
    assert (
        "model.quantizer.codebook_size 8192 → 128: "
        "50 images of about 64x64 hold only 3 200 code positions" in notes
    )
    assert entries(fit(IMAGE, photos_of(1, 16, 16)).recipe) == 64


def test_few_files_do_not_train_for_hours_and_are_measured_on_a_handful() -> None:
    recipe = fit(IMAGE, photos_of(50, 256, 384)).recipe
    assert 2000 < recipe.train.steps < 20000
    assert round(recipe.train.holdout * 50) == 5
    assert recipe.train.evaluate_every < 1000
    least = fit(IMAGE, photos_of(1, 64, 64)).recipe
    assert least.train.steps == 2000
    assert least.train.evaluate_every == 100
    speech = fit(AUDIO, clips_of(60, 10.0)).recipe
    assert speech.train.steps == 15_000  # 600 s, 200 times, 8 s a step
    assert entries(speech) == 1024


def test_short_recordings_get_shorter_windows() -> None:
    recipe = fit(AUDIO, clips_of(10_000, 0.5)).recipe
    assert recipe.train.window == 11_840  # 37 hops
    assert recipe.train.batch == 16
    assert fit(AUDIO, clips_of(10_000, 0.01)).recipe.train.window == 4160


def test_what_the_user_set_stays() -> None:
    facts = photos_of(50, 32, 32)
    edits = ["train.window=64", "model.quantizer.codebook_size=8192", "train.steps=9"]
    recipe, notes = fit(load("image-f8", edits=edits), facts, kept=fields(edits))
    assert recipe.train.window == 64
    assert entries(recipe) == 8192
    assert recipe.train.steps == 9
    assert [note.split()[0] for note in notes] == ["train.holdout"]
    whole = ["model.quantizer=" + '{"type": "quantizers/vq", "codebook_size": 4096}']
    kept = fit(load("image-f8", edits=whole), facts, kept=fields(whole)).recipe
    assert entries(kept) == 4096
    timed = load("image-f8", edits=["train.minutes=5"])
    assert fit(timed, facts, kept={"train.minutes"}).recipe.train.steps == 20000


@examples(20, many=40)
@given(count=st.integers(1, 10**6), sides=st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=4))
def test_any_images_give_a_recipe_that_holds_together(
    count: int, sides: list[tuple[int, int]]
) -> None:
    recipe, notes = fit(IMAGE, Survey("image", count, sides=tuple(sides)))
    size = entries(recipe)
    assert recipe.train.window % 8 == 0
    assert 8 <= recipe.train.window <= IMAGE.train.window
    assert size & (size - 1) == 0
    assert 64 <= size <= 8192
    assert 2000 <= recipe.train.steps <= IMAGE.train.steps
    assert recipe.train.evaluate_every <= recipe.train.steps
    held = round(recipe.train.holdout * count)
    assert held >= min(8, count // 10)
    assert held < max(2, count / 5)
    assert (recipe == IMAGE) == (not notes)


@examples(20, many=40)
@given(
    count=st.integers(1, 10**6),
    seconds=st.lists(st.floats(0.001, 1e5), min_size=1, max_size=4),
)
def test_any_recordings_give_a_recipe_that_holds_together(count: int, seconds: list[float]) -> None:
    recipe, _ = fit(AUDIO, Survey("audio", count, seconds=tuple(seconds)))
    assert recipe.train.window % 320 == 0
    assert 4096 <= recipe.train.window <= AUDIO.train.window
    assert 64 <= entries(recipe) <= 1024
    assert 2000 <= recipe.train.steps <= AUDIO.train.steps


@pytest.mark.parametrize("preset", ["image-fsq", "vqvae-2017"])
def test_other_recipes_are_fitted_as_far_as_they_have_the_fields(preset: str) -> None:
    recipe, notes = fit(load(preset), photos_of(20, 16, 16))
    assert recipe.train.window == 16
    assert modality(recipe) == "image"
    assert spec_of(recipe).modality == "image"
    codebooks = [note for note in notes if "codebook_size" in note]
    assert len(codebooks) == (preset == "vqvae-2017")


def test_a_survey_reads_headers_and_passes_over_what_is_broken(photos: Path, clips: Path) -> None:
    (photos / "0.png").write_bytes(b"")
    seen = survey(find_files([str(photos)]).files, "image")
    assert seen.count == 6
    assert seen.sides == tuple((24 + i, 30) for i in range(1, 6))
    heard = survey(find_files([str(clips)]).files, "audio")
    assert heard.seconds == pytest.approx([(1500 + 700 * i) / 800 for i in range(5)])
    assert fit(IMAGE, Survey("image", 3)) == (IMAGE, ())  # nothing is known
