"""What a photo, a corpus and training enter and read of vqtok: the test of the house."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.programs import environment

PHOTO = Path(__file__).parent / "data" / "photo.png"
MODELS = Path(__file__).parent.parent / "models"

PROGRAM = """
import inspect, json, os, sys, threading
import vqtok

root, entered, opened = os.path.dirname(vqtok.__file__) + "/", set(), []

def watch(frame, event, argument):
    if event == "call" and frame.f_code.co_filename.startswith(root):
        entered.add(frame.f_code)

def hear(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.append(arguments[0])

sys.addaudithook(hear)
if sys.argv.pop(1) == "functions":  # which slows down all of Python
    threading.setprofile(watch)
    sys.setprofile(watch)
try:
    from vqtok.cli import main
    main()
except SystemExit as error:
    code = error.code
sys.setprofile(None)
named = [c for c in entered if c.co_flags & inspect.CO_OPTIMIZED and c.co_name[0] != "<"]
found = {
    "code": code,
    "files": len({c.co_filename for c in named}),
    "functions": len(named),
    "opened": [os.path.basename(p) for p in opened if "image-f8" in p],
}
print(json.dumps(found), file=sys.stderr)
"""

PHOTO_FILES, PHOTO_FUNCTIONS = 54, 365
"""Of vqtok that are entered at most, 3 functions more than here for quotas of CPUs of another kind;
40 and 200 are the aim. ``graphs`` alone has 9 and 83 of them."""

CORPUS_FILES, TRAINING_FILES = 73, 110
"""The same; 55 and 70 are the aim."""


def watched(*arguments: str, of: str = "functions") -> dict[str, Any]:
    command = [sys.executable, "-c", PROGRAM, of, *arguments]
    environ = environment() | {"VQTOK_MODELS": str(MODELS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    found: dict[str, Any] = json.loads(done.stderr.strip().splitlines()[-1])
    assert found["code"] == 0
    return found


def test_a_photo_takes_few_files_and_functions_and_reads_its_model_once(tmp_path: Path):
    found = watched("encode", str(PHOTO), "-o", str(tmp_path / "x.npy"))
    assert found["files"] <= PHOTO_FILES
    assert found["functions"] <= PHOTO_FUNCTIONS
    assert found["opened"].count("config.json") == 1
    assert found["opened"].count("training.json") == 1
    assert found["opened"].count("graphs.json") == 1
    # Once to hash it and read its table, once to map its numbers.
    assert found["opened"].count("model.safetensors") == 2
    assert "decoder.onnx" not in found["opened"]


def test_an_evaluation_reads_its_model_once(tmp_path: Path):
    with Image.open(PHOTO) as photo:
        photo.crop((0, 0, 64, 48)).save(tmp_path / "small.png")
    small = str(tmp_path / "small.png")
    found = watched("eval", small, "-m", "image-f8", "--metrics", "psnr", of="files")
    assert found["opened"].count("config.json") == 1


def test_a_corpus_of_one_picture_takes_few_files(tmp_path: Path):
    found = watched("encode", str(PHOTO), "--format", "tar", "-o", str(tmp_path / "corpus"))
    assert found["files"] <= CORPUS_FILES
    assert found["opened"].count("config.json") == 1
    assert found["opened"].count("model.safetensors") == 2


@pytest.mark.slow
def test_three_steps_of_training_take_few_files(tmp_path: Path):
    for index in range(4):
        shutil.copy(PHOTO, tmp_path / f"{index}.png")
    found = watched(
        *("train", "--data", str(tmp_path), "--preset", "image-f8-small", "--batch", "2"),
        *("--steps", "3", "-o", str(tmp_path / "model")),
    )
    assert found["files"] <= TRAINING_FILES
