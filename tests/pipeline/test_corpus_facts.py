"""What is told of a corpus that anybody may have made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.samples import small
from vqtok.pipeline.corpus_facts import corpus_facts


@pytest.mark.parametrize("evil", ["a\x1b[2J", "a\nb", "a\u202eb"])
def test_no_row_holds_what_a_terminal_would_obey(tmp_path: Path, evil: str) -> None:
    corpus = small()
    results = [f"a reason {evil}" for _ in corpus.results]
    names = [f"{evil}/{name}" for name in corpus.names]
    replace(corpus, names=names, results=results).write(tmp_path, "tar")
    rows = corpus_facts(tmp_path).rows()
    assert any("a reason" in text for _, text in rows)
    assert all(text.isprintable() for row in rows for text in row)
