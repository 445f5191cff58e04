"""``train``: from a folder to a model that encodes, with resuming, stopping and edits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.cli.test_process import start
from tests.conftest import TINY_AUDIO, TINY_IMAGE
from tests.programs import LIMIT_S
from vqtok.cli.training_view import duration

TRAIN = {
    "losses": {"mse": 1.0}, "batch": 2, "window": 16, "steps": 4, "evaluate_every": 2,
    "warmup": 1, "holdout": 0.3,
}  # fmt: skip


@pytest.fixture
def photos(picture, here) -> str:
    for index in range(6):
        picture(f"photos/{index}.png", width=24, height=24)
    (here / "tiny.json").write_text(json.dumps({"model": TINY_IMAGE, "train": TRAIN}))
    return "photos/"


def test_a_folder_becomes_a_model_that_encodes(vqtok, photos, picture, here):
    result = vqtok("train", "--data", photos, "-o", "mine/", "--preset", "tiny.json")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "mine\n"
    last = result.stderr.splitlines()[-1]
    assert last.startswith("step 4 after ")
    assert last.endswith("Next: vqtok encode FILE -m mine/")
    assert vqtok("encode", "photos/0.png", "-m", "mine/", "-o", "x.npy").exit_code == 0
    assert vqtok("info", "mine/").exit_code == 0
    weights = here / "mine" / "model.safetensors"
    assert weights.stat().st_mode == (here / "mine" / "config.json").stat().st_mode


def test_audio_trains_as_well(vqtok, recording, here):
    for index in range(4):
        recording(f"clips/{index}.wav", length=4000)
    train = {**TRAIN, "losses": {"l1": 1.0}, "window": 800, "steps": 2}
    (here / "tiny.json").write_text(json.dumps({"model": TINY_AUDIO, "train": train}))
    result = vqtok("train", "--data", "clips", "-o", "codec", "--preset", "tiny.json")
    assert result.exit_code == 0, result.stderr
    assert vqtok("encode", "clips/0.wav", "-m", "codec/").exit_code == 0


def test_a_model_is_not_overwritten_but_goes_on_with_resume(vqtok, photos):
    first = ("train", "--data", photos, "-o", "mine", "--preset", "tiny.json", "--steps", "2")
    assert vqtok(*first).exit_code == 0
    again = vqtok(*first)
    assert again.exit_code == 2
    assert "mine: already holds a model" in again.stderr
    resumed = vqtok("train", "--data", photos, "-o", "mine", "--resume", "--steps", "4", "--json")
    assert resumed.exit_code == 0, resumed.stderr
    events = [json.loads(line) for line in resumed.stdout.splitlines()]
    assert [each["event"] for each in events] == ["started", "measuring", "evaluated", "finished"]
    assert (events[0]["first_step"], events[-1]["step"]) == (2, 4)
    assert vqtok(*first, "-f").exit_code == 0


@pytest.mark.parametrize(
    ("edits", "code", "words"),
    [
        (["--set", "train.stesp=3"], 2, "stesp: unknown key"),
        (["--set", "train.batch=many"], 2, "train.batch: expected an integer"),
        (["--set", "nonsense"], 2, "expected KEY=VALUE"),
        (["--preset", "image-f9"], 2, "image-f9"),
        (["--resume"], 1, "mine"),
        (["--device", "nonsense"], 2, "--device nonsense"),
    ],
)
def test_mistakes_are_one_line_before_training(vqtok, photos, here, edits, code, words):
    result = vqtok("train", "--data", photos, "-o", "mine", "--preset", "tiny.json", *edits)
    assert result.exit_code == code
    assert words in result.stderr
    assert not (here / "mine" / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["empty", "nope"])
def test_no_data_is_one_line(vqtok, here, name):
    (here / "empty").mkdir()
    result = vqtok("train", "--data", name, "-o", "mine")
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("Error: ")
    assert name in result.stderr


def test_flags_are_edits_of_the_recipe(vqtok, photos, here):
    result = vqtok(
        "train", "--data", photos, "-o", "mine", "--preset", "tiny.json", "--steps", "1",
        "--batch", "3", "--seed", "7", "--set", "train.clip=0.5", "-q",
    )  # fmt: skip
    assert result.exit_code == 0
    assert result.stderr == ""
    train = json.loads((here / "mine/training.json").read_text())["recipe"]["train"]
    assert (train["steps"], train["batch"], train["seed"], train["clip"]) == (1, 3, 7, 0.5)


@pytest.mark.slow
def test_ctrl_c_stops_saves_and_says_how_to_go_on(photos, here):
    process = start(
        sys.executable, "-m", "vqtok", "train", "--data", photos, "-o", "mine", "--preset",
        "tiny.json", "--steps", "1000000", "--json", text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(2):  # started, and the first evaluation
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1])["reason"] == "stopped"
    assert "Stopping after this step; Ctrl-C again quits now" in errors
    assert errors.splitlines()[-1].endswith("Next: vqtok train --data photos/ -o mine/ --resume")
    assert (here / "mine" / "model.safetensors").exists()


@pytest.mark.parametrize(("seconds", "text"), [(5.0, "5 s"), (600.0, "10 min"), (7200.0, "2.0 h")])
def test_durations_have_a_fitting_unit(seconds, text):
    assert duration(seconds) == text
