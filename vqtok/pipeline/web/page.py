"""A static page that runs a model's exported graphs in a browser, by onnxruntime-web.

It loads what lies beside it and nothing else: its policy forbids the rest, and every script and
style but its own and the runtime's.
"""

from __future__ import annotations

from typing import Any

from vqtok import __version__
from vqtok.codes.header import FORMAT
from vqtok.pipeline import html

PACKAGE = "vqtok.pipeline.web"
PAGE = "index.html"

RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Files of onnxruntime-web that the page loads from ``ort/`` beside it."""

_ACCEPT = {"image": "image/*,.npy", "audio": "audio/*,.npy"}
_KIND = {"image": "picture", "audio": "recording"}


def page(spec: dict[str, Any]) -> str:
    """Make the page for a model.

    Args:
        spec: What ``spec.json`` says.
    """
    from markupsafe import Markup

    style, script = (Markup(html.asset(PACKAGE, name)) for name in ("style.css", "script.js"))
    policy = {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "media-src": "blob:",
        "script-src": f"'self' 'wasm-unsafe-eval' {html.hashed(script)}",
        "style-src": html.hashed(style),
        "worker-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return html.template(PACKAGE, "page.html.j2").render(
        policy="; ".join(f"{key} {value}" for key, value in policy.items()),
        model=spec["model"],
        kind=_KIND[spec["modality"]],
        accept=_ACCEPT[spec["modality"]],
        labels=spec["labels"],
        format=FORMAT,
        version=__version__,
        style=style,
        script=script,
    )


def text() -> str:
    """Say how the page is opened, for the README beside it."""
    names = ",".join(RUNTIME)
    return f"""
## In a browser

`index.html` encodes and decodes files where it is opened. It needs two files of onnxruntime-web,
and a web server:

```sh
npm install --prefix npm onnxruntime-web
mkdir -p ort
cp npm/node_modules/onnxruntime-web/dist/{{{names}}} ort/
python3 -m http.server --bind 127.0.0.1 8000
```

It is then at http://127.0.0.1:8000/. Another server needs `index.html`, `spec.json`, both graphs
and `ort/`.
"""
