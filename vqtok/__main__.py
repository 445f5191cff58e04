"""``python -m vqtok``: the same as the console command."""

from __future__ import annotations

from vqtok.cli import main

main()
