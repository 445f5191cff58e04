"""Documents that people write: every part stands where it was put, and mistakes are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compose import streams, words
from tests.compose.streams import SPECS, corpus, item_of, write
from vqtok.compose.reader import Block, StreamReader, Text
from vqtok.errors import UsageError
from vqtok.pipeline.compose import Request

CAT, DOG = streams.names_of(SPECS["image"], 2)[1], streams.names_of(SPECS["image"], 1)[0]
MEOW = streams.names_of(SPECS["audio"], 2)[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    for kind, spec in SPECS.items():
        corpus(folder / kind, spec, shard_items=1)  # more shards than are kept
    words.write_tokenizer(folder / "tokenizer.json")
    return folder


def composed(place: Path, folder: Path, rows: list[Any], layout: str = "rows") -> StreamReader:
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    request = Request(
        (place / "image", place / "audio"),
        tokenizer=place / "tokenizer.json",
        documents=folder / "d.jsonl",
        layout=layout,
    )
    write(folder / "out", request)
    return StreamReader(folder / "out")


def pieces(reader: StreamReader) -> list[list[Any]]:
    found: list[list[Any]] = []
    for part in reader.parts():
        while len(found) <= part.document:
            found.append([])
        found[-1].append(part.text if isinstance(part, Text) else part)
    return found


def assert_item(part: object, kind: str, number: int) -> None:
    assert isinstance(part, Block)
    codes, header = item_of(SPECS[kind], number)
    assert part.header == header
    for level, found in zip(codes.levels, part.codes.levels, strict=True):
        np.testing.assert_array_equal(level, found)


def test_interleaved_parts_stand_in_their_order(place: Path, tmp_path: Path):
    rows = [
        {"document": ["A cat", {"image": CAT}, "and", {"audio": MEOW.removesuffix(".wav")}]},
        {"document": [{"image": DOG}, {"image": CAT}, {"image": DOG}, {"text": "same"}]},
        {"document": []},
    ]
    first, second = pieces(composed(place, tmp_path, rows))
    assert (first[0], first[2]) == ("A cat", "and")
    assert_item(first[1], "image", 1)
    assert_item(first[3], "audio", 1)
    assert second[3] == "same"
    for part, number in zip(second[:3], (0, 1, 0), strict=True):
        assert_item(part, "image", number)


def test_a_chat_has_a_token_for_each_turn_and_codes_for_placeholders(place: Path, tmp_path: Path):
    rows = [
        {
            "messages": [
                {"role": "user", "content": "What is <image> and <audio>?"},
                {"role": "assistant", "content": "A cat."},
            ],
            "images": [CAT],
            "audio": MEOW,
        }
    ]
    reader = composed(place, tmp_path, rows, "chat")
    (found,) = pieces(reader)
    assert [each for each in found if isinstance(each, str)] == [
        "What is ", " and ", "?", "A cat.",
    ]  # fmt: skip
    assert_item(found[1], "image", 1)
    assert_item(found[3], "audio", 1)
    (document,) = reader.documents()
    special = reader.vocabulary.special
    turns = [special[f"<|{name}|>"] for name in ("user", "end_of_turn", "assistant")]
    ids = [each for each in document.ids.tolist() if each in turns]
    assert ids == [turns[0], turns[1], turns[2], turns[1]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"document": [{"image": "none.png"}]}, "no image item 'none.png'"),
        ({"document": [{"video": "x"}]}, "'video' is not text, image or audio"),
        ({"document": "x"}, "document: not a list"),
        ({"text": "x"}, 'neither "document" nor "messages"'),
        ({"messages": [{"role": "user", "content": "<image>"}]}, "more placeholders <image>"),
        ({"messages": [], "images": [CAT]}, "1 images without a placeholder"),
        ({"messages": [{"role": "king", "content": "x"}]}, "no token '<|king|>'"),
        ({"messages": [{"role": "user"}]}, "no role, or no content"),
    ],
)
def test_documents_that_cannot_be_composed_are_listed(
    place: Path, tmp_path: Path, row: Any, reason: str
):
    reader = composed(place, tmp_path, [{"document": ["good"]}, row], "chat")
    assert reader.info.totals.documents == 1 and reader.info.totals.failed == 1
    (line,) = (tmp_path / "out/failed.jsonl").read_text().splitlines()
    failed = json.loads(line)
    assert failed["name"] == "line 2" and reason in failed["reason"]


def test_a_name_that_two_corpora_have_is_refused(place: Path, tmp_path: Path):
    corpus(tmp_path / "again", SPECS["image"], count=1)
    (tmp_path / "d.jsonl").write_text(json.dumps({"document": [{"image": DOG}]}))
    request = Request(
        (place / "image", tmp_path / "again"),
        tokenizer=place / "tokenizer.json",
        documents=tmp_path / "d.jsonl",
    )
    totals, _ = write(tmp_path / "out", request)
    assert totals.failed == 1
    assert "there twice" in (tmp_path / "out/failed.jsonl").read_text()
    with pytest.raises(UsageError, match="which say it all"):
        write(tmp_path / "o", Request((), documents=tmp_path / "d.jsonl", mode="codes"))
