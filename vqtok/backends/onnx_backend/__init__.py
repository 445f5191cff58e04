"""Coders over onnxruntime: models of which graphs lie beside their weights, and no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vqtok import threads
from vqtok.codes.spec import CodeSpec
from vqtok.graphs import sessions, store

if TYPE_CHECKING:
    from vqtok.backends.onnx_backend.audio import OnnxAudio
    from vqtok.backends.onnx_backend.images import OnnxImages


def coder(
    folder: Path,
    spec: CodeSpec,
    *,
    name: str,
    count: int | None = None,
    stored: store.Stored | None = None,
) -> OnnxImages | OnnxAudio:
    """Make the coder of a model directory.

    Args:
        folder: Of the model.
        spec: Of its codes, with the fingerprint of its config and weights.
        name: NAME of the model.
        count: CPU threads; None: as many as the process may use.
        stored: Its graphs, if they are read already.

    Raises:
        CheckpointError: graphs that are missing, damaged or of other weights.
        UsageError: onnxruntime is missing or too old.
    """
    sessions.require()
    found = stored or store.read(folder, fingerprint=spec.fingerprint)
    number = count or threads.chosen()
    if spec.modality == "image":
        from vqtok.backends.onnx_backend.images import OnnxImages

        return OnnxImages(folder, found, spec, name=name, count=number)
    from vqtok.backends.onnx_backend.audio import OnnxAudio

    return OnnxAudio(folder, found, spec, name=name, count=number)
