"""Where a model runs, and on how many threads."""

from __future__ import annotations

from vqtok.errors import UsageError
from vqtok.threads import MOST


def pick_device(name: str = "auto", *, threads: int | None = None) -> str:
    """Choose the device and the number of threads; imports torch.

    Args:
        name: "auto" takes cuda, then cpu.
        threads: CPU threads, or None to leave torch's choice.

    Raises:
        UsageError: no such device here.
    """
    import torch

    if threads is not None:
        if not 1 <= threads <= MOST:
            raise UsageError(f"--threads {threads}", f"not between 1 and {MOST}")
        torch.set_num_threads(threads)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("mps"):
        # The nearest entry is decided in float64 where rounding could decide; MPS has none.
        raise UsageError(f"--device {name}", "exact codes need float64", hint="--device cpu has it")
    try:
        # There and back: some devices take numbers and never give them.
        torch.zeros(1, dtype=torch.float64, device=name).cpu()
    except Exception as error:  # each device's library raises what it likes
        text = str(error).strip() or type(error).__name__
        reason = text.splitlines()[0].partition(". ")[0].rstrip(".")
        raise UsageError(
            f"--device {name}", f"not available: {reason}", hint="--device cpu always is"
        ) from error
    return name
