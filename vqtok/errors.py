"""Errors that vqtok raises on purpose.

VqtokError                 1
├── UsageError             2   flags, arguments, plans, missing extras
├── ConfigError            2   config files, presets, --set
├── MediaError             1   images and audio files
├── CodesError             1   codes files and code values
├── CheckpointError        1   model directories and weights
└── TrainingError          1   runs that cannot go on

The number is the exit code of the command line. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations

import errno
import os
import re
from enum import IntEnum
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from typing_extensions import Self


class ExitCode(IntEnum):
    """Tells the shell how the command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    BROKEN_PIPE = 141


# File names that are not UTF-8 reach Python as these; streams know how to print them.
_UNDECODED = frozenset(map(chr, range(0xDC80, 0xDD00)))

LONGEST = 600
"""Characters of a message: files may quote themselves in it at any length."""


def printable(text: str) -> str:
    """Replace control characters, which a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in _UNDECODED else "\ufffd" for each in text)


def one_line(text: object) -> str:
    """Replace control characters, which a terminal would obey, and cut what is too long."""
    plain = printable(str(text))
    if len(plain) <= LONGEST:
        return plain
    half = LONGEST // 2
    return f"{plain[:half]} … {plain[-half:]}"


class VqtokError(Exception):
    """Tells a user what is wrong with what: ``cat.png: truncated``.

    Called with a reason, or with a subject and a reason; what a hostile file says of itself may be
    part of both, so they go through ``one_line``.

    Attributes:
        subject: File, flag or model that is at fault; "" where only a caller knows it.
        reason: What is wrong, without a full stop.
        hint: What to type or change, or None.
    """

    exit_code = ExitCode.FAILED

    @overload
    def __init__(self, reason: str, /, *, hint: str | None = None) -> None: ...

    @overload
    def __init__(self, subject: object, reason: str, /, *, hint: str | None = None) -> None: ...

    def __init__(self, *text: object, hint: str | None = None) -> None:
        words = [one_line(each) for each in text]
        super().__init__(*words)
        self.subject = words[0] if len(words) == 2 else ""
        self.reason = words[-1]
        self.hint = None if hint is None else printable(hint)

    def __str__(self) -> str:
        """Join subject and reason."""
        return one_line(f"{self.subject}: {self.reason}" if self.subject else self.reason)

    def about(self, subject: object) -> Self:
        """Name the subject, unless it is known already."""
        self.subject = self.subject or one_line(subject)
        return self

    def without(self, subject: object) -> str:
        """Give the reason, and the subject only if it is another than is known already."""
        return self.reason if self.subject in ("", one_line(subject)) else str(self)


class UsageError(VqtokError):
    """Refuses flags or arguments that cannot be carried out, known before any work."""

    exit_code = ExitCode.USAGE


class ConfigError(VqtokError):
    """Refuses a config, preset or ``--set`` assignment that does not fit its dataclass."""

    exit_code = ExitCode.USAGE


class MediaError(VqtokError):
    """Refuses an image or audio file that cannot be read or written."""


class CodesError(VqtokError):
    """Refuses a codes file that is damaged, foreign, out of range or another model's."""


class CheckpointError(VqtokError):
    """Refuses a model directory that is missing, incomplete or damaged."""


class TrainingError(VqtokError):
    """Ends a training run that diverged and that no remedy brought back."""


class Unwritable(OSError):
    """An ``OSError`` of which it is known that it came of writing its file."""


_OF_WRITING = (errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What only a write can meet."""

_NUMBER = re.compile(r"\bos error (\d+)\)")


def of_writing(error: Exception, target: object = "") -> Exception:
    """Makes an error that only a write can meet one of writing; gives others back as they are.

    Args:
        error: An ``OSError``, or that of a library in Rust, which tells the number in its text.
        target: The file, where the error does not know it by its final name.
    """
    found = _NUMBER.search(str(error))
    number = error.errno if isinstance(error, OSError) and error.errno else found and int(found[1])
    if number not in _OF_WRITING:
        return error
    name = str(target) or _named(getattr(error, "filename", None))
    made = Unwritable(number, os.strerror(int(number or 0)), *([name] if name else []))
    made.__cause__ = error
    return made


def os_message(error: OSError) -> str:
    """Returns the reason of an ``OSError`` in lower case: "no such file or directory"."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def explained(error: Exception, subject: object = "") -> VqtokError:
    """Makes any error one in words for people; the error itself stays as its cause.

    What the machine denies (files, memory) is reported as that. The rest is a bug of ours.

    Args:
        error: What happened.
        subject: What it happened to, if the error does not say.
    """
    made: VqtokError
    if isinstance(error, VqtokError):
        return error
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        on_device = type(error).__name__ == "OutOfMemoryError"
        made = VqtokError("not enough memory", hint="--device cpu" if on_device else None)
    elif isinstance(error, OSError):
        reason = os_message(error)
        made = VqtokError(f"cannot write: {reason}" if isinstance(error, Unwritable) else reason)
        subject = _named(error.filename) or subject
    else:
        text = " ".join(str(error).split())
        made = VqtokError(
            f"internal: {type(error).__name__}: {text}",
            hint="this is a bug; run again with -vv for the trace",
        )
    made.__cause__ = error
    return made.about(subject)


def _named(filename: object) -> str:
    # Of a call with a descriptor it is a number.
    return filename if isinstance(filename, str) else ""


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a class for GPUs only; its CPU allocator raises a plain RuntimeError.
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
