"""Pages made of templates that lie in the package, under a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template


def asset(package: str, name: str) -> str:
    """Read a text that lies in a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


@cache
def template(package: str, name: str, **options: Any) -> Template:
    """Read a template of a package; every text that is put into it is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(partial(asset, package)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    return environment.get_template(name)


def hashed(text: str) -> str:
    """State how a page's policy names the one script, or style, that may be there."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
