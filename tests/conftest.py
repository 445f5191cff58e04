"""Settings of the whole test run."""

from __future__ import annotations

from hypothesis import settings

# Fixed examples: a run that fails fails again. No deadline: machines are busy.
settings.register_profile("vqtok", deadline=None, derandomize=True)
settings.load_profile("vqtok")
