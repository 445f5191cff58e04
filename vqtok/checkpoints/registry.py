"""Which models there are, and where: by listing folders and reading small files, never torch."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from vqtok import regular
from vqtok.checkpoints import foreign, hub
from vqtok.checkpoints.facts import CONFIG, WEIGHTS, ModelInfo, Read, facts, our_config
from vqtok.checkpoints.weight_files import is_candidate, is_foreign
from vqtok.errors import CheckpointError, UsageError, VqtokError


def search_path() -> list[Path]:
    """Folders whose subdirectories are models, first come first served; some may not exist.

    ``$VQTOK_MODELS`` (like PATH), ``./models``, the user's data folder, the shipped models.
    """
    listed = os.environ.get("VQTOK_MODELS", "").split(os.pathsep)
    folders = [Path(each) for each in listed if each]
    folders.append(Path("models"))
    with suppress(RuntimeError):  # no home directory, as in some containers
        data = os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
        folders.append(Path(data) / "vqtok" / "models")
    package = Path(__file__).resolve().parents[1]
    folders.append(package / "models")
    # In a checkout they lie beside the package; in site-packages that folder would be a stranger's.
    if (package.parent / "pyproject.toml").is_file():
        folders.append(package.parent / "models")
    return folders


def available() -> dict[str, Path]:
    """Returns every model's directory by name, sorted; by listing folders alone."""
    found: dict[str, Path] = {}
    for path in _directories():
        found.setdefault(path.name, path)
    return dict(sorted(found.items()))


def survey() -> tuple[list[ModelInfo], list[VqtokError]]:
    """Returns every model that can be described, sorted by name, and why the others cannot."""
    sound: list[ModelInfo] = []
    damaged: list[VqtokError] = []
    for path in available().values():
        try:
            # Weights of others are not kept: facts of many must not fill the memory.
            sound.append(replace(_facts(path), read=Read()))
        except VqtokError as error:
            damaged.append(error)
    return sound, damaged


def names() -> list[ModelInfo]:
    """Returns every sound model on the search path, sorted by name; the first of a name wins."""
    return survey()[0]


def resolve(name: str) -> Path:
    """Returns the directory of a model.

    Args:
        name: A directory that holds a model, a checkpoint of another program, any path with a
            separator, a NAME, or hf:ORG/NAME of the hub.

    Raises:
        UsageError: nothing of that name; a near name is suggested.
        CheckpointError: a path to something that is no model, or one that cannot be downloaded.
    """
    if name.startswith(hub.PREFIX):
        return hub.fetch(name)
    path = Path(name)
    try:
        if name and path.exists() and ((path / CONFIG).is_file() or is_foreign(path)):
            return path
    except OSError as error:  # longer than a name can be: codes files may say anything
        raise UsageError(repr(name), "unknown model", hint="`vqtok models` lists all") from error
    if any(each in name for each in ("/", os.sep)):
        raise _no_model(path)
    known = available()
    if name in known:
        return known[name]
    if name and path.exists():
        raise _no_model(path)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    listing = "`vqtok models` lists all"
    raise UsageError(
        repr(name),
        "unknown model",
        hint=f"did you mean {close[0]}? {listing}" if close else listing,
    )


@contextmanager
def given(models: Iterable[ModelInfo]) -> Iterator[None]:
    """Let names stand for models of this process, before all others, while the block runs.

    Args:
        models: Whose ``read.open`` gives the tokenizer, each time it is asked.
    """
    before = dict(_given)
    _given.update({each.name: each for each in models})
    try:
        yield
    finally:
        _given.clear()
        _given.update(before)


_given: dict[str, ModelInfo] = {}
"""What ``given`` was given; threads of commands ask too, so that it is no variable of a context."""


def describe(name_or_path: str | Path) -> ModelInfo:
    """Facts of one model, by NAME or directory.

    Raises:
        UsageError: no such model.
        CheckpointError: a file missing or damaged.
        ConfigError: ``config.json`` is not JSON.
    """
    if str(name_or_path) in _given:
        return _given[str(name_or_path)]
    return _facts(resolve(name_or_path) if isinstance(name_or_path, str) else name_or_path)


def find(
    fingerprint: str, *, name: str = "", folders: Sequence[Path] = (Path(),)
) -> ModelInfo | None:
    """Returns the model with this fingerprint, or None.

    Args:
        fingerprint: As in a codes file's header.
        name: What a file calls it. Files may say anything, so this is no path, and no other
            program's checkpoint or model of a hub is opened for it: that is the user's word.
        folders: Where a directory of this name is tried before all others.
    """
    for info in _given.values():
        if info.fingerprint == fingerprint:
            return info
    paths: list[Path] = []
    if name == Path(name).name:  # neither a path nor nothing
        paths += [folder / name for folder in folders if _is_ours(folder / name)]
        paths += [each for each in _directories() if each.name == name]
    # Two folders of the path may hold different models of one name, so every directory counts.
    for path in (*paths, *_directories()):
        with suppress(VqtokError):  # a damaged neighbour must not hide a sound model
            found = _facts(path)
            if found.fingerprint == fingerprint:
                return found
    return None


def _facts(path: Path) -> ModelInfo:
    """Read the facts of a model directory, or of what another program wrote."""
    content = our_config(path)
    if content is None and is_candidate(path):
        return foreign.describe(path)
    return facts(path, content if content and path.is_dir() else None)


def _is_ours(path: Path) -> bool:
    try:
        return path.is_dir() and bool(our_config(path))
    except (OSError, ValueError):  # longer than a name can be, or with zero bytes
        return False


def _directories() -> list[Path]:
    """Returns every model directory of every folder, in search order."""
    found: list[Path] = []
    for folder in search_path():
        with suppress(OSError):  # most folders of the path do not exist
            paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
            found.extend(path for path in paths if (path / CONFIG).is_file())
    return found


def _no_model(path: Path) -> VqtokError:
    whole = f"a model is a directory with {CONFIG} and {WEIGHTS}"
    if path.is_dir():
        return CheckpointError(path, f"not a model directory: no {CONFIG}", hint=whole)
    if path.exists() and not path.is_file():
        return CheckpointError(path, regular.NOT_REGULAR)
    if path.exists():
        inside = path.parent if (path.parent / CONFIG).is_file() else None
        hint = f"pass -m {inside}" if inside else whole
        return CheckpointError(path, "a file, not a model directory", hint=hint)
    return UsageError(path, "no such model directory", hint=whole)
