"""``--effort``: same bits and decoder, closer pixels, said in the header; 0 is what there was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqtok as package
from tests.programs import LIMIT_S, environment
from tests.test_without_torch import FORBID
from vqtok.checkpoints import directory
from vqtok.codes import files
from vqtok.config import parse
from vqtok.effort.search import Search
from vqtok.protocols import Config

WORTH = "vqtok.effort.search.WORTH"


@pytest.fixture(autouse=True)
def any_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny models are untrained: what codes can gain is a small part of the error."""
    monkeypatch.setattr(WORTH, 1e-6)


@pytest.fixture
def photos(here: Path) -> list[Path]:
    random = np.random.default_rng(0)
    found = []
    for name, size in (("a.png", (41, 70)), ("b.png", (24, 24)), ("c.png", (3, 5))):
        pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        (here / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(here / "photos" / name)
        found.append(Path("photos") / name)
    return found


def codes_of(place: str | Path) -> np.ndarray:
    return np.asarray(np.load(place))


def error(source: Path, codes: str | Path) -> float:
    model = package.load("image-f8")
    found, _ = files.read(Path(codes))
    y = model.decode(found)[0].numpy()
    x = np.asarray(Image.open(source), dtype=np.float64).transpose(2, 0, 1) / 127.5 - 1
    return float(np.square(x - y).sum())


def test_codes_of_an_effort_decode_closer_and_say_so(vqtok, photos):
    assert vqtok("encode", photos[0], "-o", "plain.npy").exit_code == 0
    done = vqtok("encode", photos[0], "-o", "hard.npy", "--effort", "3", "-v")
    assert done.exit_code == 0
    assert "effort 3" in done.stderr and "torch" in done.stderr
    assert (codes_of("plain.npy") != codes_of("hard.npy")).any()
    assert error(photos[0], "hard.npy") < error(photos[0], "plain.npy")
    _, header = files.read(Path("hard.npy"))
    assert (header.effort, header.effort_metric) == (3, "mse")
    shown = vqtok("info", "hard.npy")
    assert "effort" in shown.stdout and "3, for mse" in shown.stdout
    told = json.loads(vqtok("info", "hard.npy", "--json").stdout)
    assert (told["effort"], told["effort_metric"]) == (3, "mse")
    assert vqtok("decode", "hard.npy", "-o", "back.png").exit_code == 0


def test_effort_0_writes_the_bytes_that_no_effort_writes(vqtok, photos):
    vqtok("encode", photos[0], "-o", "plain.npy")
    vqtok("encode", photos[0], "-o", "zero.npy", "--effort", "0")
    assert Path("plain.npy").read_bytes() == Path("zero.npy").read_bytes()
    assert "effort" not in files.read(Path("zero.npy"))[1].to_json()


@pytest.mark.parametrize("metric", ["mse", "ssim"])
def test_files_corpora_backends_and_threads_give_the_same_codes(vqtok, photos, metric):
    flags = ["--effort", "2", "--effort-metric", metric]
    alone = {}
    for photo in photos:
        target = f"{photo.stem}.npy"
        assert vqtok("encode", photo, "-o", target, *flags).exit_code == 0
        alone[photo.name] = codes_of(target)
    for extra in (["--backend", "torch"], ["--threads", "2"]):
        vqtok("encode", photos[0], "-o", "again.npy", "-f", *flags, *extra)
        np.testing.assert_array_equal(codes_of("again.npy"), alone["a.png"])
    done = vqtok("encode", "photos", "--format", "files", "-o", "corpus/", *flags)
    assert done.exit_code == 0, done.stderr
    from vqtok.corpus.reader import CorpusReader

    entries = list(CorpusReader(Path("corpus")))
    assert len(entries) == len(photos)
    for entry in entries:
        np.testing.assert_array_equal(entry.codes.levels[0][0], alone[Path(entry.name).name])
        assert entry.header.effort == 2


def test_a_corpus_of_another_effort_is_another_job(vqtok, photos):
    assert vqtok("encode", "photos", "--format", "tar", "-o", "corpus/").exit_code == 0
    again = vqtok("encode", "photos", "--format", "tar", "-o", "corpus/", "--effort", "1")
    assert again.exit_code == 2
    assert "effort" in again.stderr


def test_python_and_eval_take_an_effort(vqtok, photos):
    vqtok("encode", photos[0], "-o", "hard.npy", "--effort", "2")
    codes, header = package.encode_file(photos[0], effort=2)
    np.testing.assert_array_equal(codes.levels[0][0], codes_of("hard.npy"))
    assert header.effort == 2
    lines = {}
    for effort in ("0", "2"):
        done = vqtok("eval", photos[0], "--effort", effort, "--metrics", "psnr", "--json")
        assert done.exit_code == 0, done.stderr
        lines[effort] = json.loads(done.stdout.splitlines()[-1])
    assert "effort 2" in json.dumps(lines["2"]) and "effort" not in json.dumps(lines["0"])


def test_audio_and_unknown_efforts_are_refused_in_a_line(vqtok, photos, recording):
    talk = recording()
    done = vqtok("encode", talk, photos[1], "-o", "codes/", "--effort", "1")
    assert done.exit_code == 1
    assert "--effort" in done.stderr and "images" in done.stderr
    assert Path("codes/b.safetensors").exists()
    assert vqtok("encode", photos[0], "-o", "x.npy", "--effort", "10").exit_code == 2
    done = vqtok("encode", photos[0], "-o", "x.npy", "--effort", "1", "--effort-metric", "lpips")
    assert done.exit_code == 2 and "mse, ssim" in done.stderr
    assert not Path("x.npy").exists()


def test_models_whose_codes_cannot_be_searched_are_refused_in_a_line(vqtok, photos, here):
    from diffusers import VQModel

    from tests.conftest import TINY_IMAGE

    labelled = parse(TINY_IMAGE | {"labels": ["cat", "dog"]}, Config).build().eval()
    labelled.quantizer.initialised.fill_(True)
    directory.save(here / "labelled", labelled, training={"step": 3, "files": 2})
    VQModel(block_out_channels=[32], norm_num_groups=8, num_vq_embeddings=32).save_pretrained(
        here / "global"
    )
    for name, reason in (("labelled", "depends on a label"), ("global", "local models only")):
        assert vqtok("encode", photos[0], "-m", name, "-o", "plain.npy", "-f").exit_code == 0
        done = vqtok("encode", photos[0], "-m", name, "-o", "x.npy", "--effort", "1")
        assert done.exit_code != 0
        (line,) = [each for each in done.stderr.splitlines() if "Error" in each]
        assert reason in line and "Traceback" not in done.stderr
        assert not (here / "x.npy").exists()


def test_without_torch_an_effort_says_what_is_missing(here, photos, shelf):
    program = (
        FORBID
        + "import importlib.util as u; find = u.find_spec\n"
        + "u.find_spec = lambda name, *a: None if name == 'torch' else find(name, *a)\n"
        + "sys.argv[0] = 'vqtok'\nfrom vqtok.cli import main\nmain()\n"
    )
    arguments = ["encode", str(photos[0]), "-o", "x.npy", "--effort", "1"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        env=environment() | {"VQTOK_MODELS": str(shelf)},
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 2
    assert b"needs torch" in done.stderr and b"Traceback" not in done.stderr
    assert not Path("x.npy").exists()


def test_an_effort_that_is_interrupted_leaves_no_file(vqtok, photos, monkeypatch):
    monkeypatch.setattr("vqtok.effort.search.Search.refine", interrupted_at(1))
    done = vqtok("encode", photos[0], photos[1], "-o", "codes/", "--effort", "2")
    assert done.exit_code == 130
    assert "Traceback" not in done.stderr
    assert [path.name for path in Path("codes").iterdir()] == ["a.safetensors"]


def test_a_corpus_of_an_effort_goes_on_to_the_same_bytes(vqtok, photos, monkeypatch):
    command = ("encode", "photos", "--format", "tar", "--effort", "2", "--shard-size", "2")
    assert vqtok(*command, "-o", "whole/").exit_code == 0
    for number in range(len(photos)):
        with monkeypatch.context() as patch:
            patch.setattr("vqtok.effort.search.Search.refine", interrupted_at(number))
            assert vqtok(*command, "-o", f"{number}/").exit_code == 130
        assert not Path(f"{number}/index.json").exists()
        assert vqtok(*command, "-o", f"{number}/").exit_code == 0
        assert tree(Path(f"{number}")) == tree(Path("whole"))


def interrupted_at(number: int) -> Callable[..., Any]:
    """``Search.refine``, until its call of that number, which Ctrl-C ends."""
    real, left = Search.refine, [number]

    def refine(self: Search, *given: Any) -> Any:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(self, *given)

    return refine


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_pictures_of_16_bits_and_grey_ones_come_closer(vqtok, here):
    random = np.random.default_rng(5)
    pixels = random.integers(0, 65536, (40, 48), dtype=np.uint16)
    Image.fromarray(pixels).save(here / "deep.png")
    assert vqtok("encode", "deep.png", "-o", "plain.npy").exit_code == 0
    assert vqtok("encode", "deep.png", "-o", "hard.npy", "--effort", "3").exit_code == 0
    model = package.load("image-f8")
    x = pixels[None].astype(np.float64).repeat(3, 0) / 65535 * 2 - 1
    sums = []
    for name in ("plain.npy", "hard.npy"):
        y = model.decode(files.read(Path(name))[0])[0].numpy()
        sums.append(float(np.square(x - y).sum()))
    assert sums[1] <= sums[0]
    assert vqtok("decode", "hard.npy", "-o", "back.png").exit_code == 0
