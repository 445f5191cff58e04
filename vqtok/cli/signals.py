"""What signals do to a command: the clean-up of Ctrl-C for every signal that ends it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]


class Terminated(BaseException):
    """A signal as an exception: temporary files are removed on the way out, as for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def heed() -> None:
    """Let Ctrl-C and the signals that end a process raise, but for those that are ignored."""
    # A closed pipe ends the process quietly with 141, as it does any other filter. Commands at work
    # see it as an error instead (``closed_pipe_raises``), so that they can clean up.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for each in _endings():
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


def _endings() -> list[signal.Signals]:
    names = ("SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


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
