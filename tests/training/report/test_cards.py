"""The card: what a stranger needs, true to the run, in Markdown that renders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_run import run
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.training.log import Evaluated
from vqtok.training.report import cards

IMAGE = CodeSpec("image", (LevelSpec("codes", ("h", "w"), 512, (8, 8)),))


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "command": "vqtok train --data photos",
        "recipe": {"about": "A test.", "train": {"batch": 4, "accumulate": 2, "holdout_items": 16}},
        "step": 30, "elapsed_s": 120.0, "device": "cpu", "precision": "float32", "files": 90,
        "held_out_files": 10, "metrics": {"psnr_db": 24.31, "use": 0.5, "perplexity": 200.0},
        "curve": [], "versions": {"vqtok": "1", "torch": "2"}, **changes,
    }  # fmt: skip


def test_it_says_how_to_use_the_model_and_how_it_was_made():
    text = cards.write("tokenizer", "my photos", IMAGE, facts())
    assert text.startswith("# my photos\n")
    assert "vqtok encode FILE -m 'my photos'" in text
    assert "```\nvqtok train --data photos\n```" in text
    assert "| PSNR | 24.31 dB |" in text
    assert (
        "PSNR of each file (centre 512 pixels at most), then the mean: RGB rounded to 8 bits"
        in text
    )
    assert "0.141 bits per pixel" in text
    assert "30 steps of 8 windows" in text
    assert text.endswith("`training.json`.\n")


def test_it_describes_the_data_and_what_was_left_out():
    data = {"kind": "image", "files": 90, "probed": 90, "labels": ["cat", "d|o_g"],
            "smallest": [8, 9], "median": [20, 10], "largest": [30, 40]}  # fmt: skip
    text = cards.write(
        "tokenizer",
        "m",
        IMAGE,
        facts(data=data, unreadable=3, notes=["12 audio files left out"], skipped=2),
    )
    assert "- 90 images to train on, 10 held out" in text
    assert "- sizes 9x8 to 40x30 pixels, the median 10x20" in text
    assert r"- 2 labels: cat, d\|o\_g" in text
    assert "- left out: 3 that cannot be read (`unreadable.txt`)" in text
    assert "- 12 audio files left out" in text
    assert "2 steps were skipped" in text


def test_recordings_have_hours_marked_as_estimated_if_they_are():
    data = {"kind": "audio", "files": 900, "probed": 180, "labels": [], "shortest_s": 1.0,
            "median_s": 2.5, "longest_s": 15.0, "rates": [16000, 24000], "hours": 2.71}  # fmt: skip
    spec = CodeSpec("audio", (LevelSpec("codes", ("t",), 512, (320,)),), rate=24000.0)
    text = cards.write("tokenizer", "m", spec, facts(data=data, metrics={"mel_distance": 1.5}))
    assert "- about 2.7 hours, 1.0 to 15.0 s each, the median 2.5 s; 16000, 24000 Hz" in text
    exact = cards.write("tokenizer", "m", spec, facts(data={**data, "probed": 900, "hours": 0.5}))
    assert "- 30.0 minutes, " in exact


def test_a_decoder_that_is_told_a_label_is_shown_with_one():
    text = cards.write(
        "tokenizer", "m", IMAGE, facts(data={"kind": "image", "labels": ["a cat", "dog"]})
    )
    assert "vqtok decode CODES.safetensors -m m --label 'a cat'\n" in text


def test_many_labels_are_counted():
    labels = [f"class{i}" for i in range(50)]
    text = cards.write("tokenizer", "m", IMAGE, facts(data={"kind": "image", "labels": labels}))
    assert "- 50 labels: class0, " in text
    assert text.partition("50 labels")[2].count("class") == cards.NAMED
    assert " and 30 more" in text


def test_a_continuous_model_has_no_codes_and_no_encode_command():
    text = cards.write(
        "tokenizer",
        "m",
        CodeSpec("image", ()),
        facts(metrics={"psnr_db": 20.0, "kl": 12.0, "active_units": 9}),
    )
    assert "vqtok encode" not in text
    assert "| KL divergence | 12 nats per position |" in text
    assert "| active units | 9 |" in text


def test_file_names_of_any_bytes_do_not_break_it():
    cards.write("tokenizer", "caf\udce9", IMAGE, facts(notes=["\udce9.png left out"])).encode()


def targets(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def test_a_run_leaves_a_card_whose_links_lead_somewhere(photos: Path, tmp_path: Path):
    events = run(photos, tmp_path / "m", "train.steps=20")
    text = (tmp_path / "m" / "README.md").read_text()
    best = [e for e in events if isinstance(e, Evaluated) and e.best][-1].step
    assert targets(text) == [f"previews/step-{best:07d}.png", "curve.svg"]
    assert all((tmp_path / "m" / each).is_file() for each in targets(text))
    facts = json.loads((tmp_path / "m" / "training.json").read_text())
    assert facts["data"]["median"][0] >= 24
    # Previews of measurements in between are gone.
    assert len(list((tmp_path / "m" / "previews").iterdir())) <= 6


def test_an_audio_card_lists_originals_beside_reconstructions(clips: Path, tmp_path: Path):
    run(clips, tmp_path / "m", "train.steps=4", audio=True)
    text = (tmp_path / "m" / "README.md").read_text()
    sounds = [each for each in targets(text) if each.endswith(".wav")]
    assert len(sounds) >= 2
    assert all((tmp_path / "m" / each).stat().st_size > 44 for each in sounds)
    originals = list((tmp_path / "m" / "previews").glob("original-*"))
    assert len(originals) == len(sounds) // 2


def test_the_card_shows_the_best_model_and_not_the_last(tmp_path: Path):
    (tmp_path / "previews").mkdir()
    for step in (10, 20):
        (tmp_path / "previews" / f"step-{step:07d}.png").touch()
    text = cards.compose("tokenizer", tmp_path, IMAGE, facts(best_step=10, step=20))
    assert targets(text) == ["previews/step-0000010.png"]
    assert "the model of step 10" in text


@pytest.mark.parametrize("curve", [[], [{"step": 1, "psnr_db": 1.0}]])
def test_one_measurement_is_no_table_of_a_curve(curve):
    assert "| step |" not in cards.write("tokenizer", "m", IMAGE, facts(curve=curve))


def test_a_table_of_a_curve_has_the_last_row_and_no_gaps_for_values_that_are_missing():
    curve = [{"step": i, "psnr_db": float(i), "use": None} for i in range(1, 31)]
    text = cards.write("tokenizer", "m", IMAGE, facts(curve=curve))
    rows = [line for line in text.splitlines() if re.match(r"\| \d", line)]
    assert rows[-1] == "| 30 | 30.00 | - |"
    assert len(rows) <= 12
