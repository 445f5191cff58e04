"""Graphs of a model that is being saved: what they err by is measured, and they join its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.checkpoints.facts import WEIGHTS
from vqtok.errors import UsageError

if TYPE_CHECKING:
    from vqtok.protocols import Graphed


def write(folder: Path, module: Graphed, fingerprint: str) -> bool:
    """Write the graphs of a model beside its weights.

    Args:
        folder: Holds the weights, as they were written.
        module: The model that they are of.
        fingerprint: Of the folder's config and weights.

    Returns:
        False if none can be: continuous latents, or no onnxruntime.

    Raises:
        OSError: a file cannot be written.
    """
    from vqtok.graphs import probe, sessions, store

    try:
        sessions.require()
    except UsageError:
        return False
    if not module.spec.levels:
        return False
    stored, numbers = store.numbers(folder / WEIGHTS)
    graphs = module.graphs(stored)
    errors = probe.errors(graphs, numbers, folder)
    store.write(folder, graphs, fingerprint=fingerprint, errors=errors)
    return True
