"""The command line: parse, call the pipeline, print. No numerics, no torch of its own."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


class Terminated(BaseException):
    """SIGTERM as an exception: temporary files are removed on the way out, as for Ctrl-C."""


def main() -> NoReturn:
    """The ``vqtok`` console command; leaves by ``sys.exit`` or by the signal that ended it."""
    # A closed pipe ends the process quietly with 141, as it does any other filter.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _terminate)

    try:
        from vqtok.cli.app import app

        app(prog_name="vqtok")
    except KeyboardInterrupt:
        sys.exit(130)  # before the command took over; it answers for itself
    except Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    sys.exit(0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # A second SIGTERM must not interrupt the clean-up of the first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
