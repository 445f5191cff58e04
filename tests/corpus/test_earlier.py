"""Corpora that vqtok 0.1.0 wrote, whole and cut short, in ``tests/data/corpora-0.1.0.tar.gz``."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.corpus.samples import contents, small
from vqtok.corpus.formats import FORMATS

ARCHIVE = Path(__file__).parents[1] / "data" / "corpora-0.1.0.tar.gz"


@pytest.mark.parametrize("format", FORMATS)
def test_an_earlier_corpus_is_read_and_a_half_written_one_goes_on(tmp_path: Path, format: str):
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None and member.name.startswith(f"{format}/"):
                (tmp_path / member.name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / member.name).write_bytes(content.read())
    whole, half = tmp_path / format / "whole", tmp_path / format / "half"
    corpus = small("audio", count=7)
    corpus.assert_read_back(whole)
    with corpus.open(half, format) as writer:
        assert list(writer.pending()) == [4, 6]
    corpus.write(half, format)
    corpus.assert_read_back(half)
    if format in ("files", "tar", "bin"):  # tables name the version of pyarrow
        assert contents(half) == contents(whole)
    more = small("audio", count=10)
    with more.open(whole, format, append=True) as writer:
        assert list(writer.pending()) == [7, 8, 9]
        for number in (7, 8, 9):
            more.put(writer, number)
        writer.finish()
    more.assert_read_back(whole)
