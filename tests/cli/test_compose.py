"""``vqtok compose`` and the way back, from pictures and captions to a stream and to pictures."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.compose import words
from tests.compose.test_stream import megatron
from tests.media.test_datasets import IMAGES, TEXTS, saved
from vqtok.compose.reader import StreamReader


@pytest.fixture
def photos(vqtok, here, picture) -> Path:
    """Three pictures, two of which have captions, and a tokenizer."""
    for number in range(3):
        picture(f"photos/{number}.png", width=20 + 8 * number, height=16)
    for number in (0, 2):
        (here / f"photos/{number}.txt").write_text(f"picture {number}")
    words.write_tokenizer(here / "tokenizer.json")
    assert vqtok("encode", "photos", "--format", "tar", "--carry", "txt", "-o", "c").exit_code == 0
    return here / "photos"


def test_a_stream_comes_back_as_pictures_and_captions(vqtok, photos, here):
    assert vqtok("encode", "photos", "--format", "bin", "--carry", "none", "-o", "b").exit_code == 0
    result = vqtok("compose", "b", "-o", "plain")
    assert (result.exit_code, result.stdout) == (0, "plain\n")
    assert (here / "plain/tokens.bin").read_bytes() == (here / "b/tokens.bin").read_bytes()

    result = vqtok("compose", "c", "--tokenizer", "tokenizer.json", "-o", "t")
    assert result.exit_code == 1
    assert "Error: 1 items without text: t/missing.jsonl" in result.stderr
    assert vqtok("decode", "t", "-o", "seen").exit_code == 0
    vqtok("decode", "c", "-o", "direct")
    for number in (0, 2):
        one, two = (here / f"{d}/{number}.recon.png" for d in ("seen", "direct"))
        assert one.read_bytes() == two.read_bytes()
    assert (here / "seen/document-000001.txt").read_text() == "picture 2"
    again = vqtok("compose", "c", "--tokenizer", "tokenizer.json", "-o", "t")
    assert "complete already" in again.stderr


def test_a_rehearsal_writes_nothing_and_counts(vqtok, photos, here):
    before = sorted(path.name for path in here.iterdir())
    result = vqtok("compose", "c", "--tokenizer", "tokenizer.json", "-n", "--json")
    data = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (data["documents"], data["missing"]) == (2, 1)
    assert data["kinds"]["text"] == 2 * len("picture 0")
    assert sorted(path.name for path in here.iterdir()) == before


def test_a_stream_is_no_corpus(vqtok, photos):
    vqtok("compose", "c", "-o", "t")
    result = vqtok("compose", "t", "-o", "u")
    assert result.exit_code == 2 and "Error: t: a stream, not a corpus" in result.stderr


def test_info_describes_a_stream(vqtok, photos):
    vqtok("compose", "c", "-o", "t", "--layout", "rows", "--mode", "codes")
    rows = vqtok("info", "t").stdout
    assert "stream of token ids, format bin" in rows and "3, the longest of" in rows
    data = json.loads(vqtok("info", "t", "--json").stdout)
    assert (data["kind"], data["documents"]) == ("stream", 3)


def test_ids_of_a_model_are_decoded_and_damaged_ones_refused(vqtok, photos, here):
    vqtok("compose", "c", "-o", "t", "--layout", "rows", "--mode", "codes")
    vqtok("decode", "t", "-o", "seen")
    ids = [document.ids.tolist() for document in StreamReader(here / "t").documents()]
    (here / "ids.json").write_text(json.dumps(ids))
    result = vqtok("decode", "ids.json", "--vocabulary", "t/vocabulary.json", "-o", "whole")
    assert result.exit_code == 0
    for number in range(3):
        with Image.open(here / f"whole/document-{number:06d}.recon.png") as image:
            found = np.asarray(image)
        with Image.open(here / f"seen/{number}.recon.png") as image:
            expected = np.asarray(image)
        # The original's size is not in the ids: what is beyond it is the padding.
        np.testing.assert_array_equal(found[: len(expected), : expected.shape[1]], expected)

    (here / "short.json").write_text(json.dumps([ids[0], [*ids[1][:6], *ids[1][7:]]]))
    result = vqtok("decode", "short.json", "--vocabulary", "t", "-o", "short")
    assert result.exit_code == 1
    assert "short.json: list 1, position 1:" in result.stderr and "--lenient" in result.stderr
    assert [path.name for path in (here / "short").iterdir()] == ["document-000000.recon.png"]
    result = vqtok("decode", "short.json", "--vocabulary", "t", "-o", "lenient", "--lenient")
    assert result.exit_code == 0 and "cut or filled" in result.stderr
    assert len(list((here / "lenient").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("c",), "a stream is a folder"),
        (("c", "-o", "t", "--text", "x.jsonl"), "through which tokenizer"),
        (("c", "-o", "t", "--layout", "emu4"), "unknown layout"),
        (("c", "-o", "t", "--mode", "x"), "unknown mode"),
        (("c", "-o", "t", "--format", "x"), "unknown format"),
        (("c", "-o", "t", "--split", "1.5"), "not a part between"),
        (("c", "-o", "t", "--shard", "4/4"), "no part"),
        (("c", "-o", "t", "--tokenizer", "photos/0.png"), "not a tokenizer.json"),
        (("c", "-o", "t", "--tokenizer", "tokenizer.json", "--text", "no.jsonl"), "no such file"),
        (("c", "-o", "c"), "holds something else"),
    ],
)
def test_mistakes_are_one_line(vqtok, photos, arguments: tuple[str, ...], message: str):
    result = vqtok("compose", *arguments)
    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1 and re.search(message, errors[0]), result.stderr


def test_parts_that_a_fleet_encodes_compose_to_the_whole(vqtok, photos, here):
    for part in range(2):
        arguments = ("--format", "bin", "--carry", "none", "--shard", f"{part}/2")
        assert vqtok("encode", "photos", *arguments, "-o", f"p{part}").exit_code == 0
    assert vqtok("encode", "photos", "--format", "bin", "--carry", "none", "-o", "b").exit_code == 0
    parts = b"".join((here / f"p{part}/tokens.bin").read_bytes() for part in range(2))
    assert parts == (here / "b/tokens.bin").read_bytes()
    assert vqtok("compose", "p0", "p1", "-o", "whole").exit_code == 0
    assert (here / "whole/tokens.bin").read_bytes() == parts
    assert vqtok("encode", "photos", "--shard", "0/2").exit_code == 2


def test_a_packed_stream_is_decoded(vqtok, photos, here):
    vqtok("compose", "c", "-o", "t", "--pack", "32", "--shuffle", "3", "--split", "0.3")
    assert sum(map(len, megatron(here / "t/train.bin"))) > 0
    assert vqtok("decode", "t", "-o", "seen").exit_code == 0
    assert len(list((here / "seen").iterdir())) == 3


def test_a_saved_data_set_becomes_a_stream_with_its_texts(vqtok, here):
    pytest.importorskip("pyarrow")
    saved(here / "d", {"image": IMAGES, "caption": TEXTS})
    words.write_tokenizer(here / "tokenizer.json")
    result = vqtok("encode", "hf-dataset:d#image", "--format", "tar", "-o", "c")
    assert result.exit_code == 0, result.stderr
    result = vqtok("compose", "c", "--tokenizer", "tokenizer.json", "-o", "t")
    assert result.exit_code == 0, result.stderr
    vqtok("decode", "t", "-o", "seen")
    found = sorted(path.read_text() for path in (here / "seen").glob("*.txt"))
    assert found == sorted(TEXTS)
    assert len(list((here / "seen").glob("*.png"))) == 5


@pytest.fixture
def flat(vqtok, here) -> Path:
    """Three pictures of few colours and a recording: their codes come again."""
    for number, colour in enumerate(((200, 30, 30), (30, 200, 30), (200, 30, 30))):
        (here / "flat").mkdir(exist_ok=True)
        Image.new("RGB", (48, 40), colour).save(here / f"flat/{number}.png")
    for command in ("encode flat --format bin -o c", "train --data c --preset bpe -o m"):
        result = vqtok(*command.split())
        assert result.exit_code == 0, result.stderr
    return here / "flat"


def test_merges_shorten_a_stream_that_comes_back(vqtok, flat, here):
    result = vqtok("compose", "c", "--layout", "rows", "--mode", "codes", "-o", "plain", "--json")
    plain = json.loads(result.stdout)
    result = vqtok(
        "compose", "c", "--merges", "m", "--layout", "rows", "--mode", "codes", "-o", "t"
    )
    assert result.exit_code == 0, result.stderr
    line = r"merges: 30\.0 → (\d+\.\d) tokens an image, 180 → \d+ nominal bits"
    found = re.search(line, result.stderr)
    assert found is not None and float(found[1]) < 25, result.stderr
    assert "merges" in vqtok("info", "t").stdout
    data = json.loads(vqtok("info", "t", "--json").stdout)
    saved = data["merged"][0]
    assert plain["tokens"] - data["tokens"] == saved["codes"] - saved["tokens"] > 0
    assert data["vocabulary"]["size"] == plain["vocabulary"] + saved["merges"]
    assert vqtok("decode", "t", "-o", "seen").exit_code == 0
    vqtok("decode", "c", "-o", "direct")
    ids = [document.ids.tolist() for document in StreamReader(here / "t").documents()]
    (here / "ids.json").write_text(json.dumps(ids))
    result = vqtok("decode", "ids.json", "--vocabulary", "t/vocabulary.json", "-o", "sampled")
    assert result.exit_code == 0, result.stderr
    for number in range(3):
        direct = (here / f"direct/{number}.recon.png").read_bytes()
        assert (here / f"seen/{number}.recon.png").read_bytes() == direct
        assert (here / f"sampled/document-{number:06d}.recon.png").read_bytes() == direct
    (here / "t/merges.json").unlink()
    result = vqtok("decode", "ids.json", "--vocabulary", "t/vocabulary.json", "-o", "again")
    assert result.exit_code == 2 and "Error: t/merges.json: cannot read" in result.stderr


def test_learned_merges_are_kept_and_resumed_and_replaced_when_asked(vqtok, flat, here):
    before = (here / "m/merges.json").read_bytes()
    again = vqtok("train", "--data", "c", "--preset", "bpe", "-o", "m")
    assert again.exit_code == 2 and "already holds merges" in again.stderr
    again = vqtok("train", "--data", "c", "--preset", "bpe", "-o", "m", "--resume")
    assert again.exit_code == 0 and "complete already" in again.stderr
    other = ("train", "--data", "c", "--preset", "bpe", "-o", "m", "--set", "merges.count=2")
    again = vqtok(*other, "--resume")
    assert again.exit_code == 2 and "learned otherwise: recipe" in again.stderr
    assert (here / "m/merges.json").read_bytes() == before
    assert vqtok(*other, "-f").exit_code == 0
    assert len(json.loads((here / "m/merges.json").read_bytes())["tokenizers"][0]["pairs"]) == 2
    # As after a run that was killed: there is nothing to go on with, and it comes out the same.
    assert vqtok("train", "--data", "c", "--preset", "bpe", "-o", "n", "--resume").exit_code == 0
    assert (here / "n/merges.json").read_bytes() == before
    before_n = sorted(here.iterdir())
    rehearsed = vqtok("train", "--data", "c", "--preset", "bpe", "-n", "--json")
    assert json.loads(rehearsed.stdout)["merges"] is None and sorted(here.iterdir()) == before_n


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "flat"), "--data flat: merges are learned from corpora"),
        (("--data", "c", "--steps", "3"), "--steps: of no effect on merges"),
        (("--data", "c", "--set", "merges.longest=1"), "longest is not between 2 and 1024"),
        (("--data", "c", "--set", "merges.cuont=1"), r"merges\.cuont: unknown key"),
        (("--data", "c", "--set", "merges.layout=emu4"), "unknown layout"),
        (
            ("--data", "c", "--set", "merges.min_count=99"),
            "no two codes follow each other 99 times",
        ),
    ],
)
def test_mistakes_in_learning_merges_are_one_line(vqtok, flat, here, arguments, message: str):
    result = vqtok("train", *arguments, "--preset", "bpe", "-o", "n")
    assert result.exit_code in (1, 2)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1 and re.search(message, errors[0]), result.stderr
    assert not (here / "n").exists()


def test_without_the_package_merges_say_what_to_install(vqtok, flat, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for arguments in (
        ("train", "--data", "c", "--preset", "bpe", "-o", "n"),
        ("compose", "c", "--merges", "m", "-o", "t"),
    ):
        result = vqtok(*arguments)
        assert result.exit_code == 2
        assert "merges need the package tokenizers" in result.stderr
        assert "pip install 'vqtok[text]'" in result.stderr
