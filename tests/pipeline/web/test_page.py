"""The page of an export in a real browser: its files are those of the command line."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.pipeline.report import browser
from tests.pipeline.web.conftest import LABELS, Shown
from vqtok import api
from vqtok.codes import files

pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(browser.find() is None, reason="no Chromium on the path"),
]
DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def here(shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and the models of the pages under their names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQTOK_MODELS", str(shown.folder / "models"))
    (tmp_path / "down").mkdir()
    return tmp_path


def photo(name: str, *, mode: str = "RGB", size: tuple[int, int] = (37, 21)) -> Path:
    with Image.open(DATA / "photo.png") as image:
        part = image.crop((140, 100, 140 + size[0], 100 + size[1])).convert(mode)
    if mode == "RGBA":
        holes = np.zeros((size[1], size[0]), np.uint8)
        holes[5:] = 255
        part.putalpha(Image.fromarray(holes))
    part.save(name)
    return Path(name)


def bytes_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"), dtype=int)


@pytest.mark.parametrize("form", ["picture", "stack", "levels"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_codes_of_a_picture_are_the_file_that_vqtok_writes(
    shown: Shown, here: Path, form: str, mode: str
) -> None:
    assert shown.open(form).startswith("Ready")
    said = shown.take(photo("näme 1.png", mode=mode))
    codes, _ = api.encode_file("näme 1.png", "ours.npy", model=form)
    count = sum(level.size for level in codes.levels)
    assert said.startswith(f"näme 1.png: {count} codes, ")
    theirs = shown.codes(here / "down")
    assert theirs.name == "näme 1.npy"
    assert theirs.read_bytes() == Path("ours.npy").read_bytes()
    made = bytes_of(api.decode_file(theirs, "back.png"))
    found = np.array(shown.pixels("reconstruction")).reshape(21, 37, 4)
    if mode == "L":  # the file is the mean of the three channels
        found[..., :3] = np.rint(found[..., :3].mean(axis=2, keepdims=True))
    np.testing.assert_allclose(found, made, atol=1)
    assert shown.browser.errors == []


@pytest.mark.parametrize("form", ["sound", "bands"])
@pytest.mark.parametrize("channels", [1, 2])
def test_codes_of_a_recording_are_those_of_vqtok(
    shown: Shown, here: Path, form: str, channels: int
) -> None:
    assert shown.open(form).startswith("Ready")
    rate = int(api.load(str(shown.folder / "models" / form)).spec.rate or 0)
    t = np.arange(4001)[:, None] / rate
    tones = 0.4 * np.sin(2 * np.pi * 200 * (1 + np.arange(channels)) * t)
    soundfile.write("tones.wav", tones, rate)
    shown.take(Path("tones.wav"))
    codes, header = api.encode_file("tones.wav", "ours.npy", model=form, mono=True)
    theirs = shown.codes(here / "down")
    found, described = files.read(theirs)
    np.testing.assert_array_equal(found.levels[0], codes.levels[0])
    assert (described.spec, described.extent) == (header.spec, header.extent)
    assert len(soundfile.read(api.decode_file(theirs, "back.wav"))[0]) == 4001
    durations = "Promise.all([...document.querySelectorAll('audio')].map(a => a.duration || "
    durations += "new Promise(d => a.addEventListener('loadedmetadata', () => d(a.duration)))))"
    assert shown.browser.run(durations) == pytest.approx([4001 / rate] * 2, abs=1e-3)
    assert shown.browser.errors == []


def dropped(file: Path) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    return (
        f"(() => {{ const bytes = Uint8Array.from(atob('{data}'), x => x.charCodeAt(0));"
        " const given = new DataTransfer();"
        f" given.items.add(new File([bytes], '{file.name}'));"
        " const how = { dataTransfer: given, bubbles: true, cancelable: true };"
        " document.body.dispatchEvent(new DragEvent('drop', how)) })()"
    )


@pytest.mark.parametrize("form", ["picture", "levels"])
def test_codes_that_vqtok_wrote_are_decoded_when_they_are_dropped(
    shown: Shown, here: Path, form: str
) -> None:
    shown.open(form)
    api.encode_file(photo("photo.png"), "codes.npy", model=form)
    shown.browser.run("document.addEventListener('drop', e => { window.was = e.defaultPrevented })")
    shown.browser.run(dropped(Path("codes.npy")))
    assert shown.status().startswith("photo.png: ")
    assert shown.browser.run("window.was")
    made = bytes_of(api.decode_file("codes.npy", "back.png"))
    found = np.array(shown.pixels("reconstruction")).reshape(21, 37, 4)
    np.testing.assert_allclose(found, made, atol=1)
    assert shown.codes(here / "down").read_bytes() == Path("codes.npy").read_bytes()


def test_channels_that_vqtok_coded_apart_are_played_together(shown: Shown, here: Path) -> None:
    shown.open("sound")
    rate = int(api.load(str(shown.folder / "models" / "sound")).spec.rate or 0)
    random = np.random.default_rng(0)
    soundfile.write("two.wav", random.uniform(-0.3, 0.3, (1000, 2)), rate)
    api.encode_file("two.wav", "codes.npy", model="sound")
    assert shown.take(Path("codes.npy")).startswith("two.wav: ")
    # A page may not fetch what it made itself: a request of the browser's own can.
    shown.browser.run(
        "(() => { const a = document.querySelector('audio'), b = document.createElement('a');"
        " b.href = a.src; b.id = 'wav'; b.download = 'made.wav'; document.body.append(b); })()"
    )
    made, _ = soundfile.read(shown.browser.download("#wav", here / "down"))
    expected, _ = soundfile.read(api.decode_file("codes.npy", "back.wav"))
    np.testing.assert_allclose(made, expected, atol=2 / 32768)


def test_a_class_is_chosen_and_decoded_with(shown: Shown, here: Path) -> None:
    shown.open("classes")
    shown.take(photo("photo.png"))
    api.encode_file("photo.png", "codes.npy", model="classes")
    for number in (0, 2):
        shown.browser.run(
            f"(() => {{ const s = document.querySelector('#label'); s.value = {number};"
            " s.dispatchEvent(new Event('change')); })()"
        )
        assert shown.status().startswith("photo.png: ")
        path = api.decode_file("codes.npy", f"{number}.png", label=LABELS[number])
        found = np.array(shown.pixels("reconstruction")).reshape(21, 37, 4)
        np.testing.assert_allclose(found, bytes_of(path), atol=1)


@pytest.mark.parametrize("form", ["image-f8", "audio-24k"])
def test_shipped_models_make_the_same_codes(shown: Shown, here: Path, form: str) -> None:
    assert shown.open(form).startswith("Ready")
    if form == "image-f8":
        source = photo("photo.png", size=(120, 85))
    else:
        sound, _ = soundfile.read(DATA / "speech.wav", frames=24000)
        source = Path("speech.wav")
        soundfile.write(source, sound, 24000)  # not resampled: browsers do so in their own ways
    shown.take(source)
    codes, _ = api.encode_file(source, "ours.npy", model=form)
    found, _ = files.read(shown.codes(here / "down"))
    differing = int((found.levels[0] != codes.levels[0]).sum())
    print(f"{form}: {differing} of {codes.levels[0].size} codes differ")
    # Exported graphs decide near ties in float32; the residual stages behind one follow suit.
    assert differing <= codes.levels[0].size // 100


def test_bits_and_quality_are_those_of_vqtok(shown: Shown, here: Path) -> None:
    shown.open("picture")
    shown.take(photo("photo.png"))
    api.encode_file("photo.png", "codes.npy", model="picture")
    back = bytes_of(api.decode_file("codes.npy", "back.png"))[..., :3]
    psnr = 10 * np.log10(255**2 / ((bytes_of(Path("photo.png"))[..., :3] - back) ** 2).mean())
    said = shown.browser.run("document.querySelector('#result dl').innerText")
    _, header = files.read("codes.npy")
    size = np.prod(header.spec.shapes(header.extent)[0])
    assert f"{np.ceil(size * np.log2(50)):.0f} in " in said
    assert f"PSNR\n{psnr:.2f}" in said.replace("\xa0", " ")


def test_nothing_but_the_folder_is_asked_for(shown: Shown, here: Path) -> None:
    shown.open("picture")
    shown.take(photo("photo.png"))
    base = shown.browser.run("location.href")
    assert shown.browser.requests[0] == base
    assert all(each.startswith((base, f"blob:{base[:-9]}")) for each in shown.browser.requests)
    asked = "fetch('https://example.org/').then(() => 'loaded', () => 'refused')"
    assert shown.browser.run(asked) == "refused"
    assert any("Content Security Policy" in error for error in shown.browser.errors)


def write_wrong(kind: str) -> Path:
    path = Path({"text": "notes.png", "large": "large.png"}.get(kind, "codes.npy"))
    if kind == "text":
        path.write_text("not a picture")
    elif kind == "large":
        Image.new("L", (3000, 2000)).save(path)
    elif kind == "floats":
        np.save(path, np.zeros((3, 4)))
    elif kind == "shape":
        np.save(path, np.zeros((3, 4, 5), np.uint8))
    elif kind == "beyond":
        np.save(path, np.full((3, 4), 50, np.uint8))
    else:
        api.encode_file(photo("photo.png"), path, model="stack" if kind == "another" else "picture")
        if kind == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        elif kind == "page":
            path.write_text("<html>")
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "notes.png is no picture that this browser reads."),
        ("large", "large.png is too large for a browser: 3000×2000 pixels"),
        ("floats", "codes.npy does not hold codes"),
        ("shape", "codes.npy holds an array of 3×4×5 codes, where picture has"),
        ("beyond", "codes.npy holds codes beyond the 50 of picture."),
        ("another", "codes.npy holds codes of another model (stack)"),
        ("cut", "codes.npy does not hold codes"),
        ("page", "codes.npy does not hold codes"),
    ],
)
def test_a_wrong_file_is_one_sentence_and_the_next_one_is_taken(
    shown: Shown, here: Path, kind: str, said: str
) -> None:
    shown.open("picture")
    found = shown.take(write_wrong(kind))
    assert found.startswith(said)
    assert found.endswith(".")
    assert "\n" not in found
    assert shown.browser.run("document.querySelector('#status').className") == "wrong"
    assert shown.take(photo("right.png")).startswith("right.png: ")
    assert shown.browser.run("document.querySelector('#status').className") == ""


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("ort/ort.wasm.bundle.min.mjs", "onnxruntime-web is not in ort/ beside this page"),
        ("ort/ort-wasm-simd-threaded.wasm", "onnxruntime-web cannot start"),
        ("encoder.onnx", "encoder.onnx is not beside this page (404)."),
        ("spec.json", "spec.json is not beside this page (404)."),
    ],
)
def test_what_lacks_is_one_sentence(shown: Shown, missing: str, said: str) -> None:
    name = f"without-{Path(missing).name}"  # another address: nothing of it is in a cache
    whole = shown.folder / "pages" / "picture"
    shutil.copytree(
        whole,
        shown.folder / "pages" / name,
        ignore=lambda _, names: [each for each in names if each == Path(missing).name],
    )
    found = shown.open(name)
    assert found.startswith(said)
    assert "\n" not in found
    assert shown.browser.run("document.querySelector('#file').disabled")


def test_a_browser_without_webassembly_and_a_page_without_a_server_are_told(
    shown: Shown, here: Path
) -> None:
    script = shown.browser.call(
        "Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.WebAssembly"
    )
    assert shown.open("picture").startswith("This browser lacks WebAssembly")
    shown.browser.call("Page.removeScriptToEvaluateOnNewDocument", **script)
    shown.browser.open(shown.folder / "pages" / "picture" / "index.html")
    assert "python3 -m http.server" in shown.status()


def test_it_is_used_by_keyboard_and_read_aloud(shown: Shown, here: Path) -> None:
    shown.open("classes")
    shown.take(photo("photo.png"))
    shown.browser.run("document.activeElement.blur()")
    reached = set()
    for _ in range(6):
        shown.browser.press("Tab", 9)
        reached.add(
            shown.browser.run("document.activeElement.id || document.activeElement.tagName")
        )
    assert {"file", "label", "A"} <= reached
    nodes = shown.browser.call("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in nodes
        if not node.get("ignored")
    }
    assert {("image", "original"), ("image", "reconstruction")} <= named
    assert ("combobox", "Decode as") in named
    assert any(role == "status" for role, _ in named)
    assert not any(role == "image" and not name for role, name in named)


@pytest.mark.parametrize("form", ["picture", "sound"])
def test_nothing_is_wider_than_a_narrow_window(shown: Shown, here: Path, form: str) -> None:
    shown.open(form)
    if form == "picture":
        shown.take(photo("a_picture_with_a_name_that_is_far_too_long_for_it.png", size=(200, 50)))
    else:
        buffer = io.BytesIO()
        soundfile.write(buffer, np.zeros(80_000), 8000, format="WAV")
        Path("long.wav").write_bytes(buffer.getvalue())
        shown.take(Path("long.wav"))
    shown.browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=360, height=700, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    wide = shown.browser.run("document.documentElement.scrollWidth")
    shown.browser.call("Emulation.clearDeviceMetricsOverride")
    assert wide <= 360
