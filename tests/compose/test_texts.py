"""Texts are found by key, whatever holds them, and mistakes in them are named."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from vqtok.compose.texts import open_texts
from vqtok.corpus.runs import RunItem
from vqtok.errors import VqtokError

TEXTS = {"cats/1.png": "a cat, ü", "cats/2.b.png": "two", "3.jpg": "three"}
NAMES = [*TEXTS, "absent.png"]


def made(folder: Path, kind: str) -> Path:
    """The same texts as one kind of file; keys are names without their suffixes."""
    keys = {name.rpartition(".")[0]: text for name, text in TEXTS.items()}
    if kind == "folder":
        for key, text in keys.items():
            (folder / "t" / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / "t" / f"{key}.txt").write_text(text)
        return folder / "t"
    path = folder / f"t.{kind}"
    if kind == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow as pa

        table = pa.table({"file": list(keys), "caption": list(keys.values())})
        parquet.write_table(table, path)
    elif kind == "tar":
        with tarfile.open(path, "w") as archive:
            for key, text in keys.items():
                for suffix, data in (
                    (".png", b"x"),
                    (".json", json.dumps({"text": text}).encode()),
                ):
                    member = tarfile.TarInfo(key.replace(".", "_") + suffix)
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    else:
        path.write_text("".join(json.dumps({"key": k, "text": t}) + "\n" for k, t in keys.items()))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "tar", "folder"])
def test_every_kind_of_file_gives_the_same_texts(tmp_path: Path, kind: str):
    names = [name.replace(".b.", "_b.") if kind == "tar" else name for name in NAMES]
    texts = open_texts(str(made(tmp_path, kind)))
    found = texts.of([RunItem(0, name, {}, {}) for name in reversed(names)])
    assert found == [None, *reversed(TEXTS.values())]
    assert list(texts.unused()) == []
    texts.close()


def test_fields_can_be_named_and_keys_may_have_suffixes(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"key": "x", "id": "./a.png", "text": 1, "said": "A"}\n')
    texts = open_texts(str(path), key="id", text="said")
    assert texts.of([RunItem(0, "a.png", {}, {})]) == ["A"]
    texts.close()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"key": "a", "text": "x"}\n{"key": "a", "text": "y"}\n', "two texts of the key 'a'"),
        ('{"key": "a", "text": "x"}\n{"key": "b"}\n', "line 2: 'text' is missing"),
        ('{"key": "a", "text": "x"}\n{"key": 3, "text": "x"}\n', "line 2: 'key' is not text"),
        ('{"key": "a", "text": "x"}\n[]\n', "line 2: not a JSON object"),
        ('{"id": "a"}\n', "line 1: no field that is the key"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, lines: str, message: str):
    path = tmp_path / "t.jsonl"
    path.write_text(lines)
    with pytest.raises(VqtokError, match=message):
        open_texts(str(path))


def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"key": "a", "text": "x"}\n{"key": "b", "text": "caf\xe9"}\n')
    with pytest.raises(VqtokError, match="line 2: not UTF-8"):
        open_texts(str(path))
