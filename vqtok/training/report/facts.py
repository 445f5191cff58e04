"""What ``training.json`` says of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from vqtok import __version__, config
from vqtok.distributed import world

if TYPE_CHECKING:
    from vqtok.training.run import Run


def facts_of(run: Run) -> dict[str, Any]:
    """JSON data: what was trained on what, how far it has come, and how good its best model is."""
    evaluations, best = run.journal.evaluations, run.kept.best["step"]
    return {
        "command": run.command,
        "recipe": config.dump(run.recipe),
        "step": run.step,
        "best_step": best,
        "best_by": run.kept.by,
        "elapsed_s": round(run.elapsed, 1),
        "device": str(run.device),
        "ranks": world(),
        "precision": run.learner.precision.name,
        "files": len(run.dataset.items),
        "held_out_files": run.task.held_out,
        "unreadable": len(run.bad()),
        "skipped": run.health.vitals.skipped,
        "notes": list(run.notes),
        "data": run.inventory,
        "metrics": {each["step"]: each["metrics"] for each in evaluations}.get(best, run.metrics),
        "curve": [{"step": each["step"], **each["metrics"]} for each in evaluations],
        "versions": {"vqtok": __version__, "torch": torch.__version__},
    }
