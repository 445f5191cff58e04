"""A small model directory of each kind, codes that it made, and a run to go on with, as bytes."""

from __future__ import annotations

import io
import json
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.conftest import TINY_AUDIO, TINY_IMAGE
from vqtok.checkpoints import directory, resume
from vqtok.codes import files
from vqtok.codes.header import Header, Source
from vqtok.config import parse
from vqtok.protocols import Config

NAMES = {"image": "image-f8", "audio": "audio-24k"}
CONFIGS: dict[str, dict[str, Any]] = {"image": TINY_IMAGE, "audio": TINY_AUDIO}


def build(kind: str) -> Any:
    """An untrained model, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return parse(CONFIGS[kind], Config).build().eval()


def write_shelf(folder: Path) -> None:
    """Both models under the default names, unless they are there."""
    for kind, name in NAMES.items():
        if not (folder / name).is_dir():
            directory.save(folder / name, build(kind), training={"step": 3, "files": 2})


@cache
def codes_files(shelf: Path) -> dict[str, bytes]:
    """Name → codes file of a small model."""
    found = {}
    rng = np.random.default_rng(0)
    for kind, name in NAMES.items():
        tokenizer = directory.load(shelf / name)
        image = kind == "image"
        x = torch.from_numpy(rng.uniform(-1, 1, (1, 3, 21, 18) if image else (2, 1, 700)))
        codes = tokenizer.encode(x.float())
        source = Source("a.png", mode="RGB") if image else Source("a.wav", 16000, 1400)
        head = Header(codes.spec, codes.extent, name, 1 if image else 2, source, "0.1.0")
        for format in ("npy", "safetensors"):
            stream = io.BytesIO()
            files.write(stream, codes.numpy(), head, format=format)
            found[f"{kind} {format}"] = stream.getvalue()
    return found


def model_files(shelf: Path) -> dict[str, dict[str, bytes]]:
    """Kind → file name → bytes of a model directory."""
    return {
        kind: {path.name: path.read_bytes() for path in sorted((shelf / name).iterdir())}
        for kind, name in NAMES.items()
    }


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


def write_run(folder: Path) -> bytes:
    """``resume.safetensors`` after one step of the image model."""
    model = build("image").train()
    optimizer = optimizer_of(model)
    sum(each.sum() for each in model.parameters()).backward()
    optimizer.step()
    state = {"recipe": {"model": TINY_IMAGE, "train": {"losses": {"l1": 1.0}}, "about": ""},
             "step": 7, "elapsed_s": 1.5, "best": {"step": 5, "value": 1.0}}  # fmt: skip
    resume.save(folder, modules={"model": model}, optimizers={"optimizer": optimizer}, state=state)
    return (folder / resume.FILE).read_bytes()


def split_safetensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The table of contents and what follows it."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_safetensors(table: str, body: bytes) -> bytes:
    text = table.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + body
