"""The command line: parse, call the pipeline, print. No numerics, no torch of its own."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from vqtok import threads
from vqtok.cli import surroundings
from vqtok.cli.signals import Terminated, heed


def main() -> NoReturn:
    """Runs the ``vqtok`` command; leaves by ``sys.exit`` or the signal that ended it."""
    heed()
    threads.configure()
    threads.configure_products()
    surroundings.prepare()
    if "-vv" not in sys.argv and sys.argv.count("-v") < 2:
        _mute_libraries()
    surroundings.watch()

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
