"""Which model works on which file, by -m, the input's kind or a fingerprint; and what runs it.

Names, kinds and fingerprints are resolved from the small files of a model directory. Each model is
loaded once, when it is needed: into torch, or without it as graphs on CPUs where it has some.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vqtok.codes.header import NO_EFFORT, Effort
from vqtok.errors import CheckpointError, CodesError, MediaError, UsageError, VqtokError
from vqtok.graphs import sessions, store
from vqtok.protocols import RecomputeStats

if TYPE_CHECKING:
    from vqtok.checkpoints.directory import ModelInfo
    from vqtok.codes.files import Header
    from vqtok.pipeline.contexts import Contexts
    from vqtok.protocols import Coder, ImageCoder

DEFAULTS = {"image": "image-f8", "audio": "audio-24k"}
"""The model of each kind of input when none is named."""

PLURALS = {"image": "images", "audio": "audio", "video": "videos"}

BACKENDS = ("auto", "torch", "onnx")

_ACCELERATORS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Devices of drivers that torch could use: NVIDIA's, that of Windows in Linux, AMD's."""


@dataclass(frozen=True)
class Runtime:
    """Loads models where and as a user wants them.

    Attributes:
        device: "auto", "cpu", "cuda" or "cuda:1".
        threads: CPU threads of models; None: as many as there are.
        backend: "torch", "onnx", or "auto": onnx on CPUs, where a model has its graphs.
        effort: How hard the codes of images are searched.
        depth: Residual stages that are searched; None: all.

    Raises:
        UsageError: no such backend, or one that does not compute on this device.
    """

    device: str = "auto"
    threads: int | None = None
    backend: str = "auto"
    effort: Effort = NO_EFFORT
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            known = ", ".join(BACKENDS)
            raise UsageError(f"--backend {self.backend}", "unknown", hint=f"one of {known}")
        if self.effort != NO_EFFORT:
            from vqtok.effort import levels

            levels.chosen(self.effort.level, self.effort.metric)
        if self.backend == "onnx" and self.device not in ("auto", "cpu"):
            raise UsageError(
                "--backend onnx", f"computes on CPUs, not on {self.device}", hint="--device cpu"
            )

    def check_device(self) -> None:
        """Refuse a device that is not there; torch is imported only for one that needs it.

        Raises:
            UsageError: it is not.
        """
        if self.device not in ("auto", "cpu"):
            from vqtok.checkpoints.devices import pick_device

            pick_device(self.device)

    def coder(self, info: ModelInfo) -> Coder:
        """Load a model into the backend that suits it, and where asked the search of its codes.

        Raises:
            CheckpointError: damaged weights or graphs, or no graphs where they are asked for.
            MediaError: an effort for something else than images.
            UsageError: a device or a package that is not there.
        """
        if self.effort.level:
            return self._searching(info)
        graphs = self._graphs(info) if self.backend == "auto" else None
        if graphs is not None or self.backend == "onnx":
            from vqtok.backends import onnx_backend

            return onnx_backend.coder(
                info.path, info.spec, name=info.name, count=self.threads, stored=graphs
            )
        from vqtok.backends import torch_backend
        from vqtok.checkpoints import directory
        from vqtok.checkpoints.devices import pick_device

        device = pick_device(self.device, threads=self.threads)
        return torch_backend.coder(directory.load(info, device=device))

    def _searching(self, info: ModelInfo) -> Coder:
        """Load a model whose codes are searched."""
        if info.spec.modality != "image":
            kind = PLURALS[info.spec.modality]
            # Of this file: images beside it are searched.
            raise MediaError(f"{kind} cannot have an --effort, only images", hint="leave it out")
        if importlib.util.find_spec("torch") is None:
            hint = "pip install torch, or leave out --effort"
            raise UsageError("--effort", "needs torch, which is not installed", hint=hint)
        from vqtok.checkpoints import directory
        from vqtok.checkpoints.devices import pick_device
        from vqtok.effort.coder import EffortCoder

        device = pick_device(self.device, threads=self.threads)
        tokenizer = directory.load(info, device=device)
        plain = cast("ImageCoder", replace(self, effort=NO_EFFORT).coder(info))
        return EffortCoder(plain, tokenizer, self.effort, depth=self.depth)

    def _graphs(self, info: ModelInfo) -> store.Stored | None:
        """Read the graphs of a model; None where torch is the better, or the only one to run it."""
        if self.device not in ("auto", "cpu") or info.foreign:
            return None
        if self.device == "auto" and _has_accelerator():
            return None
        try:
            sessions.require()
        except UsageError:
            return None
        # Those of other weights are left where they lie: torch knows what is wrong, if anything is.
        return store.find(info.path, fingerprint=info.fingerprint)


def _has_accelerator() -> bool:
    """Tell whether torch might find a faster device than the CPU, without importing it."""
    if not any(Path(path).exists() for path in _ACCELERATORS):
        return False
    from importlib import metadata

    try:
        return not metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False


class Models:
    """Models by need: found early, loaded late, each loaded once.

    Args:
        name: The only model to use, by name or directory; None: by kind or fingerprint.
        device: "auto", "cpu", "cuda" or "cuda:1".
        threads: CPU threads of models; None: as many as there are.
        backend: "torch", "onnx", or "auto": onnx on CPUs, where a model has its graphs.
        effort: How hard the codes of images are searched.
        depth: Residual stages that are searched; None: all.
        on_load: Called with the model's facts before its weights are read.
        on_machine: Called with what a loaded model computes on and with.
        on_inexact: Called with the facts of a model that cannot promise that its codes depend on
            nothing but the file.
        context: Context model, or the directory of one, in the place of those beside models.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        backend: str = "auto",
        effort: Effort = NO_EFFORT,
        depth: int | None = None,
        on_load: Callable[[ModelInfo], None] | None = None,
        on_machine: Callable[[str], None] | None = None,
        on_inexact: Callable[[ModelInfo], None] | None = None,
        context: Path | None = None,
    ) -> None:
        self.name = name
        self._context = context
        self.runtime = Runtime(device, threads, backend, effort, depth)
        self.on_load = on_load
        self.on_machine = on_machine
        self.on_inexact = on_inexact
        self._infos: dict[str, ModelInfo | VqtokError] = {}
        self._found: dict[str, ModelInfo | None] = {}
        self._loaded: dict[str, Coder | VqtokError] = {}

    def remember(self, info: ModelInfo) -> None:
        """Take the facts of the named model, read already."""
        self._infos[str(self.name)] = info

    @cached_property
    def contexts(self) -> Contexts:
        """Finds what codes are packed and unpacked with."""
        from vqtok.pipeline.contexts import Contexts

        return Contexts(self.info_for_header, self._context)

    def check(self, kinds: Collection[str] = ()) -> None:
        """Find out early, and without torch, what would fail for every input.

        Raises:
            CheckpointError: the named model does not exist, or no input's default model does.
            ConfigError: its config does not hold together.
        """
        if self.name is not None:
            self._describe(self.name)
        elif kinds:
            errors = []
            for kind in sorted(kinds):
                try:
                    self._default(kind)
                except VqtokError as error:
                    errors.append(error)
            if len(errors) == len(kinds):
                raise errors[0]

    def check_codes(self, kinds: Collection[str] = ()) -> None:
        """Find out early, and without torch, what would keep every input from becoming codes.

        Raises:
            CheckpointError: as of ``check``.
            UsageError: no such model, or one whose latents are continuous.
        """
        self.check(kinds)
        infos = [] if self.name is None else [self._describe(self.name)]
        if self.name is None:
            for kind in sorted(kinds):
                with suppress(VqtokError):  # its files fail one by one, the others do not
                    infos.append(self._default(kind))
        for info in infos:
            info.spec.require_codes(info.name)

    def info_for_kind(self, kind: str) -> ModelInfo:
        """Returns the model that encodes "image" or "audio".

        Raises:
            MediaError: the named model is for another kind.
        """
        if self.name is None:
            return self._default(kind)
        info = self._describe(self.name)
        if info.spec.modality != kind:
            raise MediaError(
                f"model {info.name} is for {PLURALS[info.spec.modality]}, not for {PLURALS[kind]}",
                hint=f"leave out -m, or pass -m {DEFAULTS[kind]}",
            )
        return info

    def info_for_header(self, header: Header) -> ModelInfo:
        """Returns the model that made a codes file.

        Raises:
            CodesError: the named model is another one, or none on the search path has the
                fingerprint.
            UsageError: it has no decoder.
        """
        from vqtok.checkpoints import directory

        wanted = header.spec.fingerprint
        if self.name is not None:
            info = self._describe(self.name)
            _check_same(info, header)
            info.require_decoder()
            return info
        if wanted not in self._found:
            self._found[wanted] = directory.find(wanted, name=header.model)
        found = self._found[wanted]
        if found is None:
            made_by = f"model {header.model}" if header.model else "an unnamed model"
            raise CodesError(
                f"made by {made_by} (fingerprint {wanted}), which is not here",
                hint="put its directory on VQTOK_MODELS, or pass -m DIRECTORY",
            )
        _check_same(found, header)
        found.require_decoder()
        return found

    def named(self) -> ModelInfo | None:
        """Returns the model of -m, or None."""
        return None if self.name is None else self._describe(self.name)

    def load(self, info: ModelInfo) -> Coder:
        """Return the coder of a model, ready to work; the same object each time.

        Raises:
            CheckpointError: damaged weights.
            UsageError: a device that is not there.
        """
        key = str(info.path)
        if key not in self._loaded:
            if self.on_load is not None:
                self.on_load(info)
            try:
                coder = self.runtime.coder(info)
                if self.on_machine is not None:
                    made_by = type(getattr(coder, "inner", coder)).__module__
                    backend = made_by.removeprefix("vqtok.backends.").split("_")[0]
                    effort = self.runtime.effort
                    by = f", effort {effort} by torch's gradients" if effort.level else ""
                    self.on_machine(f"device {coder.device}, backend {backend}{by}")
                self._loaded[key] = coder
                if self.on_inexact is not None and not coder.exact:
                    self.on_inexact(info)
            except VqtokError as error:
                self._loaded[key] = error
        found = self._loaded[key]
        if isinstance(found, VqtokError):
            raise found
        return found

    def recompute_stats(self) -> RecomputeStats:
        """Count the latents that the loaded models coded, and those recomputed in float64."""
        coders = [each for each in self._loaded.values() if not isinstance(each, VqtokError)]
        return sum((each.recompute_stats for each in coders), RecomputeStats())

    def _default(self, kind: str) -> ModelInfo:
        name = DEFAULTS[kind]
        try:
            return self._describe(name)
        except UsageError as error:
            # Nobody typed this name: it is our model that is missing, and only for this kind.
            raise CheckpointError(
                name,
                f"the default model for {PLURALS[kind]} is not here",
                hint="pass -m NAME; `vqtok models` lists all",
            ) from error

    def _describe(self, name: str) -> ModelInfo:
        if name not in self._infos:
            try:
                self._infos[name] = _tokenizer(name)
            except VqtokError as error:
                self._infos[name] = error
        found = self._infos[name]
        if isinstance(found, VqtokError):
            raise found
        return found


def _tokenizer(name: str) -> ModelInfo:
    """Facts of a tokenizer.

    Raises:
        UsageError: no such model, or a prior.
        CheckpointError: a damaged directory.
    """
    from vqtok.checkpoints import directory

    info = directory.describe(name)
    if info.family == "classifiers":
        hint = f"vqtok eval PHOTOS/ -m {name}, or vqtok sample --reject {name}"
        raise UsageError(info.name, "a classifier: it makes no codes", hint=hint)
    if info.learned is not None:
        raise UsageError(
            info.name,
            "a prior: it makes codes, it does not turn files into them",
            hint=f"vqtok sample -m {name}, or -m {info.learned.tokenizer or 'TOKENIZER'}",
        )
    return info


def _check_same(info: ModelInfo, header: Header) -> None:
    from vqtok.checkpoints import directory
    from vqtok.codes import files

    theirs = header.spec.fingerprint
    spec = info.spec.with_fingerprint(theirs if theirs in info.reads else info.fingerprint)
    try:
        files.check_model(header, spec, name=info.name)
    except CodesError as error:
        # The header's name may be stale: a directory can be renamed, its fingerprint stays.
        right = directory.find(header.spec.fingerprint, name=header.model)
        if right is None:
            raise
        hint = f"pass -m {right.name}, or leave out -m"
        raise CodesError(error.reason, hint=hint) from error
