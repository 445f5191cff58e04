"""Exported models with their pages on a file server of this machine, open in a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.backends.test_onnx_backend import IMAGES, LABELS, changed
from tests.conftest import TINY_AUDIO
from tests.pipeline.report import browser
from tests.pipeline.report.browser import Browser
from tests.tokenizers import test_vqvae
from tests.tokenizers.test_codec import MEL
from vqtok.checkpoints import directory
from vqtok.config import parse
from vqtok.pipeline import export
from vqtok.protocols import Config

FLAT = {"quantizer": {"type": "quantizers/vq", "codebook_size": 300}, "mel": MEL}

FORMS: dict[str, Callable[[], Any]] = {
    "picture": IMAGES["convnext"],
    "stack": IMAGES["stack"],
    "levels": IMAGES["two levels"],
    "classes": lambda: changed(test_vqvae.build("convnext"), labels=LABELS),
    "sound": lambda: parse(TINY_AUDIO, Config).build().eval(),
    "bands": lambda: parse(TINY_AUDIO | FLAT, Config).build().eval(),
}
SHIPPED = ("image-f8", "audio-24k")


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``ort`` as a README of an exported page says it is made."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on the path")
    folder = tmp_path_factory.mktemp("runtime")
    export.export(export.check("image-f8", folder / "out", force=False), folder / "out", page=True)
    readme = (folder / "out" / "README.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", readme, flags=re.M | re.S)
    *commands, server = commands.strip().splitlines()
    assert server.startswith("python3 -m http.server")
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder / "out", capture_output=True, text=True
        )
        if command.startswith("npm") and done.returncode:
            pytest.skip(f"npm brings no onnxruntime-web: {done.stderr.strip()[-200:]}")
        assert done.returncode == 0, done.stderr
    return folder / "out" / "ort"


@pytest.fixture(scope="session")
def served(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder of models in ``models`` and of their exports, and the address of the latter."""
    folder = tmp_path_factory.mktemp("served")
    for name, make in FORMS.items():
        model = make()
        for part in model.modules():
            if hasattr(part, "initialised"):
                part.initialised.fill_(True)
        if model.labels.names:
            model.labels.vectors.data.normal_(std=0.1)
        directory.save(folder / "models" / name, model)
    for name in (*FORMS, *SHIPPED):
        model = str(folder / "models" / name) if name in FORMS else name
        target = folder / "pages" / name
        export.export(export.check(model, target, force=False), target, page=True)
        (target / "ort").mkdir()
        for file in runtime.iterdir():
            os.link(file, target / "ort" / file.name)
    handler = partial(_Quiet, directory=str(folder / "pages"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


STATUS = """new Promise((done) => {
  const look = () => document.querySelector("#result")?.ariaBusy === "false"
    ? done(document.querySelector("#status").textContent) : setTimeout(look, 20);
  look();
})"""


class Shown:
    """A page in a browser.

    Attributes:
        browser: It is open there.
        folder: Of exports, and of ``models``.
    """

    def __init__(self, opened: Browser, folder: Path, address: str) -> None:
        self.browser, self.folder, self._address = opened, folder, address

    def open(self, name: str) -> str:
        """Open the page of an exported model: what it says when it is ready."""
        self.browser.requests.clear()
        self.browser.errors.clear()
        self.browser.open(f"{self._address}/{name}/")
        return self.status()

    def status(self) -> str:
        """What the page says when it has done what it does."""
        return str(self.browser.run(STATUS))

    def take(self, file: Path) -> str:
        """Choose a file: what the page says then."""
        self.browser.choose("#file", file)
        return self.status()

    def codes(self, folder: Path) -> Path:
        """Download the codes."""
        return self.browser.download("a[download]", folder)

    def pixels(self, caption: str) -> list[int]:
        """Bytes of a picture of the page, RGBA."""
        return list(
            self.browser.run(
                f"(() => {{ const c = document.querySelector('canvas[aria-label={caption}]');"
                " return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; })()"
            )
        )


@pytest.fixture(scope="session")
def shown(served: tuple[Path, str]) -> Iterator[Shown]:
    with Browser(browser.find() or "") as opened:
        yield Shown(opened, *served)
