"""The command line: parse, call the pipeline, print. No numerics, no torch of its own."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from vqtok import threads
from vqtok.cli import surroundings


def main() -> NoReturn:
    """Runs the ``vqtok`` command; leaves by ``sys.exit`` or the signal that ended it."""
    surroundings.heed_signals()
    threads.configure()
    threads.configure_products()
    surroundings.prepare()
    if "-vv" not in sys.argv and sys.argv.count("-v") < 2:
        surroundings.mute_libraries()
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
    except surroundings.Terminated as ended:
        return ended.number
    finally:
        if hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # for what is flushed on the way out
    return None
