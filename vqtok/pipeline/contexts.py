"""Which context model packs codes: that beside the model that made them, or a named one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vqtok.checkpoints.facts import ModelInfo
from vqtok.codes.header import Header
from vqtok.codes.packed import context
from vqtok.errors import CheckpointError, CodesError, VqtokError


class Contexts:
    """Context models by need, each read once.

    Args:
        info_for: Header → the facts of the model that made the codes; it may raise.
        path: The only context model to use, or its directory; None: those beside the models.
    """

    def __init__(self, info_for: Callable[[Header], ModelInfo], path: Path | None = None) -> None:
        self._info_for, self._path = info_for, path
        self._read: dict[Path, context.ContextModel] = {}

    def packing(self, header: Header) -> context.ContextModel | None:
        """Return what to pack codes with; None: their model has no context model, or is not here.

        Raises:
            CheckpointError: a context model that is damaged, or a named one of other codes.
        """
        path = self._place(header)
        if path is None:
            return None
        found = self._at(path)
        if found.spec != header.spec and self._path is None:
            return None  # left behind by a model that was trained further
        if found.spec != header.spec:
            made = header.model or "another model"
            raise CheckpointError(path, f"a context model of other codes than those of {made}")
        return found

    def __call__(self, header: Header, fingerprint: str) -> context.ContextModel:
        """Return what codes were packed with.

        Raises:
            CodesError: it is not here, or another one is.
            CheckpointError: a context model that is damaged, or a named one of other codes.
        """
        found = self.packing(header)
        made = f"packed with a context model (fingerprint {fingerprint})"
        if found is None:
            whose = f"model {header.model}" if header.model else "the model of the codes"
            hint = f"it lies beside {whose}, as {context.FILE}; or --context FILE"
            raise CodesError(f"{made} that is not here", hint=hint)
        if found.fingerprint != fingerprint:
            raise CodesError(
                f"{made}, the one at hand is another ({found.fingerprint})",
                hint="codes can only be unpacked with the very model that packed them",
            )
        return found

    def _place(self, header: Header) -> Path | None:
        if self._path is not None:
            return self._path / context.FILE if self._path.is_dir() else self._path
        try:
            path = self._info_for(header).path / context.FILE
        except VqtokError:  # codes can be packed without their model
            return None
        return path if path.is_file() else None

    def _at(self, path: Path) -> context.ContextModel:
        if path not in self._read:
            self._read[path] = context.read(path)
        return self._read[path]
