"""Every error that vqtok raises on purpose.

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

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns to the shell."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    BROKEN_PIPE = 141


# File names that are not UTF-8 reach Python as these; streams know how to print them.
_UNDECODED = frozenset(map(chr, range(0xDC80, 0xDD00)))

LONGEST = 600
"""Characters of a message: files may quote themselves in it at any length."""


def one_line(text: str) -> str:
    """The text without control characters, which a terminal would obey, and of bounded length."""
    plain = "".join(each if each.isprintable() or each in _UNDECODED else "\ufffd" for each in text)
    if len(plain) <= LONGEST:
        return plain
    half = LONGEST // 2
    return f"{plain[:half]} … {plain[-half:]}"


class VqtokError(Exception):
    """An error to show to a user as it is: subject first, then what is wrong.

    Args:
        message: ``"cat.bmp: cannot read image: not a BMP file"``; no full stop. What a hostile file
            says of itself may be part of it, so it goes through ``one_line``.
        hint: What to type or change, or None.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(one_line(message))
        self.hint = hint


class UsageError(VqtokError):
    """Flags or arguments that cannot be carried out, known before any work."""

    exit_code = ExitCode.USAGE


class ConfigError(VqtokError):
    """A config, preset or ``--set`` assignment that does not fit its dataclass."""

    exit_code = ExitCode.USAGE


class MediaError(VqtokError):
    """An image or audio file that cannot be read or written."""


class CodesError(VqtokError):
    """A codes file that is damaged, foreign, out of range or another model's."""


class CheckpointError(VqtokError):
    """A model directory that is missing, incomplete or damaged."""


class TrainingError(VqtokError):
    """A training run that cannot go on: it diverged, and nothing that was tried brought it back."""
