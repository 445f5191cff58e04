"""Codes are found wherever they lie, and each is named after its directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import coded
from tests.corpus.samples import small
from vqtok.corpus.formats import FORMATS
from vqtok.corpus.reader import Found, Unread, gather
from vqtok.errors import CodesError


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_items_of_a_corpus_have_their_directories_as_labels(
    format: str, kind: str, tmp_path: Path
) -> None:
    corpus = small(kind)
    corpus.write(tmp_path / "corpus", format)
    found = list(gather([tmp_path / "corpus"], []))
    good = [n for n, result in enumerate(corpus.results) if not isinstance(result, str)]
    assert [each.label for each in found] == [corpus.names[n].rpartition("/")[0] for n in good]
    for each, number in zip(found, good, strict=True):
        assert isinstance(each, Found)
        codes, header = corpus.results[number]
        assert each.header == header
        for ours, theirs in zip(each.codes.levels, codes.levels, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_loose_files_are_labelled_relative_to_the_folder_that_was_named(tmp_path: Path) -> None:
    root = tmp_path / "all"
    for name in ("a/b/1.npy", "a/2.safetensors", "3.npy"):
        coded.write(root / name, coded.codes_of(coded.IMAGE, (8, 8), seed=0))
    paths = [(path, root) for path in sorted(root.rglob("*.*"))]
    labels = {each.name: each.label for each in gather([], paths)}  # type: ignore[union-attr]
    assert {Path(name).name: label for name, label in labels.items()} == {
        "1.npy": "a/b",
        "2.safetensors": "a",
        "3.npy": "all",
    }
    (named,) = gather([], [(root / "a/2.safetensors", None)])
    assert isinstance(named, Found)
    assert named.label == "a"


def test_a_damaged_file_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    coded.write(tmp_path / "good.npy", coded.codes_of(coded.IMAGE, (8, 8), seed=0))
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY but no more")
    found = list(gather([], [(tmp_path / f"{name}.npy", tmp_path) for name in ("bad", "good")]))
    assert isinstance(found[0], Unread)
    assert "bad.npy" in str(found[0].error)
    assert isinstance(found[1], Found)


def test_an_unfinished_corpus_is_an_error(tmp_path: Path) -> None:
    with small().open(tmp_path / "corpus", "bin") as writer:
        small().put(writer, 0)
    with pytest.raises(CodesError, match="unfinished"):
        list(gather([tmp_path / "corpus"], []))
