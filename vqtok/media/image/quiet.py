"""Keep Pillow's own size limit and warnings out of the way while our checks stand in for them."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image

_lock = threading.Lock()
_users = 0
_undo = ExitStack()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Lift Pillow's global pixel limit and silence its warnings inside the block.

    Both are process-wide settings, so several threads share one change: the first to enter makes
    it, the last to leave undoes it.
    """
    global _users
    with _lock:
        if _users == 0:
            _enter()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _undo.close()


def _enter() -> None:
    limit = Image.MAX_IMAGE_PIXELS
    _undo.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", module=r"PIL\.")
    _undo.callback(_set_limit, limit)
    _set_limit(None)


def _set_limit(limit: int | None) -> None:
    Image.MAX_IMAGE_PIXELS = limit
