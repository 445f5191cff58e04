"""Codes hang neither on the instructions that torch's kernels are compiled for, nor on backends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.programs import LIMIT_S, environment

CAPABILITIES = ("DEFAULT", "AVX2")
FILES = {"image": "photo.png", "audio": "speech.wav"}
MODELS = ("audio-24k", "cifar10-f4", "image-f16", "image-f8", "image-vqvae2", "speech-speaker")

PROGRAM = f"""
import hashlib, json, sys
from pathlib import Path
import torch
from vqtok import api
from vqtok.checkpoints import directory
found = {{}}
for name in {MODELS}:
    kind = directory.describe(name).spec.modality
    for path in sys.argv[1:]:
        if (Path(path).suffix == ".wav") != (kind == "audio"):
            continue
        for backend in ("torch", "onnx"):
            codes, _ = api.encode_file(path, model=name, backend=backend)
            digest = hashlib.sha256(b"".join(level.tobytes() for level in codes.levels))
            found[f"{{name}} {{path}} {{backend}}"] = digest.hexdigest()
print(json.dumps([torch.backends.cpu.get_cpu_capability(), found]))
"""


@pytest.mark.slow
def test_codes_of_shipped_models_are_the_same_for_all_of_them():
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("this CPU has no AVX2")
    data = Path(__file__).parents[1] / "data"
    files = [str(data / name) for name in FILES.values()]
    made = []
    for capability in CAPABILITIES:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *files],
            capture_output=True,
            text=True,
            env=environment() | {"ATEN_CPU_CAPABILITY": capability.lower()},
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stderr
        used, codes = json.loads(done.stdout)
        assert used == capability
        assert len(codes) == 2 * len(MODELS)
        made.append(codes)
    assert made[0] == made[1]
    for key, digest in made[0].items():
        assert digest == made[0][key.replace(" onnx", " torch")]
