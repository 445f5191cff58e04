"""The command line: parse, call the pipeline, print. No numerics, no torch of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from vqtok import threads

Handler = Callable[[int, FrameType | None], None]


class Terminated(BaseException):
    """A signal as an exception: temporary files are removed on the way out, as for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> NoReturn:
    """Runs the ``vqtok`` command; leaves by ``sys.exit`` or the signal that ended it."""
    # A closed pipe ends the process quietly with 141, as it does any other filter. Commands at work
    # see it as an error instead (``closed_pipe_raises``), so that they can clean up.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for each in _endings():
        if signal.getsignal(each) is not signal.SIG_IGN:  # nohup means it
            signal.signal(each, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    threads.configure()
    if "-vv" not in sys.argv and sys.argv.count("-v") < 2:
        _mute_libraries()

    number = _run()
    if number is not None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(0)


def _run() -> int | None:
    """Run the command; the signal that ended it, or None.

    When this returns, what was interrupted is gone, and with it its frames. Generators that were
    not closed, since the signal came in between, are closed by that: they finish a file that is
    being written, or remove it.
    """
    try:
        from vqtok.cli.app import app

        app(prog_name="vqtok")
    except KeyboardInterrupt:
        sys.exit(130)  # before the command took over; it answers for itself
    except Terminated as ended:
        return ended.number
    finally:
        if hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # for what is flushed on the way out
    return None


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


def _endings() -> list[signal.Signals]:
    names = ("SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _mute_libraries() -> None:
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
    for each in _endings():
        signal.signal(each, signal.SIG_IGN)
    raise Terminated(number)
