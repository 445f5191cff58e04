"""A model → graphs for other programs, with what they need to know: one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqtok import atomic
from vqtok import config as configs
from vqtok.checkpoints import directory
from vqtok.checkpoints.directory import ModelInfo
from vqtok.errors import CheckpointError, UsageError
from vqtok.graphs import export as graphs
from vqtok.graphs import store
from vqtok.pipeline.web import page as web

SPEC, CARD = "spec.json", "README.md"


def check(name: str, target: Path, *, force: bool) -> ModelInfo:
    """Find out early what would fail; the facts of the model.

    Raises:
        UsageError: no such model, one that is not exported, or a target that is not to be replaced.
        CheckpointError: a damaged model.
    """
    info = directory.describe(name)
    kind = info.foreign or str(info.config.get("type"))
    if not kind.startswith("tokenizers/") or kind.startswith("tokenizers/published/"):
        reason = f"not exported: {kind} has no graph; models of vqtok have, made by vqtok train"
        raise UsageError(name, reason, hint="vqtok models lists those that are installed")
    info.spec.require_codes(info.name)
    if target.is_file():
        raise UsageError(target, "a file, not a directory", hint="name a new directory")
    if target.is_dir() and any(target.iterdir()):
        if not (target / SPEC).is_file():
            raise UsageError(target, "not empty", hint="name a new directory")
        if not force:
            raise UsageError(target, "already exists", hint="-f overwrites")
    return info


def export(info: ModelInfo, target: Path, *, page: bool = False) -> list[Path]:
    """Write what ``check`` found: the files, in order.

    Args:
        info: The model.
        target: Made if missing, replaced whole if it is there.
        page: Whether a page for browsers is among them.

    Raises:
        CheckpointError: a model without graphs, or a target that cannot be written.
        UsageError: a model that other programs cannot run so, and why.
    """
    stored = store.read(info.path, fingerprint=info.fingerprint)
    try:
        made = graphs.exported(stored, tuple(level.name for level in info.spec.levels))
    except UsageError as error:
        raise error.about(info.name) from error
    spec = {
        "vqtok": store.FORMAT,
        "model": info.name,
        **info.spec.to_json(),
        "signal": graphs.signal(stored.facts),
        "labels": stored.facts["labels"],
    }
    files: dict[str, bytes] = {
        store.ENCODER: made.encoder.to_bytes(),
        store.DECODER: made.decoder.to_bytes(),
        SPEC: configs.to_json(spec).encode(),
        CARD: (_card(info, spec) + (web.text() if page else "")).encode(),
    }
    if page:
        files[web.PAGE] = web.page(spec).encode()
    try:
        with atomic.directory(target) as temporary:
            for name, data in files.items():
                (temporary / name).write_bytes(data)
    except OSError as error:
        raise CheckpointError(target, f"cannot write: {error.strerror or error}") from error
    return [target / name for name in files]


_PICTURES = """import numpy as np
import onnxruntime
from PIL import Image

encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
image = np.asarray(Image.open("photo.png").convert("RGB"), dtype=np.float32)
height, width, _ = image.shape
padding = ((0, -height % {stride}), (0, -width % {stride}), (0, 0))
pixels = (np.pad(image, padding, mode="edge") / 127.5 - 1).transpose(2, 0, 1)[None]
codes = encoder.run(None, {{"pixels": pixels}})
print(*(level.shape for level in codes))
back = decoder.run(None, dict(zip({levels}, codes)){label})[0]
back = back[0, :, :height, :width].transpose(1, 2, 0)
Image.fromarray(((back + 1) * 127.5).round().astype(np.uint8)).save("back.png")
"""

_SOUNDS = """import numpy as np
import onnxruntime
import soundfile

encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
sound, rate = soundfile.read("speech.wav", dtype="float32")
assert rate == {rate} and sound.ndim == 1  # resample and mix it otherwise
padded = np.pad(sound, (0, -len(sound) % {stride}))
codes = encoder.run(None, {{"samples": padded[None, None]}})
print(*(level.shape for level in codes))
back = decoder.run(None, dict(zip({levels}, codes)){label})[0]
soundfile.write("back.wav", back[0, 0, : len(sound)], rate)
"""

_SCRIPT = """import * as ort from "onnxruntime-node"; // or "onnxruntime-web"

const encoder = await ort.InferenceSession.create("encoder.onnx");
const decoder = await ort.InferenceSession.create("decoder.onnx");
const shape = {shape};
const values = new Float32Array(shape.reduce((a, b) => a * b)); // from -1 to 1
const {name} = new ort.Tensor("float32", values, shape);
const codes = await encoder.run({{ {name} }});
for (const [level, tensor] of Object.entries(codes)) console.log(level, tensor.dims);
{label}const back = await decoder.run(codes);
console.log(back.{name}.dims);
"""


_TEXT = """# {model} as ONNX graphs

`encoder.onnx` maps {name} to codes, `decoder.onnx` codes to {name}; ranges, padding, levels and
codebook sizes are in `spec.json`. Made by `vqtok export`; the weights are those of the model, with
its licence and limits. The search decides in float32: codes that hang on rounding may differ from
those of `vqtok encode`.
"""


def _card(info: ModelInfo, spec: dict[str, Any]) -> str:
    """Write what people need, with programs that run the graphs."""
    levels = [level.name for level in info.spec.levels]
    stride, rate = info.spec.levels[0].stride[0], int(info.spec.rate or 0)
    name = spec["signal"]["name"]
    labelled = bool(spec["labels"])
    python = (_SOUNDS if rate else _PICTURES).format(
        stride=stride,
        levels=levels,
        rate=rate,
        label=' | {"label": np.array([0])}' if labelled else "",
    )
    shape = (
        [1, 1, 75 * stride] if rate else [1, spec["signal"]["axes"][1], 32 * stride, 32 * stride]
    )
    known = " `label` is the number of one of the labels in `spec.json`." if labelled else ""
    text = _TEXT.format(model=info.name, name=name, labels=known)
    label = 'codes.label = new ort.Tensor("int64", [0n], [1]);\n' if labelled else ""
    script = _SCRIPT.format(shape=shape, name=name, label=label)
    return f"{text}\n```python\n{python}```\n\n```js\n{script}```\n"
