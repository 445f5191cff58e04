"""What can be known of one model directory from its small files and the head of its weights.

``config.json`` is ``{"vqtok": 1, "spec": …, "model": …}``; the spec is there so that a plan needs
no network. ``model.safetensors`` holds the weights and nothing else; ``training.json`` tells how
they came about and ``README.md`` tells people.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vqtok import config as configs
from vqtok import regular
from vqtok.codes import safetensors
from vqtok.codes.spec import RANKS, CodeSpec, integer
from vqtok.errors import CheckpointError, CodesError, ConfigError, UsageError
from vqtok.protocols import NO_DECODER, Config, decodes

if TYPE_CHECKING:
    from vqtok.protocols import Tokenizer

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TRAINING = "training.json"
CARD = "README.md"
HELD_OUT = "held-out.json"
"""Names of the files that training held out."""
FORMAT = 1
"""Of ``config.json``; raised only when an older reader would misread a newer directory."""

_CHUNK = 1 << 20
_MOST = 1 << 20
"""Of numbers in a config that are no sizes: rates in Hz, entries that are not stored."""


@dataclass(frozen=True)
class Learned:
    """Which codes a prior has learned.

    Attributes:
        tokenizer: NAME of the tokenizer that made them; "" if unknown.
        fingerprint: Of that tokenizer; "" if unknown.
        extent: Of the signals whose codes it was trained on: what it samples where none is given.
    """

    tokenizer: str
    fingerprint: str
    extent: tuple[int, ...]


@dataclass
class Read:
    """Keeps what was read of a model for its facts, until it is loaded.

    Attributes:
        config: Content of ``config.json``; empty of other programs' checkpoints.
        open: Makes the tokenizer of a checkpoint that another program wrote, which is read whole
            for its facts.
        stays: Whether ``open`` can be called again: the model is in memory anyway.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    open: Callable[[], Tokenizer] | None = None
    stays: bool = False


@dataclass(frozen=True)
class ModelInfo:
    """Facts of one model, without its weights.

    Attributes:
        name: NAME as ``-m`` takes it: the directory's own.
        path: The directory.
        config: The ``"model"`` part of ``config.json``.
        spec: What its codes mean, with the fingerprint; of a prior, with that of its tokenizer.
        learned: Of a prior, what it was trained on; None of a tokenizer.
        fingerprint: 16 hexadecimal digits that tell this model from any other.
        reads: Fingerprints of other models whose codes this one decodes as its own: their encoder
            and codebook are in it.
        parameters: Numbers in the weights file.
        size_bytes: Of the weights file.
        training: ``training.json``; empty if there is none or it cannot be read, as it only tells.
        foreign: Family of a checkpoint that another program wrote; "" of model directories.
        notes: What there is to know of such a checkpoint: what of it is not used, and why.
        decodes: Whether there is a decoder; False: codes are all that it gives.
        read: What loading need not read again.
    """

    name: str
    path: Path
    config: dict[str, Any]
    spec: CodeSpec
    fingerprint: str
    reads: tuple[str, ...]
    parameters: int
    size_bytes: int
    training: dict[str, Any]
    learned: Learned | None = None
    foreign: str = ""
    notes: tuple[str, ...] = ()
    decodes: bool = True
    read: Read = field(default_factory=lambda: Read(), repr=False, compare=False)

    @property
    def family(self) -> str:
        """What it is: "tokenizers", "priors" or "classifiers"; else what its config says."""
        return str(self.config.get("type")).partition("/")[0]

    def require_decoder(self) -> None:
        """Do nothing if codes can be decoded.

        Raises:
            UsageError: the model has no decoder.
        """
        if not self.decodes:
            raise UsageError(self.name, NO_DECODER)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes that a prior or classifier knows, in the order of their numbers."""
        found = self.config.get("classes", ())
        return tuple(map(str, found)) if isinstance(found, list | tuple) else ()


def facts(directory: Path, content: Mapping[str, Any] | None = None) -> ModelInfo:
    """Read everything but the weights themselves.

    Args:
        directory: Of the model.
        content: Of its ``config.json``, if that is read already.

    Raises:
        CheckpointError: a file missing or damaged, or of a newer version.
        ConfigError: ``config.json`` is not JSON.
    """
    data = read_config(directory) if content is None else checked_config(directory, content)
    with _weights(directory) as stream:
        sign = _hashed(data, stream)
        parameters, size_bytes = _parameters(stream), os.fstat(stream.fileno()).st_size
    learned = read_learned(directory, data)
    spec = read_spec(directory, data)
    return ModelInfo(
        name=name_of(directory),
        path=directory,
        config=data["model"],
        spec=spec.with_fingerprint(sign if learned is None else learned.fingerprint),
        fingerprint=sign,
        reads=tuple(data.get("reads", ())),
        parameters=parameters,
        size_bytes=size_bytes,
        training=_training(directory / TRAINING),
        learned=learned,
        decodes=data.get("decodes") is not False,
        read=Read(config=data),
    )


def name_of(directory: Path) -> str:
    """Returns the directory's own name, also for "." and "models/../x".

    In the cache of the Hugging Face hub, whose directories are called by hashes, that of the model.
    """
    path = directory.resolve()
    home = path.parent.parent.name
    if path.parent.name == "snapshots" and home.startswith("models--"):
        return home.rpartition("--")[2]
    return path.name


def fingerprint(directory: Path, content: Mapping[str, Any] | None = None) -> str:
    """First 16 hex digits of the SHA-256 of config and weights.

    The config is hashed as parsed and written again, so that its layout does not matter.

    Raises:
        CheckpointError: a file is missing or cannot be read.
        ConfigError: ``config.json`` is not JSON.
    """
    data = read_config(directory) if content is None else content
    with _weights(directory) as stream:
        return _hashed(data, stream)


def _hashed(config: Mapping[str, Any], weights: BinaryIO) -> str:
    digest = hashlib.sha256(configs.to_json(config).encode() + b"\0")
    while chunk := weights.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()[:16]


def our_config(path: Path) -> Mapping[str, Any] | None:
    """Read the ``config.json`` of a model of ours, or beside a file of one.

    Returns:
        None if there is none, or it is another program's; nothing in it if it is not JSON.
    """
    config = (path if path.is_dir() else path.parent) / CONFIG
    if not config.is_file():
        return None
    try:
        found = configs.read_json(config)
    except ConfigError:
        return {} if path.is_dir() else None
    return found if "vqtok" in found else None


def read_config(directory: Path) -> dict[str, Any]:
    """Returns ``config.json``, checked as far as this room understands it.

    Raises:
        CheckpointError: missing, not a model's config, or of a newer version.
        ConfigError: not JSON.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise CheckpointError(
            directory,
            f"not a model directory: no {CONFIG}",
            hint=f"a model is a directory with {CONFIG} and {WEIGHTS}",
        )
    return checked_config(directory, configs.read_json(path))


def checked_config(directory: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Check the content of a ``config.json`` as far as this room understands it.

    Raises:
        CheckpointError: not a model's config, or of a newer version.
    """
    path, data = directory / CONFIG, dict(content)
    version = data.get("vqtok")
    if type(version) is int and version > FORMAT:
        raise CheckpointError(
            path,
            f"version {version} of a newer vqtok; this one reads up to {FORMAT}",
            hint="pip install --upgrade vqtok",
        )
    if version != FORMAT or not all(isinstance(data.get(key), dict) for key in ("spec", "model")):
        raise CheckpointError(path, 'not a vqtok model: needs "vqtok", "spec" and "model"')
    reads = data.get("reads", [])
    if not isinstance(reads, list) or not all(isinstance(each, str) for each in reads):
        raise CheckpointError(path, '"reads" is no list of fingerprints')
    return data


def parsed(directory: Path, data: Mapping[str, Any]) -> Config:
    """Returns the model's config of which it can be built, in bounded time.

    Args:
        directory: Of the model.
        data: Content of its ``config.json``.

    Raises:
        ConfigError: a config that does not fit, with the location in it, or that asks for far more
            than the weights hold.
    """
    subject, numbers = directory / CONFIG, 0
    # What is wrong with weights is said by whoever reads them.
    with suppress(CheckpointError), _weights(directory) as stream:
        numbers = _parameters(stream)
    check_sizes(data["model"], numbers, subject=subject)
    return configs.parse(data["model"], Config, where=f"{subject}: model")


def check_sizes(config: object, numbers: int, *, subject: object) -> None:
    """Refuse a config with a number that no size or count of a network can be.

    Args:
        config: As JSON has it.
        numbers: In all weights: none of their axes is longer, and there are not more of them.
        subject: The config, in messages.

    Raises:
        ConfigError: far larger than the weights.
    """
    most, waiting = max(numbers, _MOST), [config]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            waiting.extend(found.values())
        elif isinstance(found, list | tuple):
            waiting.extend(found)
        elif isinstance(found, int) and abs(found) > most:
            raise ConfigError(
                subject,
                "model: cannot be built: far larger than the weights",
                hint="weights and config.json are not of one model",
            )


def content(spec: CodeSpec, config: Config) -> dict[str, Any]:
    """Return what every ``config.json`` holds."""
    unsigned = {key: value for key, value in spec.to_json().items() if key != "fingerprint"}
    data = {"vqtok": FORMAT, "spec": unsigned, "model": configs.dump(config)}
    return data if decodes(config) else data | {"decodes": False}


def read_spec(directory: Path, data: Mapping[str, Any]) -> CodeSpec:
    """Returns the spec in ``config.json``, without a fingerprint.

    Raises:
        CheckpointError: it does not hold together.
    """
    try:
        return CodeSpec.from_json(data["spec"], least=0).with_fingerprint("")
    except ValueError as error:
        raise CheckpointError(directory / CONFIG, f"damaged spec: {error}") from error


def read_learned(directory: Path, data: Mapping[str, Any]) -> Learned | None:
    """Returns the "codes" in a prior's ``config.json``; None of a tokenizer, which has none.

    Raises:
        CheckpointError: they do not hold together, or a prior has none.
    """
    is_prior = str(data["model"].get("type")).startswith("priors/")
    if not is_prior:
        return None
    found = data.get("codes")
    try:
        if not isinstance(found, Mapping):
            raise ValueError("not an object")
        texts = [found["tokenizer"], found["fingerprint"]]
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError("a name that is none")
        rank = RANKS[read_spec(directory, data).modality]
        extent = found["extent"]
        if not isinstance(extent, list) or len(extent) != rank:
            raise ValueError("an extent of another rank")
        return Learned(texts[0], texts[1], tuple(integer(size, "extent") for size in extent))
    except KeyError as error:
        reason = f"{error} is missing"
        raise CheckpointError(directory / CONFIG, f"damaged codes: {reason}") from error
    except ValueError as error:
        raise CheckpointError(directory / CONFIG, f"damaged codes: {error}") from error


@contextmanager
def _weights(directory: Path) -> Iterator[BinaryIO]:
    """Open the weights of a model.

    Raises:
        CheckpointError: missing, unreadable or damaged, as found by what is done with them.
    """
    path = directory / WEIGHTS
    try:
        with regular.opened(path) as stream:
            yield stream
    except FileNotFoundError as error:
        raise CheckpointError(directory, f"incomplete model directory: no {WEIGHTS}") from error
    except OSError as error:
        raise CheckpointError(path, f"cannot read: {error.strerror}") from error
    except CodesError as error:
        raise CheckpointError(path, f"damaged: {error.reason}") from error


def _parameters(weights: BinaryIO) -> int:
    """Count the numbers in a safetensors file from its table of contents."""
    return safetensors.table(weights, os.fstat(weights.fileno()).st_size).numbers()


def _training(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise CheckpointError(path, regular.NOT_REGULAR)
    try:
        return configs.read_json(path)
    except ConfigError:
        return {}
