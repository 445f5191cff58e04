"""Formats of corpora: each file makes one, ``FORMAT``, and its name is what ``--format`` takes."""

from __future__ import annotations

import pkgutil

FORMATS = tuple(sorted(each.name for each in pkgutil.iter_modules(__path__)))
"""What ``--format`` takes. Nothing else is imported here: every ``vqtok encode`` asks for it."""
