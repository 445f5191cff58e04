"""Run graphs with onnxruntime, on as many threads as are asked for; they wait asleep."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.errors import UsageError
from vqtok.graphs.graph import Graph

LEAST = (1, 22)
"""Of onnxruntime: takes a graph from memory and its weights from a folder."""

_FOLDER = "session.model_external_initializers_file_folder_path"
_GIVEN_BACK = ("memory.enable_memory_arena_shrinkage", "cpu:0")


def require() -> Any:
    """Import onnxruntime.

    Raises:
        UsageError: it is missing or too old.
    """
    # Without this its wheels report to their makers, and leave a file in the temporary folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    wanted = ".".join(map(str, LEAST))
    hint = "pip install --upgrade onnxruntime; --backend torch does without"
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("onnxruntime", f"not installed, {wanted} is needed", hint=hint) from error
    version = tuple(int(each) for each in onnxruntime.__version__.split(".")[:2])
    if version < LEAST:
        found = onnxruntime.__version__
        raise UsageError("onnxruntime", f"{found} is too old, {wanted} is needed", hint=hint)
    return onnxruntime


class Network:
    """One graph, ready to run from several threads at once.

    Args:
        graph: With weights in the folder's ``model.safetensors``.
        folder: Of the model.
        split: Makes the graph one that needs less memory, and longer to be opened.
    """

    def __init__(
        self, graph: Graph, folder: Path, *, split: Callable[[Graph], Graph] | None = None
    ) -> None:
        self._graph, self._folder, self._split = graph, folder, split
        self._names = [each.name for each in graph.outputs]
        self._sessions: dict[int, Any] = {}
        self._saving = False
        self._lock = threading.Lock()

    def __call__(self, inputs: Mapping[str, np.ndarray], *, threads: int) -> list[np.ndarray]:
        """Compute the outputs.

        Args:
            inputs: float32 by name.
            threads: CPU threads to use.
        """
        session, options = self._session(threads), None
        if self._saving:
            options = require().RunOptions()
            options.add_run_config_entry(*_GIVEN_BACK)
        found: list[np.ndarray] = session.run(self._names, dict(inputs), options)
        return found

    def save_memory(self) -> None:
        """Run the split graph from now on, and hold nothing of it between runs."""
        with self._lock:
            self._saving = True
            if self._split is not None:
                self._graph, self._split = self._split(self._graph), None
                self._sessions.clear()

    def _session(self, threads: int) -> Any:
        with self._lock:
            if threads not in self._sessions:
                data = self._graph.to_bytes()
                self._sessions[threads] = session(data, folder=self._folder, threads=threads)
                if self._saving and sys.platform.startswith("linux"):
                    with contextlib.suppress(OSError, AttributeError):  # musl
                        ctypes.CDLL(None).malloc_trim(0)  # opening takes twice of what stays
            return self._sessions[threads]


def session(data: bytes, *, folder: Path | None = None, threads: int = 1) -> Any:
    """Open a graph with onnxruntime.

    Args:
        data: An ONNX file.
        folder: Where its weights lie; None: inside.
        threads: CPU threads to use.
    """
    runtime = require()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised as well
    options.enable_mem_pattern = False  # else a second run holds the memory of two
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if folder is not None:
        options.add_session_config_entry(_FOLDER, str(folder.resolve()))
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
