"""Models that are told a class or speaker, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch

from tests.cli.pictures import look
from tests.conftest import TINY_AUDIO, TINY_IMAGE
from vqtok import config
from vqtok.checkpoints import directory
from vqtok.protocols import Config

NAMES = ("anna", "bert")


@pytest.fixture
def told(here: Path) -> Path:
    """Models with labels in the current directory: "pictures" and "voices"."""
    for name, data in (("pictures", TINY_IMAGE), ("voices", TINY_AUDIO)):
        torch.manual_seed(0)
        model = config.parse(data | {"labels": NAMES}, Config).build().eval()
        torch.nn.init.normal_(model.labels.vectors, std=3.0)
        directory.save(here / name, model, training={"step": 3, "files": 2})
    return here


def test_decode_is_told_the_class(vqtok, picture, told):
    picture("cat.png")
    assert vqtok("encode", "cat.png", "-m", "./pictures", "-o", "cat.npy").exit_code == 0
    pictures = []
    for name in NAMES:
        run = vqtok("decode", "cat.npy", "-m", "./pictures", "--label", name, "-o", f"{name}.png")
        assert run.exit_code == 0, run.stderr
        pictures.append(look(f"{name}.png").tobytes())
    assert pictures[0] != pictures[1]


def test_speaker_is_another_word_for_label(vqtok, recording, told):
    recording("speech.wav")
    assert vqtok("encode", "speech.wav", "-m", "./voices").exit_code == 0
    sounds = []
    for flag, name in (("--speaker", "anna"), ("--label", "anna"), ("--speaker", "bert")):
        run = vqtok(
            "decode", "speech.safetensors", "-m", "./voices", flag, name, "-f", "-o", "a.wav"
        )
        assert run.exit_code == 0, run.stderr
        sounds.append(soundfile.read("a.wav")[0].tobytes())
    assert sounds[0] == sounds[1] != sounds[2]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "no label given"),
        (("--label", "anne"), "did you mean anna?"),
    ],
)
def test_a_missing_or_unknown_label_exits_2(vqtok, picture, told, flags, said):
    picture("cat.png")
    vqtok("encode", "cat.png", "-m", "./pictures", "-o", "cat.npy")
    run = vqtok("decode", "cat.npy", "-m", "./pictures", *flags)
    assert run.exit_code == 2
    assert said in run.stderr


def test_a_model_without_labels_refuses_one_with_exit_2(vqtok, picture):
    picture("cat.png")
    vqtok("encode", "cat.png", "-o", "cat.npy")
    run = vqtok("decode", "cat.npy", "--label", "anna")
    assert run.exit_code == 2
    assert "without labels" in run.stderr


def test_a_corpus_is_decoded_with_a_label(vqtok, picture, told):
    picture("in/cat.png")
    assert vqtok("encode", "in", "-m", "./pictures", "--format", "tar", "-o", "c").exit_code == 0
    run = vqtok("decode", "c", "-m", "./pictures", "-o", "out", "--label", "bert")
    assert run.exit_code == 0, run.stderr
    vqtok("encode", "in/cat.png", "-m", "./pictures", "-o", "cat.npy")
    vqtok("decode", "cat.npy", "-m", "./pictures", "--label", "bert", "-o", "alone.png")
    assert look("out/cat.recon.png").tobytes() == look("alone.png").tobytes()
    assert vqtok("decode", "c", "-m", "./pictures", "-o", "out2").exit_code == 2


def test_eval_takes_the_label_from_the_directory(vqtok, picture, told):
    picture("data/anna/1.png")
    picture("data/dora/2.png")
    run = vqtok("eval", "data/anna", "-m", "./pictures", "--json")
    assert run.exit_code == 0, run.stderr
    by_folder = json.loads(run.stdout.splitlines()[0])["psnr_db"]
    values = [
        json.loads(
            vqtok(
                "eval", "data/anna", "-m", "./pictures", "--json", "--label", name
            ).stdout.splitlines()[0]
        )["psnr_db"]
        for name in NAMES
    ]
    assert by_folder == values[0] != values[1]
    run = vqtok("eval", "data", "-m", "./pictures")
    assert run.exit_code == 1
    assert "'dora' is no label" in run.stderr and "--label" in run.stderr


def test_info_lists_the_labels(vqtok, told):
    assert "labels:" in vqtok("info", "./pictures").stdout
    assert json.loads(vqtok("info", "./pictures", "--json").stdout)["labels"] == list(NAMES)
    assert json.loads(vqtok("info", "image-f8", "--json").stdout)["labels"] == []
