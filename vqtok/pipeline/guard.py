"""One input's misfortune stays its own: it becomes a ``Failed``, and the next is worked on."""

from __future__ import annotations

from pathlib import Path

from vqtok.errors import (
    CheckpointError,
    ConfigError,
    MediaError,
    UsageError,
    VqtokError,
    one_line,
)
from vqtok.pipeline.results import Failed

FATAL = (UsageError, ConfigError)
NAMED = (CheckpointError, ConfigError)
"""Errors that are about a model, and name it."""


def failed(
    source: Path | None,
    error: Exception,
    *,
    target: Path | None = None,
    has_model: bool = False,
) -> Failed:
    """The failure of one input, in words for its user; the error itself stays as the cause.

    Args:
        source: The input.
        error: What happened.
        target: What was to be written; an error may be about it instead.
        has_model: Whether the input's model was at hand. If not, a usage or config error is a
            mistake of the whole command, which every further input would only repeat.

    Raises:
        UsageError, ConfigError: the error itself, in that case.
        BrokenPipeError: nobody reads standard output any more; that ends all.
    """
    _check_pipe(error)
    if not has_model and isinstance(error, FATAL):
        raise error
    return Failed(source, _explained(source, target, error))


def _check_pipe(error: BaseException) -> None:
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, BrokenPipeError):
            raise each
        each = each.__cause__


def _explained(source: Path | None, target: Path | None, error: Exception) -> VqtokError:
    name = "stdin" if source is None else one_line(str(source))
    made: VqtokError
    if isinstance(error, VqtokError):
        # Errors about values, not files, have no subject of their own yet.
        text = str(error)
        subjects = (name, one_line(str(target)), "stdin", "stdout", "--")
        known = isinstance(error, NAMED) or text.startswith(subjects) or "cannot write" in text
        made = error if known else error.about(name)
    elif isinstance(error, MemoryError) or _is_out_of_memory(error):
        made = MediaError(f"{name}: not enough memory", hint=_memory_hint(error))
    elif isinstance(error, OSError):
        subject = error.filename or name
        made = MediaError(f"{subject}: {(error.strerror or str(error)).lower()}")
    else:
        text = " ".join(str(error).split())
        made = VqtokError(
            f"{name}: internal: {type(error).__name__}: {text}",
            hint="this is a bug; run again with -vv for the trace",
        )
    if made is not error:
        made.__cause__ = error
    return made


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a class for GPUs only; its CPU allocator raises a plain RuntimeError.
    text = str(error)
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text


def _memory_hint(error: Exception) -> str | None:
    return "--device cpu" if type(error).__name__ == "OutOfMemoryError" else None
