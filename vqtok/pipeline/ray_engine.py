"""The corpus job on Ray Data: actors that each load the model once, here or on other machines.

Workers read files themselves, so paths must lead to the same files everywhere (a shared disk), and
vqtok must be installed there. They send back what a codes file would hold; the driver alone writes
the corpus, so it is the local engine's, byte for byte, whichever worker did what, and how often:
Ray Data starts workers that died again, and gives what they had not finished to others.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vqtok.codes import files
from vqtok.errors import CheckpointError, MediaError, VqtokError
from vqtok.media.items import Item
from vqtok.media.tars import Member
from vqtok.pipeline import signals
from vqtok.pipeline.corpus import Coded, CorpusOptions, Engine, Outcome, Rejected, local_engine
from vqtok.pipeline.models import Runtime
from vqtok.pipeline.results import Failed

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo

BATCH = 32
"""Items that a worker takes at once, and does again if it was lost."""

BLOCKS = 1000
"""Most pieces that the list of items is cut into."""


def ray_engine(
    info: ModelInfo,
    options: CorpusOptions,
    *,
    device: str = "auto",
    backend: str = "auto",
    readers: int = 2,
    threads: int | None = None,
) -> Engine:
    """Make an engine of the cluster at ``RAY_ADDRESS``, or of a Ray for this job alone.

    Args:
        info: The model; each worker loads it from the same directory.
        options: How to encode.
        device: "auto" and "cpu" take CPUs, "cuda" one GPU for each worker.
        backend: "torch", "onnx", or "auto": onnx on CPUs, where the model has its graphs.
        readers: Threads that read files, in each worker.
        threads: CPUs for each worker; None: one.
    """
    settings: dict[str, Any] = {
        "directory": str(Path(info.path).resolve()),
        "fingerprint": info.fingerprint,
        "options": options,
        "device": "cpu" if device == "auto" else device,
        "backend": backend,
        "readers": readers,
        "threads": threads or 1,
    }

    def run(items: Sequence[Item], numbers: Iterable[int]) -> Iterator[Outcome]:
        rows = []
        for number in numbers:
            if items[number].problem is None:
                rows.append(_row(number, items[number]))
            else:  # known without a worker
                signal = signals.read(number, items[number], options.reading(info.spec))
                yield Rejected(signal, signal.failure or _lost(items[number]))
        if rows:
            with _ray() as ray, closing(_outcomes(ray, rows, items, settings)) as outcomes:
                yield from outcomes

    return run


class Worker:
    """Runs the local engine with a model of its own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from vqtok.checkpoints import directory

        self._settings = settings
        info = directory.describe(Path(settings["directory"]))
        found = info.fingerprint
        if found != settings["fingerprint"]:
            raise CheckpointError(
                settings["directory"],
                f"fingerprint {found} on this worker, not {settings['fingerprint']}",
            )
        options = settings["options"]
        runtime = Runtime(
            settings["device"],
            settings["threads"],
            settings["backend"],
            effort=options.effort,
            depth=options.depth,
        )
        self._engine = local_engine(
            runtime.coder(info),
            settings["options"],
            readers=settings["readers"],
            threads=settings["threads"],
        )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Turn rows of items into rows of outcomes."""
        count = len(batch["number"])
        items = [_item({key: column[i] for key, column in batch.items()}) for i in range(count)]
        rows: dict[str, list[Any]] = {"number": [], "codes": [], "error": [], "hint": []}
        for outcome in self._engine(items, range(count)):
            codes, error, hint = b"", "", ""
            if isinstance(outcome, Rejected):
                # Without the path: the driver knows it by another name.
                error = signals.reason(outcome.failure)
                hint = outcome.failure.error.hint or ""
            else:
                whole = io.BytesIO()
                files.write(whole, outcome.codes, outcome.header, format="safetensors")
                codes = whole.getvalue()
            rows["number"].append(int(batch["number"][outcome.signal.number]))
            rows["codes"].append(codes)
            rows["error"].append(_bytes(error))
            rows["hint"].append(_bytes(hint))
        return rows


def _outcomes(
    ray: Any, rows: list[dict[str, Any]], items: Sequence[Item], settings: dict[str, Any]
) -> Generator[Outcome, None, None]:
    gpu = settings["device"].startswith("cuda")
    each = {"num_gpus": 1} if gpu else {"num_cpus": settings["threads"]}
    total = ray.cluster_resources().get("GPU" if gpu else "CPU", 1)
    most = max(1, int(total) // (1 if gpu else settings["threads"]))
    blocks = min(BLOCKS, -(-len(rows) // BATCH))
    found = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        Worker,
        fn_constructor_args=(settings,),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
        **each,
    )
    try:
        for row in found.iter_rows():
            yield _outcome(row, items)
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise VqtokError(
            "ray",
            lines[-1] if lines else type(error).__name__,
            hint="the same command goes on where this one stopped",
        ) from error


def _outcome(row: dict[str, Any], items: Sequence[Item]) -> Outcome:
    number = int(row["number"])
    signal = signals.Signal(number, items[number])
    if row["error"]:
        path = Path(str(items[number].place))
        error = MediaError(path, _text(row["error"]), hint=_text(row["hint"]) or None)
        return Rejected(signal, Failed(path, error))
    codes, header = files.read(io.BytesIO(row["codes"]))
    return Coded(signal, codes, header, 0.0)


def _row(number: int, item: Item) -> dict[str, Any]:
    """Return an item as Arrow takes it: paths as bytes, because they need not be text."""
    member = item.place if isinstance(item.place, Member) else None
    path = item.place if member is None else member.tar
    return {
        "number": number,
        "name": item.name,
        "kind": item.kind or "",
        "path": os.fsencode(Path.cwd() / str(path)),
        "member": _bytes(member.name) if member else b"",
        "offset": member.offset if member else -1,
        "size": member.size if member else 0,
    }


def _item(row: dict[str, Any]) -> Item:
    path = Path(os.fsdecode(bytes(row["path"])))
    place: Path | Member = path
    if int(row["offset"]) >= 0:
        place = Member(path, _text(row["member"]), int(row["offset"]), int(row["size"]))
    return Item(str(row["name"]), str(row["kind"]), place)  # type: ignore[arg-type]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return bytes(data).decode("utf-8", "surrogateescape")


def _lost(item: Item) -> Failed:
    return signals.failure(item, MediaError(item.place, "cannot be read"))


@contextmanager
def _ray() -> Iterator[Any]:
    """Start Ray, quiet, and stop it afterwards if it was started here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves this machine unasked
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        with redirect_stdout(cast(Any, _Stdout(sys.stdout))):
            yield ray
    finally:
        if started:
            ray.shutdown()


class _Stdout:
    """Keeps Ray's threads, which announce lost workers, away from standard output."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write to where this thread may write."""
        rays = threading.current_thread().name.startswith("ray_")
        return int((sys.stderr if rays else self._stream).write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
