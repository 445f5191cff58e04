"""Classifiers from the shell: what they take pictures for, whose samples they reject, the CAS."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.cli.conftest import Run
from tests.cli.test_sample import pixels
from vqtok.cli.app import app

SMALL = [
    "--set", "model.width=8", "--set", "train.batch=4", "--set", "train.window=16",
    "--set", "train.evaluate_every=40", "--set", "train.precision=float32",
]  # fmt: skip


def draw(place: Path) -> None:
    """Photos of cats, which are red, and of dogs, which are blue."""
    random = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for channel, name in ((0, "cat"), (2, "dog")):
            folder = place / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                image = random.integers(0, 100, (16, 16, 3), dtype=np.uint8)
                image[..., channel] += 150
                Image.fromarray(image).save(folder / f"{index}.png")


@pytest.fixture
def photos(here: Path) -> Path:
    draw(here)
    return here


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of the photos."""
    place = tmp_path_factory.mktemp("classifier")
    draw(place)
    words = "train --data train --preset classifier -o judge --steps 40"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        result = CliRunner().invoke(app, [*words.split(), *SMALL])
    assert result.exit_code == 0, result.stderr
    assert "Next: vqtok eval PHOTOS/ -m judge/" in result.stderr
    return place / "judge"


@pytest.fixture
def judge(photos: Path, trained: Path) -> str:
    shutil.copytree(trained, photos / "judge")
    return "judge"


@pytest.fixture
def prior(photos: Path, shelf: Path) -> str:
    import torch

    from vqtok.checkpoints import directory, priors
    from vqtok.priors.transformer import Config

    torch.manual_seed(0)
    spec = directory.describe("image-f8").spec
    made = Config(width=16, blocks=1, heads=2, classes=("cat", "dog")).build(spec=spec).eval()
    priors.save(photos / "p", made, tokenizer="image-f8", extent=(16, 16))
    return "p"


def test_eval_counts_what_is_taken_for_its_directory(vqtok: Run, judge: str) -> None:
    result = vqtok("eval", "test", "-m", judge, "--json")
    assert result.exit_code == 0, result.stderr
    *images, total = map(json.loads, result.stdout.splitlines())
    assert [each["class"] for each in images] == ["cat", "cat", "dog", "dog"]
    assert all(each["found"] == each["class"] for each in images)
    assert total["accuracy"] == 1.0
    assert total["chance"] == 0.5
    Path("test/cat").rename("test/horse")
    Path("test/dog").rename("test/cat")
    result = vqtok("eval", "test", "-m", judge)
    assert result.exit_code == 1
    assert "'horse' is no class" in result.stderr
    assert "accuracy:       0.0%" in result.stdout
    assert vqtok("eval", "test/horse", "-m", judge, "--label", "cat").exit_code == 0
    assert vqtok("eval", "test", "-m", judge, "--metrics", "psnr").exit_code == 2


def test_info_and_models_know_classifiers(
    vqtok: Run, judge: str, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    assert "classifier of images" in vqtok("info", judge).stdout
    assert json.loads(vqtok("info", judge, "--json").stdout)["classes"] == ["cat", "dog"]
    monkeypatch.setenv("VQTOK_MODELS", str(photos))
    assert "classifier, 2 classes" in vqtok("models").stdout
    result = vqtok("encode", "test/cat/0.png", "-m", judge)
    assert result.exit_code == 2
    assert "a classifier: it makes no codes" in result.stderr
    assert vqtok("sample", "-m", judge, "-o", "x.png").exit_code == 2


def test_the_best_of_each_samples_candidates_is_taken(vqtok: Run, judge: str, prior: str) -> None:
    from vqtok.checkpoints import classifiers
    from vqtok.media import image

    vqtok("sample", "-m", prior, "--count", "6", "--class", "dog", "-o", "all/")
    result = vqtok("sample", "-m", prior, "--count", "2", "--class", "dog", "-o", "best/",
                   "--reject", judge, "--candidates", "3", "--batch", "4")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    import torch

    network = classifiers.load(judge)
    for index in range(2):
        group = [Path(f"all/dog/{n:04d}.png") for n in range(3 * index, 3 * index + 3)]
        x = torch.stack([torch.from_numpy(image.read(path)[0]) for path in group])
        expected = group[int(network.probabilities(x)[:, 1].argmax())]
        assert (pixels(f"best/dog/{index:04d}.png") == pixels(expected)).all()
    one = vqtok("sample", "-m", prior, "--count", "1", "--class", "dog", "-o", "one/",
                "--reject", judge, "--candidates", "3")  # fmt: skip
    assert one.exit_code == 0
    assert (pixels("one/dog/0000.png") == pixels("best/dog/0000.png")).all()


def test_only_a_classifier_of_the_priors_classes_can_reject(
    vqtok: Run, judge: str, prior: str
) -> None:
    for arguments, message in (
        (["--reject", "image-f8"], "no classifier"),
        (["--candidates", "3"], "needs a classifier"),
    ):
        result = vqtok("sample", "-m", prior, "-o", "x.png", *arguments)
        assert result.exit_code == 2
        assert message in result.stderr
    config = json.loads(Path("judge/config.json").read_text())
    config["model"]["classes"] = ["cat", "horse"]
    Path("judge/config.json").write_text(json.dumps(config))
    result = vqtok("sample", "-m", prior, "-o", "x.png", "--reject", judge)
    assert "does not know the class 'dog'" in result.stderr


def test_the_classification_accuracy_score(vqtok: Run, prior: str, photos: Path) -> None:
    result = vqtok("eval", "test", "-m", prior, "--cas", "train", "-o", "cas", "--json",
                   "--cas-samples", "8", "--cas-steps", "3")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    scores = json.loads(result.stdout)
    assert scores["trained_on"] == {"real": 12, "reconstructed": 12, "sampled": 8}
    assert set(scores["cas"]) == {"real", "reconstructed", "sampled"}
    assert scores["tested_on"] == 4
    assert scores["chance"] == 0.5
    assert len(list(Path("cas/sampled/dog").iterdir())) == 4
    assert len(list(Path("cas/reconstructed/cat").iterdir())) == 6
    vqtok("encode", "train/cat/3.png", "-o", "x.npy")
    vqtok("decode", "x.npy", "-o", "x.png")
    assert (pixels("cas/reconstructed/cat/000003.png") == pixels("x.png")).all()
    again = vqtok("eval", "test", "-m", prior, "--cas", "train", "-o", "cas")
    assert again.exit_code == 2
    assert "not empty" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "p", "--cas", "train"], "needs a directory"),
        (["--cas", "train", "-o", "cas"], "needs a prior"),
        (["-m", "p", "--cas-steps", "3"], "need --cas"),
    ],
)
def test_a_score_that_cannot_be_is_refused(
    arguments: list[str], message: str, vqtok: Run, prior: str
) -> None:
    result = vqtok("eval", "test", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
