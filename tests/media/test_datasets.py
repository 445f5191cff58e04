"""Data sets that ``datasets`` saved are read in place, value by value."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vqtok.errors import MediaError, UsageError
from vqtok.media.datasets import rows
from vqtok.media.items import items_of, read_beside
from vqtok.media.tars import Member

pa = pytest.importorskip("pyarrow")


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (5 + seed, 7, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def saved(folder: Path, columns: dict[str, Any], *, batch: int = 2, **options: Any) -> Path:
    """A folder as ``save_to_disk`` leaves it, of two files."""
    table = pa.table(columns)
    folder.mkdir()
    half = len(table) // 2
    names = []
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        names.append(f"data-0000{number}-of-00002.arrow")
        with pa.ipc.new_stream(str(folder / names[-1]), table.schema, **options) as writer:
            writer.write_table(part.combine_chunks(), max_chunksize=batch)
    state = {"_data_files": [{"filename": name} for name in names]}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


IMAGES = pa.array(
    [{"bytes": png(n), "path": None if n == 2 else f"/home/x/{n}.png"} for n in range(5)],
    pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
)
TEXTS = [f"picture {n}, ü" for n in range(5)]


def content(place: object) -> bytes:
    assert isinstance(place, Member)
    with place.open() as stream:
        return stream.read()


def test_every_value_is_its_own_bytes(tmp_path: Path):
    folder = saved(tmp_path / "d", {"image": IMAGES, "caption": TEXTS, "label": range(5)})
    found = list(rows(f"hf-dataset:{folder}#image", ("image", "audio")))
    assert [content(row.place) for row in found] == [png(n) for n in range(5)]
    assert [content(row.text).decode() for row in found] == TEXTS
    assert [row.name for row in found] == [
        "0000000-0.png", "0000001-1.png", "0000002", "0000003-3.png", "0000004-4.png",
    ]  # fmt: skip
    assert {row.kind for row in found} == {"image"}


def test_items_of_a_data_set_are_those_of_a_corpus(tmp_path: Path):
    folder = saved(tmp_path / "d", {"image": IMAGES, "text": TEXTS})
    items = items_of([f"hf-dataset:{folder}#image"], ("image", "audio"))
    assert [item.problem for item in items] == [None] * 5
    texts = [read_beside(place, largest=99) for item in items for _, place in item.beside]
    assert [each.decode() for each in texts] == TEXTS


def test_missing_and_foreign_values_are_problems_of_their_own(tmp_path: Path):
    column = pa.array([png(0), None, b"no picture", png(1)], pa.binary())
    folder = saved(tmp_path / "d", {"image": column})
    items = items_of([f"hf-dataset:{folder}#image"], ("image", "audio"))
    assert [None if i.problem is None else i.problem.reason for i in items] == [
        None, "no value", "neither an image nor audio", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("hf-dataset:d", "which column"),
        ("hf-dataset:d#picture", "no such column"),
        ("hf-dataset:d#text", "holds neither images nor audio"),
        ("hf-dataset:none#image", "no data set that was saved"),
        ("hf-dataset:splits#image", "several splits"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, monkeypatch, place: str, message: str):
    monkeypatch.chdir(tmp_path)
    saved(Path("d"), {"image": IMAGES, "text": TEXTS})
    Path("splits/train").mkdir(parents=True)
    Path("splits/dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(UsageError, match=message):
        items_of([place], ("image", "audio"))


def test_damaged_and_compressed_files_are_one_error(tmp_path: Path):
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    folder = saved(tmp_path / "z", {"image": IMAGES}, options=options)
    with pytest.raises(MediaError, match="compressed"):
        list(rows(f"hf-dataset:{folder}#image", ("image",)))
    folder = saved(tmp_path / "d", {"image": IMAGES})
    path = folder / "data-00000-of-00002.arrow"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(MediaError, match="damaged"):
        list(rows(f"hf-dataset:{folder}#image", ("image",)))


def test_what_datasets_saves_is_read(tmp_path: Path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    held = [{"bytes": png(n), "path": f"{n}.png"} for n in range(5)]
    made = datasets.Dataset.from_dict({"image": held, "text": TEXTS}, features=features)
    made.save_to_disk(str(tmp_path / "d"))
    found = list(rows(f"hf-dataset:{tmp_path / 'd'}#image", ("image",)))
    assert [content(row.place) for row in found] == [png(n) for n in range(5)]
    assert [content(row.text).decode() for row in found] == TEXTS
