"""Flags of ``train``: each does something, and what cannot go together says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.cli.test_train import TRAIN
from tests.conftest import TINY_IMAGE
from vqtok.cli.options import Machine, ProgressMessages
from vqtok.cli.train_options import Choices, complete_quantizer, default_output
from vqtok.errors import UsageError
from vqtok.training import recipe

COMMON = ("train", "--data", "photos", "--preset", "tiny.json", "--steps", "2")


@pytest.fixture
def photos(picture, here) -> str:
    for index in range(6):
        picture(f"photos/{index}.png", width=24, height=24)
    (here / "tiny.json").write_text(json.dumps({"model": TINY_IMAGE, "train": TRAIN}))
    return "photos"


def recipe_of(folder: Path) -> dict:
    return json.loads((folder / "training.json").read_text())["recipe"]


def test_without_a_name_the_model_is_called_after_its_data_and_found_by_that(vqtok, photos, here):
    result = vqtok(*COMMON)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "models/photos\n"
    assert result.stderr.splitlines()[-1].endswith("Next: vqtok encode FILE -m photos")
    assert vqtok("encode", "photos/0.png", "-m", "photos", "-o", "x.npy").exit_code == 0
    again = vqtok(*COMMON)
    assert again.exit_code == 2
    assert "models/photos: already holds a model" in again.stderr
    assert "--resume goes on with it" in again.stderr
    assert vqtok(*COMMON[:-1], "3", "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("data", "name"),
    [("photos", "photos"), ("a/photos/", "photos"), ("photos/*.png", "photos"),
     ("photos/**/*.png", "photos"), ("shards/{000..009}.tar", "shards"), ("clips.tar", "clips"),
     ("@list.txt", "list"), ("x/../photos", "photos"), (".hidden", "hidden"),
     ("my photos.2024/", "my photos.2024")],
)  # fmt: skip
def test_the_name_comes_from_the_data(here, data, name):
    for folder in ("photos", "a/photos", ".hidden", "my photos.2024", "x"):
        (here / folder).mkdir(parents=True)
    assert default_output([data, "other"]) == Path("models") / name


@pytest.mark.parametrize("data", ["/", "-", "/*"])
def test_data_that_gives_no_name_asks_for_one(data):
    with pytest.raises(UsageError, match="no name") as error:
        default_output([data])
    assert error.value.hint == "-o DIR names it"


def test_the_present_folder_gives_its_name(here):
    assert default_output(["."]) == Path("models") / here.name


def test_edits_are_in_the_order_in_which_they_win():
    groups = {"machine": Machine(), "messages": ProgressMessages()}
    edits = ["model.quantizer.levels=[8]"]
    found = Choices(data=[], quantizer="fsq", steps=3, edits=edits, **groups)
    assert found.all_edits() == [
        "model.quantizer.type=quantizers/fsq", "train.steps=3", "model.quantizer.levels=[8]",
    ]  # fmt: skip
    found = Choices(data=[], quantizer="quantizers/vq", **groups)
    assert found.all_edits() == ["model.quantizer.type=quantizers/vq"]


def test_quantizers_complete_without_loading_anything():
    assert "simvq" in complete_quantizer("s")
    assert not any(name.startswith("_") for name in complete_quantizer(""))
    assert complete_quantizer("nothing") == []


def test_flags_reach_the_recipe(vqtok, photos, picture, here):
    picture("photos/cats/0.png", width=24, height=24)
    result = vqtok(
        *COMMON, "-o", "m", "--quantizer", "fsq", "--set", "model.quantizer.levels=[4, 4]",
        "--labels", "--precision", "bfloat16", "--workers", "2", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    recipe = recipe_of(here / "m")
    assert recipe["model"]["quantizer"]["type"] == "quantizers/fsq"
    assert recipe["model"]["quantizer"]["levels"] == [4, 4]
    train = recipe["train"]
    assert (train["labels"], train["precision"], train["workers"]) == (True, "bfloat16", 2)
    assert recipe["model"]["labels"] == ["cats", "photos"]
    assert vqtok("encode", "photos/0.png", "-m", "m/", "-o", "x.npy").exit_code == 0
    assert vqtok("decode", "x.npy", "-m", "m/", "--label", "cats").exit_code == 0
    assert json.loads((here / "m" / "training.json").read_text())["precision"] == "bfloat16"


@pytest.mark.parametrize(
    ("edits", "words", "hint"),
    [
        (["--quantizer", "vqq"], "unknown type 'quantizers/vqq'", "quantizers/vq"),
        (["--precision", "int8"], "train.precision", "known|did you mean|float"),
        (["--stage", "encoder"], "--stage encoder: unknown", "all, decoder"),
        (["--stage", "decoder"], "--stage decoder: needs a model", "-m NAME"),
        (["-m", "image-f8", "--resume"], "exclude each other", "--resume"),
        (["-m", "image-f8", "--quantizer", "fsq"], "exclude each other", "codebook"),
        (["-m", "image-f9"], "'image-f9': unknown model", "image-f8"),
    ],
)
def test_mistakes_are_one_line(vqtok, photos, here, edits, words, hint):
    result = vqtok(*COMMON, *edits)
    assert result.exit_code == 2, result.stderr
    assert words in result.stderr
    assert any(each in result.stderr for each in hint.split("|"))
    assert not (here / "models").exists()


def test_a_model_to_start_from_gives_its_network_and_weights(vqtok, photos, here, shelf):
    result = vqtok(
        "train", "--data", "photos", "-o", "fine", "-m", "image-f8", "--steps", "1", "--batch", "2",
        "--set", "train.learning_rate=1e-9", "--set", "train.window=16",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert recipe_of(here / "fine")["model"]["widths"] == TINY_IMAGE["widths"]
    before = load_file(shelf / "image-f8" / "model.safetensors")
    after = load_file(here / "fine" / "model.safetensors")
    for name in before:
        if name.startswith(("encoder.", "decoder.")):
            # float16 on disk, and one step at a tiny rate
            np.testing.assert_allclose(after[name], before[name], atol=1e-3)


def test_stage_decoder_keeps_every_code(vqtok, photos, here, shelf):
    result = vqtok(
        "train", "--data", "photos", "-o", "sharp", "-m", "image-f8", "--stage", "decoder",
        "--steps", "3", "--batch", "2", "--set", "train.window=16",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    plan = recipe_of(here / "sharp")["train"]
    # Half precision would round an encoder that is not stored so.
    assert (plan["stage"], plan["store"]) == ("decoder", "float32")
    assert plan["adversarial"] is not None
    before = load_file(shelf / "image-f8" / "model.safetensors")
    after = load_file(here / "sharp" / "model.safetensors")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)
    vqtok("encode", photos + "/0.png", "-m", "image-f8", "-o", "old.npy")
    result = vqtok("decode", "old.npy", "-m", "sharp/", "-o", "new.png")
    assert result.exit_code == 0, result.stderr
    # The other way round, nothing says that the codes are the same.
    vqtok("encode", photos + "/0.png", "-m", "sharp/", "-o", "newer.npy")
    assert vqtok("decode", "newer.npy", "-m", "image-f8", "-o", "x.png").exit_code == 1


def test_a_rehearsal_tells_everything_and_writes_nothing(vqtok, photos, here):
    before = {str(path) for path in here.rglob("*")}
    result = vqtok(*COMMON, "-n")
    assert result.exit_code == 0, result.stderr
    assert {str(path) for path in here.rglob("*")} == before
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == ["output", "data", "model", "codes", "sees", "steps", "time", "memory"]
    for part in ("models/photos", "4 images to train on, 2 held out", "median 24x24 pixels",
                 "encoder", "quantizer", "decoder", "4 for a window of 16x16 pixels",
                 "9 for a file of 24x24 pixels", "0.0938 bits per pixel", "2 of 2 items",
                 " a step; about "):  # fmt: skip
        assert part in result.stdout, part


def test_a_rehearsal_as_json_is_one_object(vqtok, photos, here):
    result = vqtok(*COMMON, "--dry-run", "--json", "-q")
    (line,) = result.stdout.splitlines()
    facts = json.loads(line)
    assert facts["output"] == "models/photos"
    assert (facts["files"], facts["held_out"], facts["steps"]) == (4, 2, 2)
    assert facts["bits_per_pixel"] == pytest.approx(6 / 64)
    assert facts["step_s"] > 0
    assert result.stderr == ""
    assert not (here / "models").exists()


@pytest.mark.parametrize("rehearsed", [True, False])
def test_files_of_no_wanted_kind_are_listed_with_v_and_counted_without(
    vqtok, photos, here, rehearsed
):
    for name in ("notes.txt", "voice.wav", "deep/more.txt"):
        (here / "photos" / name).parent.mkdir(exist_ok=True)
        (here / "photos" / name).write_bytes(b"x")
    more = ("-n",) if rehearsed else ("-f",)
    for flags, listed in (((), False), (("-v",), True)):
        result = vqtok(*COMMON, "-o", "m", *more, *flags)
        assert result.exit_code == 0, result.stderr
        lines = result.stderr.splitlines()
        assert "not image, left out: 2 .txt, 1 audio" in lines
        shown = {line for line in lines if line.startswith("left out: ")}
        names = ("deep/more.txt", "notes.txt", "voice.wav")
        assert shown == ({f"left out: photos/{name}" for name in names} if listed else set())


def test_files_that_cannot_be_read_are_grouped_listed_and_never_too_many(vqtok, photos, here):
    for index in range(9):
        (here / f"photos/bad{index}.png").write_bytes(b"\x89PNG nothing")
    result = vqtok(
        *COMMON, "-o", "m", "--batch", "16", "--set", "train.holdout=0.01", "--seed", "1"
    )
    assert result.exit_code == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("left out: ")]
    assert 1 <= len(lines) <= 3
    listed = (here / "m" / "unreadable.txt").read_text().splitlines()
    assert all(line.startswith("photos/bad") for line in listed)
    assert len(listed) > 3
    assert " more: " in lines[0]


def test_no_more_than_twenty_lines_about_files(capsys):
    from vqtok.cli.console import Console
    from vqtok.cli.train import _left_out

    _left_out(Console(), {f"{i}.png": f"reason {i}" for i in range(50)})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "left out: 30 more"


def test_only_the_first_rank_speaks(vqtok, photos, monkeypatch):
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    wrong = vqtok(*COMMON, "--stage", "nothing")
    assert (wrong.exit_code, wrong.stdout, wrong.stderr) == (2, "", "")
    rehearsed = vqtok(*COMMON, "-n", "--json", "-v")
    assert (rehearsed.exit_code, rehearsed.stdout, rehearsed.stderr) == (0, "", "")
    monkeypatch.setenv("RANK", "0")
    assert "Error: --stage nothing" in vqtok(*COMMON, "--stage", "nothing").stderr


def test_tensorboard_writes_a_folder(vqtok, photos, here):
    pytest.importorskip("tensorboard")
    assert vqtok(*COMMON, "-o", "m", "--tensorboard").exit_code == 0
    assert list((here / "m" / "tensorboard").glob("events.out.tfevents.*"))


def test_without_tensorboard_the_flag_is_one_line(vqtok, photos, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = vqtok(*COMMON, "-o", "m", "--tensorboard")
    assert result.exit_code == 2
    assert "Hint: pip install 'vqtok[tensorboard]'" in result.stderr
    assert not (here / "m").exists()


def test_a_command_with_any_bytes_leaves_a_sound_card(vqtok, photos, here, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["vqtok", "train", "--data", "caf\udce9"])
    assert vqtok(*COMMON, "-o", "m").exit_code == 0
    assert "caf?" in (here / "m" / "README.md").read_text(encoding="utf-8")


def test_a_start_that_is_built_otherwise_is_one_line(vqtok, photos, here):
    result = vqtok(*START, "--set", "model.widths=[8, 16]")
    assert result.exit_code == 2
    assert "its weights do not fit the recipe" in result.stderr


def test_labels_may_be_new_to_a_model_that_goes_on(vqtok, photos, picture, here):
    picture("photos/cats/0.png", width=24, height=24)
    result = vqtok(*START, "--labels")
    assert result.exit_code == 0, result.stderr
    assert recipe_of(here / "on")["model"]["labels"] == ["cats", "photos"]


START = (
    "train", "--data", "photos", "-o", "on", "-m", "image-f8", "--steps", "1", "--batch", "2",
    "--set", "train.window=16",
)  # fmt: skip


def test_list_names_every_preset_and_what_it_is_for(vqtok):
    lines = vqtok("train", "--list").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == recipe.presets()
    assert all(line.partition(": ")[2] for line in lines)


def test_a_mistyped_preset_gets_the_list_before_torch_is_loaded(tmp_path):
    code = (
        "import sys; from vqtok.cli.app import app\n"
        "try: app(['train', '--data', '.', '--preset', 'image-f9', '-o', 'm'])\n"
        "except SystemExit as error: print(error.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "False"]
    assert "did you mean image-f8? known: audio-24k, " in done.stderr


def test_a_run_that_ends_inside_the_warm_up_says_that_nothing_is_trained(vqtok, photos):
    result = vqtok(*COMMON, "-o", "m", "--steps", "2", "--set", "train.warmup=5")
    assert "not trained: all 2 steps are within the warm-up of 5" in result.stderr


@pytest.mark.parametrize("flag", ["--batch", "--workers"])
def test_a_size_beyond_all_reason_is_refused_before_anything_is_read(vqtok, photos, flag):
    result = vqtok(*COMMON, flag, "9" * 40)
    assert result.exit_code == 2
    assert f"{flag[2:]} must be at most" in result.stderr
