"""What ``--json`` prints is what ``docs/json.schema.json`` says, key by key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.cli.test_train import TRAIN
from tests.conftest import TINY_IMAGE

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "json.schema.json").read_text(encoding="utf-8"))
PARTS = ("use", "level", "expected", "statistic", "cost", "stage", "growth", "saving")
"""Parts of other objects: no line is one of them."""


def lines(stdout: str) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in stdout.splitlines())


def check(name: str, line: dict[str, Any]) -> None:
    validator = Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})
    problems = [each.message for each in validator.iter_errors(line)]
    assert not problems, (name, line, problems)


def name_of(line: dict[str, Any]) -> str:
    """Choose the object by the keys that tell them apart."""
    if "event" in line:
        return str(line["event"])
    if "kind" in line and "subject" in line:
        return str(line["kind"]).replace(" ", "_")
    for key, name in {
        "error": "failed", "stream": "composed", "merges": "learned_merges",
        "probability": "classified", "accuracy": "accuracy",
        "corpus": "corpus_written", "summary": "summary", "encode_s": "measured",
        "seconds": "done", "index": "sample", "samples": "planned_sample", "items": "score",
        "nats_per_code": "scored", "kind": "planned",
    }.items():  # fmt: skip
        if key in line:
            return name
    raise AssertionError(line)


@pytest.fixture
def printed(vqtok: Callable[..., Any], picture, recording, here) -> dict[str, list[dict]]:
    """Lines by their names, of one run of each command."""
    for index in range(6):
        picture(f"d/{index}.png", width=24, height=24)
        picture(f"classes/{'ab'[index % 2]}/{index}.png", width=16, height=16)
    recording("a.wav", length=9000)
    (here / "tiny.json").write_text(json.dumps({"model": TINY_IMAGE, "train": TRAIN}))
    commands = (
        "encode d/0.png a.wav nothing.png -o o/",
        "encode d/0.png -o planned.npy -n",
        "encode d --format tar -o corpus",
        "decode o/0.safetensors o/a.safetensors",
        "pack o/0.safetensors o/a.safetensors -o packed/",
        "unpack packed/ -o again/",
        "eval d/0.png a.wav -m image-f8 -m audio-24k -m jpeg -m opus --metrics psnr,si-sdr,delay",
        "eval d/0.png",
        "info o/0.safetensors o/a.safetensors d/0.png a.wav image-f8 d corpus",
        "compose corpus --layout rows --mode codes -o tokens",
        "compose corpus -n",
        "train --data corpus --preset bpe -o merges --set merges.min_count=1",
        "compose corpus --merges merges -o merged",
        "info merged",
        "info merges",
        "info tokens",
        "models",
        "train --data d --preset tiny.json -o trained --steps 2",
        "train --data corpus --preset prior-transformer -o prior --steps 1 --set model.width=16 "
        "--set model.blocks=1 --set model.heads=2 --set train.samples=0 --set train.batch=2",
        "info prior",
        "eval corpus -m prior",
        "train --data classes --preset classifier -o judge --steps 1 --set train.batch=2",
        "info judge",
        "eval classes -m judge",
        "sample -m prior -o new.png --size 24x24",
        "sample -m prior -o grid.png --count 2 -n",
    )
    found: dict[str, list[dict]] = {}
    for command in commands:
        for line in lines(vqtok(*command.split(), "--json").stdout):
            found.setdefault(name_of(line), []).append(line)
    return found


def test_every_line_is_as_the_schema_says_and_every_object_is_printed(printed):
    Draft202012Validator.check_schema(SCHEMA)
    for name, found in printed.items():
        for line in found:
            check(name, line)
    assert {*printed, *PARTS, "warned", "unfinished_corpus"} == set(SCHEMA["$defs"])


def test_a_key_that_is_not_in_the_schema_is_found():
    line = {"event": "measuring", "step": 1}
    check("measuring", line)
    with pytest.raises(AssertionError):
        check("measuring", {**line, "surprise": 1})


def test_the_page_names_every_object():
    text = (DOCS / "json.md").read_text(encoding="utf-8")
    named = {name for name in SCHEMA["$defs"] if f"`{name}`" in text}
    assert named == set(SCHEMA["$defs"]) - set(PARTS)
