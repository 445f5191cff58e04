"""What the process is started with, made such that no command stumbles over it.

Signals that end it, closed standard streams, encodings that lack our signs, a working directory
that is gone, libraries that print or end the process by themselves, other processes of torchrun.
"""

from __future__ import annotations

import atexit
import codecs
import ctypes
import io
import os
import signal
import sys
import threading
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

from vqtok.cli import terminal
from vqtok.errors import UsageError

Handler = Callable[[int, FrameType | None], None]

SIGNS = {
    "×": "x", "…": "...", "→": "->", "⇄": "<->", "·": ".", "±": "+-", "≥": ">=", "≤": "<=",
    "²": "2", "₁": "1", "₂": "2", "√": "sqrt", "α": "alpha", "δ": "delta", "γ": "gamma",
    "−": "-", "–": "-", "—": "-", "─": "-", "━": "-", "│": "|", "├": "|", "└": "`",
    "‘": "'", "’": "'", "“": '"', "”": '"', "µ": "u", "μ": "u", "█": "#",
}  # fmt: skip
"""What is printed for signs that a terminal's encoding lacks; "?" for the others."""

_TO_PROGRAMS, _TO_PEOPLE = "vqtok-to-programs", "vqtok-to-people"
_NUMBERS_OF_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
_ADDRESS_OF_RANKS = ("MASTER_ADDR", "MASTER_PORT", "RANK")

_WANTED_ALONE = ("-h", "--help", "-V", "--version")

_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a process."""


class Terminated(BaseException):
    """A signal as an exception: temporary files are removed on the way out, as for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def heed_signals() -> None:
    """Let Ctrl-C and the signals that end a process raise, but for those that are ignored."""
    # A closed pipe ends the process quietly with 141, as it does any other filter. Commands at work
    # see it as an error instead (``closed_pipe_raises``), so that they can clean up.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for each in _ENDINGS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # nohup means it
            signal.signal(each, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


@contextmanager
def closed_pipe_raises() -> Iterator[None]:
    """Inside, a write to a closed pipe is a ``BrokenPipeError``, which leaves as ``Terminated``.

    A handler of the signal could not do that: its exception might come in the very moment in which
    the clean-up of another begins.
    """
    if not hasattr(signal, "SIGPIPE") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    except BrokenPipeError as error:
        raise Terminated(signal.SIGPIPE) from error
    finally:
        signal.signal(signal.SIGPIPE, before)


def prepare() -> None:
    """Give the process standard streams that hold, and a torch that can be loaded."""
    for number in (0, 1, 2):
        _open_if_closed(number)
    codecs.register_error(_TO_PROGRAMS, _with_bytes)
    codecs.register_error(_TO_PEOPLE, _instead)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_TO_PEOPLE if terminal.is_terminal(stream) else _TO_PROGRAMS)
    warnings.showwarning = _show_warning
    if not any(each in sys.argv for each in _WANTED_ALONE):
        _load_torch_elsewhere()


def mute_libraries() -> None:
    """Send what C libraries print on stderr nowhere; what we print goes on as before.

    libtiff and libmpg123 comment on damaged files there, where one line per file is promised.
    """
    try:
        if sys.stderr is None or sys.stderr.fileno() != 2:
            return
        ours = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError):
        return
    sys.stderr.flush()
    sys.stderr = open(  # noqa: SIM115, PTH123  # a descriptor, for the life of the process
        ours, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors
    )
    os.dup2(nowhere, 2)
    os.close(nowhere)


def watch() -> None:
    """Say so if a library in C ends the process, as oneMKL and OpenMP do for want of something.

    They print their reason on a stderr that is muted, and exit with a code of their own.
    """
    try:
        libc = ctypes.CDLL(None)
        register, release = libc["__cxa_atexit"], libc["__cxa_finalize"]
    except (AttributeError, OSError, TypeError):
        return  # another C library
    over = False

    def ended(_: Any) -> None:
        if not over:
            terminal.message("a library in C ended the process", label="Error:", alarm=True)
            terminal.message("-vv shows what it says", label="Hint:")
            os._exit(1)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ended)
    # Handlers are taken back by their owner, which any address can be.
    owner = ctypes.create_string_buffer(1)

    def end(_kept: object = handler) -> None:
        nonlocal over
        over = True
        release(owner)

    if register(handler, None, owner) == 0:
        atexit.register(end)  # Python's own end comes before C's, and there is no Python after it


def is_first_rank() -> bool:
    """Check that this process prints and writes: the first of those that torchrun started."""
    number = os.environ.get("RANK", "")
    return not number.isdecimal() or int(number) == 0


def check_ranks() -> None:
    """Refuse an environment that torchrun cannot have made.

    Raises:
        UsageError: naming the variable.
    """
    hint = "torchrun sets it; without torchrun, unset it"
    for name in _NUMBERS_OF_RANKS:
        value = os.environ.get(name, "")
        if value and not (value.isascii() and value.isdecimal() and len(value) < 10):
            raise UsageError(f"{name}={value}", "not a number", hint=hint)
    count = int(os.environ.get("WORLD_SIZE") or 1)
    if count < 1:
        raise UsageError("WORLD_SIZE=0", "no process at all", hint=hint)
    if count == 1:
        return
    for name in _ADDRESS_OF_RANKS:
        if not os.environ.get(name):
            raise UsageError(f"WORLD_SIZE={count}", f"several processes need {name}", hint=hint)
    if int(os.environ["RANK"]) >= count:
        raise UsageError(f"RANK={os.environ['RANK']}", f"there are {count} processes", hint=hint)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _raised_later(_interrupt, number, frame):
        signal.default_int_handler(number, frame)


def _raised_later(handler: Handler, number: int, frame: FrameType | None) -> bool:
    """Put a signal off, if libsndfile is calling back: what is raised there is lost in C.

    The handler is called again as soon as the function that called libsndfile goes on, by way of
    the hook for debuggers.
    """
    caller = None
    while frame is not None:
        if frame.f_code.co_name.startswith("vio_"):
            caller = frame.f_back
        frame = frame.f_back
    if caller is None:
        return False

    def back(frame: FrameType, event: str, argument: object) -> None:
        sys.settrace(None)
        frame.f_trace = None
        handler(number, None)

    caller.f_trace = back
    sys.settrace(lambda frame, event, argument: None)
    return True


def _terminate(number: int, frame: FrameType | None) -> None:
    if _raised_later(_terminate, number, frame):
        return
    # A second signal must not interrupt the clean-up of the first.
    for each in _ENDINGS:
        signal.signal(each, signal.SIG_IGN)
    raise Terminated(number)


def _open_if_closed(number: int) -> None:
    """Open /dev/null there: the next file that is opened would be taken for a standard stream."""
    try:
        os.fstat(number)
        return
    except OSError:
        terminal.CLOSED.add(number)
    if os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY) != number:
        return
    stream: TextIO = open(  # noqa: SIM115  # for the life of the process
        number, "r" if number == 0 else "w", encoding="utf-8", closefd=False
    )
    name = ("stdin", "stdout", "stderr")[number]
    stream.buffer.raw.name = f"<{name}>"  # type: ignore[attr-defined]  # messages call it so
    setattr(sys, name, stream)


def _with_bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Give the bytes of a file's name that are no text; else what ``_instead`` does."""
    if isinstance(error, UnicodeEncodeError):
        sign = ord(error.object[error.start])
        if 0xDC80 <= sign <= 0xDCFF:
            return bytes([sign - 0xDC00]), error.start + 1
    return _instead(error)


def _instead(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace one character that the encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign = error.object[error.start]
    bar = "▁" <= sign <= "▇"
    plain = unicodedata.normalize("NFKC", sign)
    return SIGNS.get(sign) or ("=" if bar else plain if plain.isascii() else "?"), error.start + 1


def _load_torch_elsewhere() -> None:
    """Load torch in another directory if the present one is gone: its oneMKL ends us otherwise."""
    try:
        os.getcwd()  # noqa: PTH109
        return
    except OSError:
        pass
    try:
        here = os.open(".", os.O_RDONLY)
        os.chdir(os.sep)
    except OSError:
        return
    try:
        from vqtok.checkpoints.devices import pick_device

        pick_device("cpu")
    finally:
        os.fchdir(here)
        os.close(here)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    terminal.message(f"{category.__name__}: {message}", label="Warning:")
