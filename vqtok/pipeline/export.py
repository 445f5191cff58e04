"""A model → graphs for other programs, with what they need to know: one folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from vqtok import atomic
from vqtok import config as configs
from vqtok.checkpoints import directory
from vqtok.checkpoints.directory import ModelInfo
from vqtok.errors import CheckpointError, UsageError, VqtokError
from vqtok.graphs import export as graphs
from vqtok.graphs import store
from vqtok.pipeline import agreement
from vqtok.pipeline.agreement import Agreement
from vqtok.pipeline.export_card import card
from vqtok.pipeline.traced import Made, traced
from vqtok.pipeline.web import page as web
from vqtok.protocols import Halved, Tokenizer

SPEC, CARD = "spec.json", "README.md"

FILLS = ("edge", "zeros")
"""How a page brings signals to sizes that graphs take."""


class Written(NamedTuple):
    """What an export came to."""

    paths: list[Path]
    """The files, in order."""
    agreement: Agreement
    """With the model, on random signals."""


def check(name: str, target: Path, *, force: bool) -> ModelInfo:
    """Find out early what would fail; the facts of the model.

    Raises:
        UsageError: no such model, one that is not exported, or a target that is not to be replaced.
        CheckpointError: a damaged model.
    """
    info = directory.describe(name)
    kind = str(info.config.get("type"))
    if not kind.startswith("tokenizers/"):
        reason = f"not exported: {kind} has no codes of its own"
        raise UsageError(name, reason, hint="vqtok models lists those that are installed")
    info.spec.require_codes(info.name)
    info.require_decoder()
    if target.is_file():
        raise UsageError(target, "a file, not a directory", hint="name a new directory")
    if target.is_dir() and any(target.iterdir()):
        if not (target / SPEC).is_file():
            raise UsageError(target, "not empty", hint="name a new directory")
        if not force:
            raise UsageError(target, "already exists", hint="-f overwrites")
    return info


def export(info: ModelInfo, target: Path, *, page: bool = False) -> Written:
    """Write what ``check`` found, once the graphs were run beside the model.

    Args:
        info: The model.
        target: Made if missing, replaced whole if it is there.
        page: Whether a page for browsers is among them.

    Raises:
        CheckpointError: a model without graphs, graphs that do not agree with it, or a target that
            cannot be written.
        UsageError: a model that other programs cannot run so, and why.
    """
    tokenizer = directory.load(info)
    try:
        made = _made(info, tokenizer)
        found = agreement.compare(made, tokenizer)
    except VqtokError as error:
        raise error.about(info.name) from error
    if page and (made.signal["fill"] not in FILLS or "chunk" in made.signal):
        raise UsageError("--page", f"a page cannot bring signals there: {made.signal['padding']}")
    spec = {
        "vqtok": store.FORMAT,
        "model": info.name,
        **info.spec.to_json(),
        "signal": made.signal,
        "labels": made.labels,
    }
    levels = [level.name for level in info.spec.levels]
    text = card(info.name, levels, made.signal, bool(made.labels))
    files: dict[str, bytes] = {
        store.ENCODER: made.encoder,
        store.DECODER: made.decoder,
        SPEC: configs.to_json(spec).encode(),
        CARD: (text + (web.text() if page else "")).encode(),
    }
    if page:
        files[web.PAGE] = web.page(spec).encode()
    try:
        with atomic.directory(target) as temporary:
            for name, data in files.items():
                (temporary / name).write_bytes(data)
    except OSError as error:
        raise CheckpointError(target, f"cannot write: {error.strerror or error}") from error
    return Written([target / name for name in files], found)


def _made(info: ModelInfo, tokenizer: Tokenizer) -> Made:
    """Make the graphs: of those beside the weights of our own models, of others by tracing."""
    if isinstance(tokenizer, Halved):
        return traced(tokenizer.halves(), info.spec)
    stored = store.read(info.path, fingerprint=info.fingerprint)
    made = graphs.exported(stored, tuple(level.name for level in info.spec.levels))
    parts = made.encoder.to_bytes(), made.decoder.to_bytes()
    return Made(*parts, graphs.signal(stored.facts), list(stored.facts["labels"]))
