"""README.md of exported graphs: programs in Python and JavaScript that run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PICTURES = """import numpy as np
import onnxruntime
from PIL import Image

encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
image = np.asarray(Image.open("photo.png").convert("{mode}"), dtype=np.float32)
height, width = image.shape[:2]
{padding}
pixels = np.pad(image.reshape(height, width, -1), (*padding, (0, 0)), mode="{fill}")
pixels = (pixels / 127.5 - 1).transpose(2, 0, 1)[None]
codes = encoder.run(None, {{"pixels": pixels}})
print(*(level.shape for level in codes))
back = decoder.run(None, dict(zip({levels}, codes)){more})[0]
back = back[0, :, {crop}].transpose(1, 2, 0)
back = ((back + 1) * 127.5).round().astype(np.uint8).squeeze()
Image.fromarray(back).save("back.png")
"""

_RESIZED = """import numpy as np
import onnxruntime
from PIL import Image

encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
photo = Image.open("photo.png").convert("{mode}")
image = photo.resize(({multiple}, {multiple}), Image.Resampling.BICUBIC)
pixels = np.asarray(image, dtype=np.float32).reshape({multiple}, {multiple}, -1)
pixels = (pixels / 127.5 - 1).transpose(2, 0, 1)[None]
codes = encoder.run(None, {{"pixels": pixels}})
print(*(level.shape for level in codes))
back = decoder.run(None, dict(zip({levels}, codes)))[0][0].transpose(1, 2, 0)
back = Image.fromarray(((back + 1) * 127.5).round().astype(np.uint8).squeeze())
back.resize(photo.size, Image.Resampling.BICUBIC).save("back.png")
"""

_SOUNDS = """import numpy as np
import onnxruntime
import soundfile

encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
sound, rate = soundfile.read("speech.wav", dtype="float32")
assert rate == {rate} and sound.ndim == 1  # resample and mix it otherwise
padded = np.pad(sound, (0, -len(sound) % {multiple}))
codes = encoder.run(None, {{"samples": padded[None, None]}})
print(*(level.shape for level in codes))
{noise}back = decoder.run(None, dict(zip({levels}, codes)){more})[0]
soundfile.write("back.wav", back[0, 0, : len(sound)], rate)
"""

_NOISE = """drawn = np.random.default_rng(0).standard_normal
sizes = {{name: len(padded) // {multiple} * n for name, n in {noise}.items()}}
noise = {{name: drawn((1, 1, n), dtype=np.float32) for name, n in sizes.items()}}
"""

_CHUNKS = """import numpy as np
import onnxruntime
import soundfile

encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
sound, rate = soundfile.read("speech.wav", dtype="float32", always_2d=True)
assert (rate, sound.shape[1]) == ({rate}, {channels})  # resample and mix it otherwise
back = np.zeros((len(sound), {channels}))
weights = np.zeros((len(sound), 1))
for start in range(0, len(sound), {step}):
    chunk = sound[start : start + {chunk}]
    size = max(len(chunk) + -len(chunk) % {multiple}, 8 * {multiple})
    padded = np.pad(chunk, ((0, size - len(chunk)), (0, 0)))
    codes = encoder.run(None, {{"samples": padded.T[None]}})
    print(*(level.shape for level in codes))
    part = decoder.run(None, dict(zip({levels}, codes)))[0][0].T[: len(chunk)]
    fade = 0.5 - abs(np.linspace(0, 1, {chunk} + 2)[1 : len(chunk) + 1, None] - 0.5)
    back[start : start + len(chunk)] += fade * part
    weights[start : start + len(chunk)] += fade
soundfile.write("back.wav", back / weights, rate)
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
those of `vqtok encode`.{known}
"""

_LABELLED = " `label` is the number of one of the labels in `spec.json`."

_NOISY = """
The decoder adds noise to what it makes of codes: normal, as many numbers as `spec.json` says for
each multiple of samples; without these inputs it adds none."""

_CHUNKED = """
One call takes one chunk, of as many samples as `spec.json` says or fewer; `scale` is the loudness
that a chunk was divided by, the four bytes of a float32, lowest first."""


def card(model: str, levels: Sequence[str], signal: Mapping[str, Any], labelled: bool) -> str:
    """Write what people need, with programs that run the graphs.

    Args:
        model: Its name.
        levels: Of its codes.
        signal: What signals are like, as in ``spec.json``.
        labelled: Whether the decoder takes a label.
    """
    name, multiple, channels = signal["name"], signal["multiple"], signal["axes"][1]
    known = _LABELLED if labelled else ""
    if "noise" in signal:
        known = _NOISY
    if "chunk" in signal:
        known = _CHUNKED
    python = _python(list(levels), signal, labelled)
    sides = [24 * multiple] if name == "samples" else [8 * multiple, 8 * multiple]
    if signal["fill"] == "resize":
        sides = [multiple, multiple]
    label = 'codes.label = new ort.Tensor("int64", [0n], [1]);\n' if labelled else ""
    script = _SCRIPT.format(shape=[1, channels, *sides], name=name, label=label)
    text = _TEXT.format(model=model, name=name, known=known)
    return f"{text}\n```python\n{python}```\n\n```js\n{script}```\n"


def _python(levels: list[str], signal: Mapping[str, Any], labelled: bool) -> str:
    """Write the program in Python."""
    multiple, fill, channels = signal["multiple"], signal["fill"], signal["axes"][1]
    facts = {"levels": levels, "multiple": multiple, "channels": channels}
    more = ' | {"label": np.array([0])}' if labelled else ""
    if signal["name"] == "samples":
        facts["rate"] = signal["rate_hz"]
        if "chunk" in signal:
            return _CHUNKS.format(chunk=signal["chunk"], step=signal["step"], **facts)
        noise = {each["name"]: each["per_multiple"] for each in signal.get("noise", ())}
        drawn = _NOISE.format(noise=noise, multiple=multiple) if noise else ""
        return _SOUNDS.format(noise=drawn, more=" | noise" if noise else more, **facts)
    facts["mode"] = "L" if channels == 1 else "RGB"
    if fill == "resize":
        return _RESIZED.format(**facts)
    padding = f"padding = (0, -height % {multiple}), (0, -width % {multiple})"
    crop = ":height, :width"
    if fill == "black":
        padding = (
            f"below, right = -height % {multiple}, -width % {multiple}\n"
            "padding = (below // 2, below - below // 2), (right // 2, right - right // 2)"
        )
        crop = "below // 2 :, right // 2 :][:, :height, :width"
    mode = "edge" if fill == "edge" else "constant"
    return _PICTURES.format(padding=padding, crop=crop, fill=mode, more=more, **facts)
