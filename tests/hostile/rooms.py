"""One room per kind of file: what is damaged, how, and what is done with the damaged file.

A probe returns what became of the input; every exception but a ``VqtokError`` is a fault, and so
are results that do not hold together.
"""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile import crafted, pictures, recordings
from tests.hostile.corpora import CorpusRoom, TarRoom
from tests.hostile.devices import DeviceRoom
from tests.hostile.mutations import Mutant, mutate, mutate_json
from tests.hostile.programs import CheckpointRoom
from tests.hostile.room import MAX_PIXELS, Fault, Room, check_message
from vqtok.config import to_line
from vqtok.errors import VqtokError


class ImageRoom(Room):
    def _by_hand(self) -> dict[str, bytes]:
        return crafted.pictures()

    def mutant(self, seed: int) -> Mutant:
        return self._file_of(pictures.seeds(), random.Random(seed))

    def probe(self, data: bytes) -> str:
        from vqtok.media import image

        try:
            image.probe(io.BytesIO(data))
        except VqtokError as error:
            check_message(error)
        pixels, info = image.read(io.BytesIO(data), max_pixels=MAX_PIXELS)
        if pixels.shape != (3, info.height, info.width) or pixels.dtype != np.float32:
            raise Fault(f"{pixels.shape} {pixels.dtype} for {info}")
        if not np.isfinite(pixels).all() or np.abs(pixels).max() > 1.0 + 1e-6:
            raise Fault("pixels out of [-1, 1]")
        return "read"


class AudioRoom(Room):
    RATE = 24000

    def _by_hand(self) -> dict[str, bytes]:
        return crafted.recordings()

    def mutant(self, seed: int) -> Mutant:
        return self._file_of(recordings.seeds(), random.Random(seed))

    def probe(self, data: bytes) -> str:
        from vqtok.media import audio

        with audio.Reader(io.BytesIO(data)) as reader:
            info = reader.info
            total = 0
            for block in reader.blocks(self.RATE):
                if block.shape[0] != info.channels or not np.isfinite(block).all():
                    raise Fault(f"a block {block.shape} of {info}")
                total += block.shape[1]
        if total != audio.resampled_length(info.length, info.rate, self.RATE):
            raise Fault(f"{total} samples of {info}")
        return "read"


class CodesRoom(Room):
    """Codes files as they are read and shown."""

    def _by_hand(self) -> dict[str, bytes]:
        return crafted.codes()

    def _seeds(self) -> dict[str, bytes]:
        from tests.hostile.models import codes_files

        return codes_files(self.shelf)

    def mutant(self, seed: int) -> Mutant:
        rng = random.Random(seed)
        files = self._seeds()
        if rng.random() < 0.4:
            return self._file_of(files, rng)
        name = rng.choice(sorted(files))
        data = files[name]
        change = _npy_header if name.endswith("npy") else _safetensors_header
        made = change(data, rng)
        if rng.random() < 0.1:
            again = mutate(made.data, rng, [data])
            made = Mutant(again.data, f"{made.how}, {again.how}")
        return Mutant(made.data, f"{name}: {made.how}")

    def probe(self, data: bytes) -> str:
        from vqtok.codes import files
        from vqtok.codes.header import Header
        from vqtok.pipeline import inspect

        path = self.work / "codes.npy"
        path.write_bytes(data)
        try:
            files.read_foreign(path, self._spec(), extent=None)
        except VqtokError as error:
            check_message(error)
        codes, header = files.read(io.BytesIO(data))
        if files.read_header(path) != header or Header.from_json(header.to_json()) != header:
            raise Fault("the header reads differently again")
        codes.check()
        facts = inspect.inspect(str(path))
        to_line(facts.to_json())
        for row in facts.rows():
            if not all(text.isprintable() for text in row):
                raise Fault(f"control characters would be printed: {row}")
        picture = inspect.code_picture(str(path))
        if picture.size > 50_000_000:
            raise Fault(f"a picture {picture.shape}")
        return "read"

    def _spec(self) -> Any:
        from vqtok.checkpoints import directory

        return directory.describe(self.shelf / "image-f8").spec


class DecodeRoom(CodesRoom):
    """Codes files on their way to a picture or recording."""

    LARGEST = 50_000_000  # bytes

    def _by_hand(self) -> dict[str, bytes]:
        return crafted.lying_codes(self._seeds())

    def probe(self, data: bytes) -> str:
        from vqtok.media.plan import Job
        from vqtok.pipeline import plans
        from vqtok.pipeline.decode import decode
        from vqtok.pipeline.models import Models
        from vqtok.pipeline.results import Failed

        folder = self.work / "decode"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = folder / "in.npy"
        path.write_bytes(data)
        plan = plans.for_decode([str(path)], output=f"{folder}/out/")
        for _, error in plan.failures:
            raise error
        jobs = [Job(job.source, job.target, job.kind) for job in plan.jobs]
        models = Models()
        # As the command does it, so that what it calls must exist.
        for result in decode(jobs, coder_for=lambda h: models.load(models.info_for_header(h))):
            made = sorted(each for each in folder.rglob("*") if each.is_file() and each != path)
            if isinstance(result, Failed):
                if made:
                    raise Fault(f"left behind: {made}")
                raise result.error
            if [each.parent for each in made] != [folder / "out"]:
                raise Fault(f"written: {made}")
            if made[0].stat().st_size > self.LARGEST:
                raise Fault(f"{made[0].stat().st_size} bytes from {len(data)}")
        return "decoded"


class ModelRoom(Room):
    """Model directories: one of their files is damaged."""

    def _by_hand(self) -> dict[str, bytes]:
        return crafted.model_files(self.shelf)

    def mutant(self, seed: int) -> Mutant:
        from tests.hostile.models import model_files

        rng = random.Random(seed)
        kind = rng.choice(("image", "audio"))
        files = model_files(self.shelf)[kind]
        name = rng.choice(("config.json",) * 4 + ("model.safetensors",) * 4 + ("training.json",))
        data = files[name]
        if rng.random() < 0.35:
            made = mutate(data, rng, [data])
        elif name.endswith(".json"):
            text, how = mutate_json(data.decode(), rng)
            made = Mutant(text.encode("utf-8", "surrogatepass"), how)
        else:
            made = _table(data, rng)
        head = f"{kind}/{name}\n".encode()
        return Mutant(head + made.data, f"{kind} {name}: {made.how}")

    def probe(self, data: bytes) -> str:
        import torch

        from vqtok.checkpoints import directory
        from vqtok.pipeline import inspect

        place, _, content = data.partition(b"\n")
        kind, name = place.decode().split("/")
        folder = self.work / "model" / f"tiny-{kind}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.shelf / {"image": "image-f8", "audio": "audio-24k"}[kind], folder)
        (folder / name).write_bytes(content)
        try:
            facts = inspect.inspect(str(folder))
            to_line(facts.to_json())
            facts.rows()
        except VqtokError as error:
            check_message(error)
        tokenizer: Any = directory.load(folder)
        shape = (1, tokenizer.config.channels, 9, 10) if kind == "image" else (1, 1, 500)
        codes = tokenizer.encode(torch.linspace(-1, 1, int(np.prod(shape))).reshape(shape))
        codes.check()
        back = tokenizer.decode(codes)
        if tuple(back.shape) != shape:
            raise Fault(f"{tuple(back.shape)} back from {shape}")
        return "loaded"


class ResumeRoom(Room):
    """The state of a training run, and its log."""

    def __init__(self, shelf: Path, work: Path) -> None:
        super().__init__(shelf, work)
        from tests.hostile import models

        (work / "run").mkdir(parents=True, exist_ok=True)
        self._whole = models.write_run(work / "run")
        self._log = "".join(
            json.dumps(line) + "\n"
            for line in (
                {"event": "progress", "step": 5, "losses": {"l1": 0.5}},
                {"event": "evaluated", "step": 5, "metrics": {"psnr": 20.0}, "elapsed_s": 1.0},
            )
        )

    def mutant(self, seed: int) -> Mutant:
        rng = random.Random(seed)
        if rng.random() < 0.1:
            lines = self._log.splitlines()
            index = rng.randrange(len(lines))
            lines[index], how = mutate_json(lines[index], rng)
            text = "\n".join(lines) + "\n"
            data = text.encode("utf-8", "surrogatepass")
            if rng.random() < 0.4:
                made = mutate(data, rng, [data])
                data, how = made.data, f"{how}, {made.how}"
            return Mutant(b"log.jsonl\n" + data, f"log.jsonl: {how}")
        kind = rng.random()
        if kind < 0.3:
            made = mutate(self._whole, rng, [self._whole])
        elif kind < 0.6:
            made = _table(self._whole, rng)
        else:
            made = _safetensors_header(self._whole, rng)
        return Mutant(b"resume.safetensors\n" + made.data, made.how)

    def probe(self, data: bytes) -> str:
        from tests.hostile import models
        from vqtok.checkpoints import directory, resume
        from vqtok.plots.curves import draw
        from vqtok.training import recipe
        from vqtok.training.keeper import CheckpointKeeper
        from vqtok.training.log import Journal, records
        from vqtok.training.monitor import MonitorState
        from vqtok.training.report import cards
        from vqtok.training.trainer import Precision

        name, _, content = data.partition(b"\n")
        folder = self.work / "run"
        (folder / name.decode()).unlink(missing_ok=True)
        (folder / name.decode()).write_bytes(content)
        if name == b"log.jsonl":
            journal = Journal(folder / "log.jsonl", first_step=7)
            for each in journal.evaluations:
                to_line({"step": each["step"], **each["metrics"]})  # as the card reads them
            if shown := cards.curves_of(records(folder / "log.jsonl")):
                draw(shown)
            return "read"
        state = resume.read_state(folder)
        int(state["step"]), float(state["elapsed_s"]), int(state["files"]), list(state["reads"])
        MonitorState.from_json(state["vitals"])
        Precision("float16", next(models.build("image").parameters()).device).restore(
            state["scale"]
        )
        keeper = CheckpointKeeper(
            folder, recipe.Train(losses={}), quality="psnr_db", content=directory.content
        )
        keeper.best = state["best"]
        keeper.is_best({"psnr_db": 1.0}, step=8)
        recipe.parse(state["recipe"], where=str(folder))
        model = models.build("image")
        optimizer = models.optimizer_of(model)
        resume.restore(folder, modules={"model": model}, optimizers={"optimizer": optimizer})
        for parameter in model.parameters():
            parameter.grad = parameter.detach().clone()
        optimizer.step()
        return "resumed"


class TrapRoom(Room):
    """Every kind of broken promise, to show that each is noticed."""

    TRAPS = ("escape", "hang", "allocate", "touch", "crash", "lie", "litter", "clean", "talk")

    def mutant(self, seed: int) -> Mutant:
        name = self.TRAPS[seed % len(self.TRAPS)]
        return Mutant(name.encode(), name)

    def probe(self, data: bytes) -> str:
        import ctypes

        match data.decode():
            case "escape":
                raise KeyError("a bug")
            case "hang":
                while True:
                    pass
            case "allocate":
                bytearray(2 << 30)
            case "touch":
                np.ones(50 << 20)
            case "crash":
                ctypes.string_at(0)
            case "lie":
                raise VqtokError("data: internal: ValueError: a bug")
            case "litter":
                Path("litter").touch()
            case "talk":
                ctypes.CDLL(None).perror(b"a library")
        return "read"


ROOMS: dict[str, type[Room]] = {
    "trap": TrapRoom,
    "image": ImageRoom,
    "audio": AudioRoom,
    "codes": CodesRoom,
    "decode": DecodeRoom,
    "model": ModelRoom,
    "resume": ResumeRoom,
    "tar": TarRoom,
    "corpus": CorpusRoom,
    "checkpoint": CheckpointRoom,
    "device": DeviceRoom,
}

WITHOUT_MODELS = frozenset(("trap", "image", "audio", "tar"))
"""Rooms that need no torch."""


def _npy_header(data: bytes, rng: random.Random) -> Mutant:
    """The second record's JSON, or the first record's text."""
    first, second = io.BytesIO(data), io.BytesIO()
    array, text = np.load(first), np.load(first)
    if rng.random() < 0.2:
        values = rng.choice((array.astype(np.uint64) + (1 << 63), array.astype(np.int8) - 1,
                             array * 0 + 255, array[..., :0], array[None], array.T))  # fmt: skip
        np.save(second, values)
        np.save(second, text)
        return Mutant(second.getvalue(), f"an array {values.shape} {values.dtype}")
    changed, how = mutate_json(text.tobytes().decode(), rng)
    np.save(second, array)
    np.save(second, np.frombuffer(changed.encode("utf-8", "surrogatepass"), np.uint8))
    return Mutant(second.getvalue(), how)


def _safetensors_header(data: bytes, rng: random.Random) -> Mutant:
    """Our JSON inside the metadata."""
    from tests.hostile.models import join_safetensors, split_safetensors

    table, body = split_safetensors(data)
    changed, how = mutate_json(table["__metadata__"]["vqtok"], rng)
    table["__metadata__"]["vqtok"] = changed
    return Mutant(join_safetensors(json.dumps(table), body), how)


def _table(data: bytes, rng: random.Random) -> Mutant:
    """The table of contents."""
    from tests.hostile.models import join_safetensors, split_safetensors

    table, body = split_safetensors(data)
    text, how = mutate_json(json.dumps(table), rng)
    return Mutant(join_safetensors(text, body), how)
