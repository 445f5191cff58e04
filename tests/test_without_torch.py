"""Files to codes and back without torch in the process: its import is forbidden there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.programs import LIMIT_S, environment

FORBID = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchmetrics", "scipy"):
            raise ImportError("forbidden: " + name)
sys.meta_path.insert(0, Forbid())
"""
COMMAND = FORBID + "sys.argv[0] = 'vqtok'\nfrom vqtok.cli import main\nmain()\n"
LIBRARY = (
    FORBID
    + """
import numpy as np, vqtok
model = vqtok.load("image-f8", backend="onnx")
x = np.linspace(-1, 1, 3 * 20 * 24, dtype=np.float32).reshape(1, 3, 20, 24)
codes = model.encode(x)
print(codes.levels[0].shape, model.decode(codes).shape)
print(vqtok.encode_file("photo.png")[0].levels[0].shape)
"""
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (21, 37, 3), dtype=np.uint8)).save(
        tmp_path / "photo.png"
    )
    soundfile.write(tmp_path / "talk.wav", random.standard_normal(3000) * 0.1, 8000)
    return tmp_path


def test_onnxruntime_reports_nothing(tmp_path: Path):
    program = "from vqtok.graphs import sessions; sessions.require()"
    subprocess.run(
        [sys.executable, "-c", program],
        env=environment() | {"TMPDIR": str(tmp_path)},
        timeout=LIMIT_S,
        check=True,
    )
    assert not list(tmp_path.iterdir())


def run(here: Path, shelf: Path, program: str, *arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        input=stdin,
        capture_output=True,
        cwd=here,
        env=environment() | {"VQTOK_MODELS": str(shelf)},
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_a_picture_is_encoded_and_decoded(here: Path, shelf: Path):
    run(here, shelf, COMMAND, "encode", "photo.png", "-o", "codes.npy")
    run(here, shelf, COMMAND, "decode", "codes.npy", "-o", "back.png")
    with Image.open(here / "back.png") as image:
        assert image.size == (37, 21)


def test_a_recording_goes_through_a_pipe(here: Path, shelf: Path):
    sound = (here / "talk.wav").read_bytes()
    codes = run(here, shelf, COMMAND, "encode", "-", stdin=sound)
    (here / "back.wav").write_bytes(run(here, shelf, COMMAND, "decode", "-", stdin=codes))
    assert len(soundfile.read(here / "back.wav")[0]) == 3000


def test_a_folder_becomes_a_corpus(here: Path, shelf: Path):
    run(here, shelf, COMMAND, "encode", "photo.png", "--format", "tar", "-o", "corpus/")
    assert (here / "corpus" / "index.json").is_file()


def test_the_library_encodes_arrays_and_files(here: Path, shelf: Path):
    out = run(here, shelf, LIBRARY).decode().splitlines()
    assert out == ["(1, 3, 3) (1, 3, 20, 24)", "(1, 3, 5)"]


def test_this_check_can_fail(here: Path, shelf: Path):
    with pytest.raises(AssertionError, match="forbidden: torch"):
        run(here, shelf, COMMAND, "encode", "photo.png", "-o", "c.npy", "--backend", "torch", "-vv")
