"""Codes of many items in one file: all come back as they were, by any part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import coded
from tests.corpus.samples import SPECS, Corpus, item
from vqtok.codes import files
from vqtok.errors import CodesError, UsageError
from vqtok.training.data.code_items import find_codes, is_codes


def test_items_come_back_as_they_lie_in_their_files(tmp_path: Path) -> None:
    folder = coded.folder(tmp_path / "codes", coded.TWO)
    items, unreadable = find_codes([str(folder)])
    assert not unreadable
    assert len(items) == 12
    assert items.names == ("cat", "dog")
    assert items.labels().tolist() == [0] * 6 + [1] * 6
    assert items.origin.spec == coded.TWO
    assert items.origin.model == "a-model"
    for number in (11, 0, 7):
        codes, _ = files.read(Path(items[number]))
        for ours, theirs in zip(items.levels(number), codes.levels, strict=True):
            np.testing.assert_array_equal(ours, theirs[0])
    part = items.subset(np.array([3, 9])).subset(np.array([1]))
    assert part[0] == items[9]
    assert part.labels().tolist() == [1]
    assert part.tokens == coded.TWO.tokens((32, 24))


@pytest.mark.parametrize("format", ["bin", "tar", "parquet"])
def test_each_channel_of_a_recording_is_an_item(format: str, tmp_path: Path) -> None:
    spec = SPECS["audio"]
    results = [item(spec, seed, depth=2) for seed in range(5)]
    Corpus(spec, [f"voice/{n}.wav" for n in range(5)], results).write(tmp_path / "c", format)
    items, _ = find_codes([str(tmp_path / "c")])
    channels = [(codes, each) for codes, _ in results for each in range(len(codes))]
    assert len(items) == len(channels) > 5
    assert items.origin.depth == 2
    for number, (codes, channel) in enumerate(channels):
        np.testing.assert_array_equal(items.levels(number)[0], codes.levels[0][channel])
        assert tuple(items.extents[number]) == codes.extent


def test_classes_of_a_model_give_the_numbers(tmp_path: Path) -> None:
    items, _ = find_codes([str(coded.folder(tmp_path / "codes", classes=("a", "b", "c"), each=1))])
    numbered = items.with_classes(("c", "x", "a"))
    assert numbered.names == ("c", "x", "a")
    assert numbered.labels().tolist() == [2, -1, 0]


def test_codes_of_two_models_are_refused_by_name(tmp_path: Path) -> None:
    coded.write(tmp_path / "1.npy", coded.codes_of(coded.IMAGE, (8, 8), seed=0), model="one")
    other = coded.IMAGE.with_fingerprint("9999")
    coded.write(tmp_path / "2.npy", coded.codes_of(other, (8, 8), seed=0), model="two")
    with pytest.raises(UsageError, match=r"two models.*1\.npy of one .*2\.npy of two"):
        find_codes([str(tmp_path)])


def test_codes_of_two_depths_are_refused(tmp_path: Path) -> None:
    for depth in (2, 3):
        codes = coded.codes_of(coded.AUDIO, (800,), seed=0, depth=depth)
        coded.write(tmp_path / f"{depth}.npy", codes)
    with pytest.raises(UsageError, match=r"2\.npy has 2 stages.*3\.npy has 3"):
        find_codes([str(tmp_path)])


def test_broken_files_are_left_out_and_named(tmp_path: Path) -> None:
    coded.write(tmp_path / "1.npy", coded.codes_of(coded.IMAGE, (8, 8), seed=0))
    np.save(tmp_path / "foreign.npy", np.zeros((2, 2), np.uint8))
    items, unreadable = find_codes([str(tmp_path)])
    assert len(items) == 1
    assert list(unreadable) == [str(tmp_path / "foreign.npy")]
    (tmp_path / "1.npy").unlink()
    with pytest.raises(CodesError, match="without a vqtok header"):
        find_codes([str(tmp_path)])


def test_folders_of_codes_are_not_folders_of_media(tmp_path: Path) -> None:
    coded.write(tmp_path / "codes/a/1.npy", coded.codes_of(coded.IMAGE, (8, 8), seed=0))
    coded.write(tmp_path / "mixed/1.npy", coded.codes_of(coded.IMAGE, (8, 8), seed=0))
    (tmp_path / "mixed/z.png").touch()
    (tmp_path / "empty").mkdir()
    Corpus(SPECS["image"], ["1.png"], [item(SPECS["image"], 1)]).write(tmp_path / "corpus", "tar")
    verdicts = {
        name: is_codes([str(tmp_path / name)])
        for name in ("codes", "codes/a/1.npy", "corpus", "mixed", "mixed/z.png", "empty")
    }
    assert verdicts == {
        "codes": True,
        "codes/a/1.npy": True,
        "corpus": True,
        "mixed": False,
        "mixed/z.png": False,
        "empty": False,
    }
