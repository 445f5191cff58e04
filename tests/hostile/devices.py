"""Pipes, devices and sockets in the place of files: one refusal, at once."""

from __future__ import annotations

import os
import random
import shutil
import socket
from pathlib import Path

from tests.hostile.mutations import Mutant
from tests.hostile.room import Fault, Room

KINDS = ("file", "link", "fifo", "zero", "null", "full", "socket", "directory")
SOUND = ("file", "link")
PLACES = ("config.json", "model.safetensors", "training.json", "codes.npy", "x.ckpt")


class DeviceRoom(Room):
    """What a model, codes or a checkpoint may be besides a file."""

    def mutant(self, seed: int) -> Mutant:
        rng = random.Random(seed)
        text = f"{rng.choice(PLACES)} {rng.choice(KINDS)}"
        return Mutant(text.encode(), text)

    def probe(self, data: bytes) -> str:
        from vqtok.checkpoints import directory
        from vqtok.codes import files
        from vqtok.pipeline import inspect

        name, kind = data.decode().split()
        folder = self.work / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.shelf / "image-f8", folder)
        path, kept = folder / name, self.work / "kept"
        if not path.exists():
            self._make(path)
        shutil.copy(path, kept)
        path.unlink()
        _put(path, kind, kept)
        if name == "codes.npy":
            inspect.inspect(str(path))
            files.read(path)
        elif name == "x.ckpt":
            (folder / "config.json").unlink()  # else it is a part of ours
            directory.load(path)
        else:
            inspect.inspect(str(folder))
            directory.load(folder)
        if kind not in SOUND:
            raise Fault(f"{kind} as {name} was read")
        return "read"

    def _make(self, path: Path) -> None:
        import torch

        from tests.checkpoints.foreign.test_rosinality import made
        from tests.hostile.models import codes_files

        if path.suffix == ".npy":
            path.write_bytes(codes_files(self.shelf)["image npy"])
        else:
            torch.save(made(), path)


def _put(path: Path, kind: str, kept: Path) -> None:
    """Something of a kind in the place of a file."""
    if kind == "file":
        shutil.copy(kept, path)
    elif kind == "link":
        path.symlink_to(kept)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket may be no longer than 107 bytes
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)
    else:
        path.symlink_to(f"/dev/{kind}")
