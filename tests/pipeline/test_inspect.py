"""Facts without a model."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.programs import run
from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError, MediaError, VqtokError
from vqtok.pipeline import inspect

SPEC = CodeSpec(
    "image",
    (LevelSpec("top", ("h", "w"), 4, (8, 8)), LevelSpec("bottom", ("h", "w"), 300, (4, 4))),
    None,
    "f" * 16,
)


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelf: Path) -> Path:
    monkeypatch.setenv("VQTOK_MODELS", str(shelf))
    top = np.array([[[0, 1], [1, 1]]])
    bottom = np.arange(16).reshape(1, 4, 4)
    header = Header(SPEC, (16, 16), model="elsewhere")
    files.write(tmp_path / "two.npy", Codes(SPEC, (top, bottom), (16, 16)), header)
    return tmp_path / "two.npy"


def test_each_level_of_a_hierarchy_is_counted_by_itself(hierarchy: Path):
    facts = inspect.inspect(str(hierarchy))
    assert isinstance(facts, inspect.CodesFacts)
    top, bottom = facts.levels
    assert (top.usage.total.used, bottom.usage.total.used) == (2, 16)
    assert top.usage.total.entropy_bits == pytest.approx(0.8113, abs=1e-4)  # of 1/4 and 3/4
    assert bottom.usage.total.entropy_bits == pytest.approx(4.0)
    assert facts.tokens == 20
    assert facts.bits == pytest.approx(4 * 2 + 16 * np.log2(300))
    assert facts.found is None
    assert dict(facts.rows())["found"].startswith("not here")


def test_a_stream_is_described_like_the_file(hierarchy: Path):
    from_file = inspect.inspect(str(hierarchy)).to_json()
    from_stream = inspect.inspect(io.BytesIO(hierarchy.read_bytes())).to_json()
    differing = {key for key in from_file if from_file[key] != from_stream[key]}
    assert differing == {"subject", "size_bytes"}


def test_a_file_wins_over_a_model_of_its_name(tmp_path, shelf, monkeypatch):
    monkeypatch.setenv("VQTOK_MODELS", str(shelf))
    monkeypatch.chdir(tmp_path)
    assert isinstance(inspect.inspect("image-f8"), inspect.ModelFacts)
    Image.new("RGB", (3, 2)).save("image-f8", format="PNG")
    facts = inspect.inspect("image-f8")
    assert isinstance(facts, inspect.ImageFacts)
    assert (facts.image.width, facts.image.height) == (3, 2)


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("text", b"nothing that anyone would know", MediaError),
        ("cut.npy", b"\x93NUMPY\x01\x00", CodesError),
        ("empty.png", b"", MediaError),
    ],
)
def test_what_cannot_be_described_says_why(tmp_path, name, data, error):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=name):
        inspect.inspect(str(tmp_path / name))


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(VqtokError, match=r"no .* files in this directory"):
        inspect.inspect(str(tmp_path))


def test_inspecting_never_imports_torch(hierarchy: Path, shelf: Path):
    Image.new("L", (9, 9)).save(hierarchy.parent / "a.png")
    program = (
        "import sys\nfrom vqtok.pipeline import inspect\n"
        "for each in sys.argv[1:]: inspect.inspect(each).rows()\n"
        "inspect.models()\n"
        "print('torch' in sys.modules)"
    )
    places = [str(hierarchy), str(hierarchy.parent / "a.png"), str(shelf / "image-f8")]
    done = run(program, *places)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
