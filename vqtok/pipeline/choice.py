"""Which backend runs a model: torch, or graphs without it on CPUs where the model has some."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.errors import UsageError
from vqtok.graphs import sessions, store

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo
    from vqtok.protocols import Coder

BACKENDS = ("auto", "torch", "onnx")

_ACCELERATORS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Devices of drivers that torch could use: NVIDIA's, that of Windows in Linux, AMD's."""


@dataclass(frozen=True)
class Choice:
    """What a user asked for.

    Attributes:
        device: "auto", "cpu", "cuda" or "cuda:1".
        threads: CPU threads of models; None: as many as there are.
        backend: One of ``BACKENDS``.

    Raises:
        UsageError: no such backend, or one that does not compute on this device.
    """

    device: str = "auto"
    threads: int | None = None
    backend: str = "auto"

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            known = ", ".join(BACKENDS)
            raise UsageError(f"--backend {self.backend}", "unknown", hint=f"one of {known}")
        if self.backend == "onnx" and self.device not in ("auto", "cpu"):
            raise UsageError(
                "--backend onnx", f"computes on CPUs, not on {self.device}", hint="--device cpu"
            )


def coder(info: ModelInfo, chosen: Choice) -> Coder:
    """Load a model into the backend that suits it.

    Raises:
        CheckpointError: damaged weights or graphs, or no graphs where they are asked for.
        UsageError: a device or a package that is not there.
    """
    if _is_onnx(info, chosen):
        from vqtok.backends import onnx_backend

        return onnx_backend.coder(info.path, info.spec, name=info.name, count=chosen.threads)
    from vqtok.backends import torch_backend
    from vqtok.checkpoints import directory
    from vqtok.checkpoints.devices import pick_device

    device = pick_device(chosen.device, threads=chosen.threads)
    return torch_backend.coder(directory.load(info, device=device))


def backend_of(coder: Coder) -> str:
    """Name the backend of a coder."""
    return "onnx" if type(coder).__module__.startswith("vqtok.backends.onnx") else "torch"


def _is_onnx(info: ModelInfo, chosen: Choice) -> bool:
    if chosen.backend != "auto":
        return chosen.backend == "onnx"
    if chosen.device not in ("auto", "cpu") or info.foreign:
        return False
    if chosen.device == "auto" and _has_accelerator():
        return False
    try:
        sessions.require()
    except UsageError:
        return False
    # Those of other weights are left where they lie: torch knows what is wrong, if anything is.
    return store.there(info.path, fingerprint=info.fingerprint)


def _has_accelerator() -> bool:
    """Tell whether torch might find a faster device than the CPU, without importing it."""
    if not any(Path(path).exists() for path in _ACCELERATORS):
        return False
    try:
        return not metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False
