"""``vqtok pack`` and ``unpack``: there and back, as files, folders and what other commands read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vqtok.codes import files
from vqtok.corpus.reader import CorpusReader


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_packed_codes_unpack_to_the_same_bytes(vqtok, picture, here, suffix):
    vqtok("encode", picture(), "-o", f"codes.{suffix}")
    result = vqtok("pack", f"codes.{suffix}", "-o", "small.vqz")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "small.vqz\n"
    assert "bits a code, headers included" in result.stderr
    assert vqtok("unpack", "small.vqz", "-o", f"again.{suffix}").exit_code == 0
    assert (here / f"again.{suffix}").read_bytes() == (here / f"codes.{suffix}").read_bytes()


def test_codes_are_packed_as_they_are_made_and_decoded_as_any(vqtok, picture, here):
    vqtok("encode", picture(), "-o", "codes.npy")
    assert vqtok("encode", "photo.png", "-o", "codes.vqz").exit_code == 0
    vqtok("pack", "codes.npy", "-o", "later.vqz")
    assert (here / "codes.vqz").read_bytes() == (here / "later.vqz").read_bytes()
    vqtok("decode", "codes.npy", "-o", "a.png")
    assert vqtok("decode", "codes.vqz", "-o", "b.png").exit_code == 0
    assert (here / "a.png").read_bytes() == (here / "b.png").read_bytes()
    plain, packed = (
        json.loads(vqtok("info", f"codes.{suffix}", "--json").stdout) for suffix in ("npy", "vqz")
    )
    assert packed["size_bytes"] == (here / "codes.vqz").stat().st_size
    differing = {key for key in plain if plain[key] != packed[key]}
    assert plain.keys() == packed.keys()
    assert differing <= {"subject", "source", "file", "size_bytes"}, differing


def test_packed_codes_go_through_pipes(vqtok, picture, here):
    made = vqtok("encode", picture(), "-o", "-", "--format", "vqz").stdout_bytes
    assert vqtok("decode", "-", "-o", "a.png", input=made).exit_code == 0
    vqtok("encode", "photo.png", "-o", "b.npy")
    vqtok("decode", "b.npy", "-o", "b.png")
    assert (here / "a.png").read_bytes() == (here / "b.png").read_bytes()


def test_a_folder_is_packed_and_goes_on_where_it_was_stopped(vqtok, picture, here):
    for number in range(3):
        picture(f"photos/{number}.png", width=20 + number)
    vqtok("encode", "photos/", "-o", "codes/", "--format", "npy")
    vqtok("pack", "codes/1.npy", "-o", "packed/")
    result = vqtok("pack", "codes/", "-o", "packed/", "--skip-existing")
    assert result.exit_code == 0
    assert "skipped 1 existing output" in result.stderr
    assert vqtok("unpack", "packed/", "-o", "again/", "--format", "npy").exit_code == 0
    for number in range(3):
        expected = (here / f"codes/{number}.npy").read_bytes()
        assert (here / f"again/{number}.npy").read_bytes() == expected


def test_one_bad_file_fails_alone(vqtok, picture, here):
    vqtok("encode", picture(), "-o", "good.npy")
    (here / "bad.npy").write_bytes((here / "good.npy").read_bytes()[:-3])
    result = vqtok("pack", "bad.npy", "good.npy", "-o", "packed/")
    assert result.exit_code == 1
    assert "bad.npy: " in result.stderr
    assert [path.name for path in (here / "packed").iterdir()] == ["good.vqz"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pack", "codes.npy", "-o", "codes.npy2"), "not what is written"),
        (("pack", "codes.npy", "-o", "x.npy"), "not what is written"),
        (("unpack", "codes.npy", "-o", "x.vqz"), "not what is written"),
        (("unpack", "codes.npy", "--format", "vqz"), "npy or safetensors"),
        (("pack", "-"), "not streams"),
    ],
)
def test_what_cannot_be_packed_is_refused_before_any_work(vqtok, picture, arguments, words):
    vqtok("encode", picture(), "-o", "codes.npy")
    result = vqtok(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def made_corpus(vqtok, picture, here: Path) -> list[str]:
    for name in ("cats/1.png", "cats/1.webp", "dogs/two.left.png", "top.png"):
        picture(f"photos/{name}", width=20 + len(name))
    (here / "photos/dogs/two.left.txt").write_text("a dog")
    done = vqtok(
        "encode",
        "photos/",
        "--format",
        "tar",
        "--carry",
        "txt",
        "-o",
        "corpus/",
        "--shard-size",
        "2",
    )
    assert done.exit_code == 0, done.stderr
    return [entry.name for entry in CorpusReader(here / "corpus")]


@pytest.mark.parametrize("format", ["tar", "files", "parquet"])
def test_a_corpus_is_packed_and_unpacked_to_the_same_items(vqtok, picture, here, format):
    names = made_corpus(vqtok, picture, here)
    packed = vqtok("pack", "corpus/", "-o", "packed/")
    assert packed.exit_code == 0, packed.stderr
    assert "bits a code, headers included" in packed.stderr
    for name in names:
        assert (here / f"packed/{name}.vqz").is_file()
    done = vqtok("unpack", "packed/", "-o", "again/", "--format", format)
    assert done.exit_code == 0, done.stderr
    before, after = CorpusReader(here / "corpus"), CorpusReader(here / "again")
    assert after.info.format == format
    for a, b in zip(before, after, strict=True):
        assert (a.name, a.number, a.header, a.carried) == (b.name, b.number, b.header, b.carried)
        np.testing.assert_array_equal(a.codes.levels[0], b.codes.levels[0])
    assert any(entry.carried == {"txt": b"a dog"} for entry in after)


def test_packing_a_corpus_overwrites_nothing_and_goes_on(vqtok, picture, here):
    names = made_corpus(vqtok, picture, here)
    assert vqtok("pack", "corpus/", "-o", "packed/").exit_code == 0
    whole = {name: (here / f"packed/{name}.vqz").read_bytes() for name in names}
    (here / f"packed/{names[1]}.vqz").unlink()
    again = vqtok("pack", "corpus/", "-o", "packed/")
    assert again.exit_code == 2 and "already exists" in again.stderr
    again = vqtok("pack", "corpus/", "-o", "packed/", "--skip-existing")
    assert again.exit_code == 0
    assert f"skipped {len(names) - 1} existing" in again.stderr
    assert {name: (here / f"packed/{name}.vqz").read_bytes() for name in names} == whole
    assert vqtok("pack", "corpus/", "corpus/", "-o", "x/").exit_code == 2
    assert vqtok("pack", "corpus/").exit_code == 2
    assert vqtok("unpack", "corpus/", "-o", "x/", "--format", "tar").exit_code == 2


def test_a_link_that_leads_out_of_the_folder_costs_its_items_alone(vqtok, picture, here):
    picture("photos/in/a.png")
    picture("photos/out/b.png")
    assert vqtok("encode", "photos", "--format", "tar", "-o", "corpus/").exit_code == 0
    (here / "elsewhere").mkdir()
    (here / "packed").mkdir()
    (here / "packed" / "out").symlink_to(here / "elsewhere")
    found = vqtok("pack", "corpus/", "-o", "packed/")
    assert found.exit_code == 1
    assert "a link leads outside" in found.stderr
    assert not any((here / "elsewhere").iterdir())
    assert [each.name for each in (here / "packed" / "in").iterdir()] == ["a.png.vqz"]


def test_a_corpus_of_files_of_which_one_is_bad_lacks_that_one(vqtok, picture, here):
    names = made_corpus(vqtok, picture, here)
    vqtok("pack", "corpus/", "-o", "packed/")
    bad = here / f"packed/{names[0]}.vqz"
    bad.write_bytes(bad.read_bytes()[:-1])
    for _ in range(2):  # and going on with what is complete says so again
        done = vqtok("unpack", "packed/", "-o", "again/", "--format", "tar")
        assert done.exit_code == 1
    reader = CorpusReader(here / "again")
    assert [entry.name for entry in reader] == names[1:]
    ((name, reason),) = reader.failures()
    assert name == names[0] and "damaged" in reason


def test_unpacking_to_a_corpus_goes_on_after_any_item(vqtok, picture, here, monkeypatch):
    names = made_corpus(vqtok, picture, here)
    vqtok("pack", "corpus/", "-o", "packed/")
    vqtok("unpack", "packed/", "-o", "whole/", "--format", "tar")
    read, left = files.read, len(names) // 2

    def killed(*args, **kwargs):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return read(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("vqtok.pipeline.packed_corpora.files.read", killed)
        assert vqtok("unpack", "packed/", "-o", "again/", "--format", "tar").exit_code == 130
    assert not (here / "again/index.json").exists()
    assert vqtok("unpack", "packed/", "-o", "again/", "--format", "tar").exit_code == 0
    assert tree(here / "again") == tree(here / "whole")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_recordings_keep_channels_rate_and_stages(vqtok, recording, here: Path):
    vqtok("encode", recording(), "-o", "sound.npy")
    vqtok("pack", "sound.npy")
    before, header = files.read(here / "sound.npy")
    after, again = files.read(here / "sound.vqz")
    assert again == header
    np.testing.assert_array_equal(before.levels[0], after.levels[0])


def test_a_context_model_is_trained_on_codes_packs_them_and_is_needed_again(
    vqtok, picture, here: Path
):
    for number in range(12):
        picture(f"photos/{number}.png", width=32 + number, height=32)
    vqtok("encode", "photos/", "-o", "codes/", "--format", "npy")
    sizes = ("width=16", "blocks=1", "embedding=4", "query=4")
    settings = [part for each in sizes for part in ("--set", f"model.{each}")]
    trained = vqtok(
        "train", "--data", "codes/", "--preset", "context", "-o", "mine/", "--steps", "2", *settings
    )
    assert trained.exit_code == 0, trained.stderr
    assert "vqtok pack CODES/ -o PACKED/ --context mine/" in trained.stderr
    packed = vqtok("pack", "codes/", "-o", "packed/", "--context", "mine/")
    assert packed.exit_code == 0, packed.stderr
    assert vqtok("unpack", "packed/", "-o", "again/", "--format", "npy", "--context", "mine/")
    for number in range(12):
        before = (here / f"codes/{number}.npy").read_bytes()
        assert (here / f"again/{number}.npy").read_bytes() == before
    alone = vqtok("unpack", "packed/3.vqz", "-o", "x.npy")
    assert alone.exit_code == 1
    assert "context model" in alone.stderr
    assert not (here / "x.npy").exists()
