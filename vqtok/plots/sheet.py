"""A sheet of panels, drawn by matplotlib without pyplot: as pixels or as an SVG document.

The same panels give the same bytes: no ``matplotlibrc``, clock or installed font counts.
"""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07f00", "#3f97cc", "#7a5fc0", "#777777",
)  # fmt: skip
"""Colours of series: Okabe and Ito's, the bright ones darker, 3:1 on light and dark pages."""

INK, PAPER = "#202020", "#ffffff"
"""Of pixels."""

MIDDLE = "#808890"
"""Ink of SVG documents, which have no ground: readable on light and on dark pages."""

FONT, TITLE = 12, 13
"""Pixels of letters."""

LONGEST = 60_000
"""Pixels of a sheet's height at most: matplotlib draws fewer than 2^16. More is left out."""


class Margins(NamedTuple):
    """Pixels around a panel, for its title, the numbers and the names of its axes."""

    left: int
    above: int
    right: int
    below: int


FRAMED = Margins(74, 26, 24, 46)
BARE = Margins(4, 26, 4, 4)


@dataclass(frozen=True)
class Panel:
    """One drawing on a sheet.

    Attributes:
        title: A line above it; "" for none.
        size: (width, height) of what its axes span, in pixels.
        draw: Draws into the axes.
        margins: Pixels around it.
    """

    title: str
    size: tuple[int, int]
    draw: Callable[[Axes], None]
    margins: Margins = FRAMED


End = tuple[str, float]
"""Name of an axis, and the number at its end; integers have no fractions between."""


def image(pixels: np.ndarray, *, title: str, x: End | None = None, y: End | None = None) -> Panel:
    """Show (H, W, 3) uint8 pixel by pixel, with a horizontal and a vertical axis or without."""
    height, width = pixels.shape[:2]
    margins = FRAMED if x or y else BARE
    return Panel(title, (width, height), partial(_image, pixels=pixels, x=x, y=y), margins)


def _image(axes: Axes, *, pixels: np.ndarray, x: End | None, y: End | None) -> None:
    from matplotlib.ticker import MaxNLocator

    extent = (0.0, x[1] if x else 1.0, y[1] if y else 1.0, 0.0)
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest")
    axes.spines[:].set_visible(False)
    for axis, end, size in ((axes.xaxis, x, pixels.shape[1]), (axes.yaxis, y, pixels.shape[0])):
        if end is None:
            axis.set_ticks([])
        else:
            whole = isinstance(end[1], int)
            axis.set_major_locator(MaxNLocator(max(1, min(8, size // 60)), integer=whole))
            axis.set_label_text(end[0])


def pixels(panels: Sequence[Panel], *, title: str = "", across: bool = False) -> np.ndarray:
    """Draw panels dark on white, as (H, W, 3) uint8.

    Args:
        panels: One at least.
        title: A line above all of them.
        across: Draw them from left to right and not below each other.
    """
    ends = accumulate(sum(each.margins[1::2]) + each.size[1] for each in panels)
    drawn = [each for each, end in zip(panels, ends, strict=True) if across or end <= LONGEST]
    with _drawn(drawn, title, across=across, ink=INK, ground=PAPER) as figure:
        out = io.BytesIO()
        figure.savefig(out, format="rgba")
        shape = (round(figure.bbox.height), round(figure.bbox.width), 4)
    return np.frombuffer(out.getvalue(), np.uint8).reshape(shape)[..., :3].copy()


def document(
    panels: Sequence[Panel],
    *,
    name: str,
    title: str,
    description: str,
    tips: Mapping[str, str] | None = None,
) -> str:
    """Draw panels below each other as an SVG document that may be part of a page.

    It has neither styles nor links to elsewhere; parts with a gid like "mean-2" are groups of the
    class "mean".

    Args:
        panels: One at least.
        name: Of the picture, unique in the page.
        title: What it shows, for those who do not see it.
        description: The same in more words.
        tips: gid of a part → text that appears when it is pointed at.
    """
    with _drawn(panels, "", across=False, ink=MIDDLE, ground="none", salt=name) as figure:
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True)
        width, height = round(figure.bbox.width), round(figure.bbox.height)
    drawn = out.getvalue()
    body = drawn[drawn.index('<g id="figure_1">') :]
    for gid, tip in (tips or {}).items():
        body = body.replace(f'<g id="{gid}">', f'<g id="{gid}"><title>{escape(tip)}</title>')
    body = re.sub(r"<defs>\s*<clipPath.*?</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"(?<=>)\s+(?=<)|<g[^>]*/>", "", re.sub(r"<[^>]+>", _simplified, body))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'class="plot" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(description)}</desc>{body}\n'
    )


def colour_map(values: np.ndarray) -> np.ndarray:
    """Colour (H, W) numbers by inferno, 0 black to 1 bright yellow, as (H, W, 3) uint8."""
    with _quiet():
        from matplotlib import colormaps
    table = np.rint(colormaps["inferno"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    coloured: np.ndarray = table[np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.intp)]
    return coloured


def _simplified(tag: re.Match[str]) -> str:
    """Makes a tag of matplotlib's without clipping, style, long numbers and unused names."""
    text = tag[0]
    for pattern, replacement in _SIMPLER:
        text = re.sub(pattern, replacement, text)
    return text


def _attributes(style: re.Match[str]) -> str:
    """Turns a style into attributes, which a page's policy allows."""
    parts = (part.split(": ", 1) for part in style[1].split("; "))
    kept = ((key, value.removesuffix("px")) for key, value in parts if key != "font-family")
    return "".join(f' {key}="{value}"' for key, value in kept)


_SIMPLER: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"\s+", " "),
    (r' clip-path="[^"]*"| transform="rotate\(-0 [^"]*"', ""),
    # Only markers, "m" and a hash, are referred to by their ids.
    (r' id="(?!m[0-9a-f]{9,}")([a-z]+)(-\d+)?"', r' class="\1"'),
    (r' id="(?!m[0-9a-f]{9,}")[^"]*"', ""),
    (r' style="([^"]*)"', _attributes),
    (r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}"),
    (r' (?=")', ""),
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep matplotlib from talking of its font cache, or of letters that its font lacks."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _drawn(
    panels: Sequence[Panel], title: str, *, across: bool, ink: str, ground: str, salt: str = ""
) -> Iterator[Figure]:
    """Makes a figure with all panels in their places; to be rendered within the context."""
    with _quiet():
        import matplotlib
        from matplotlib.figure import Figure

        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # whatever a matplotlibrc says
            matplotlib.rcParams.update(_style(ink, ground) | {"svg.hashsalt": salt})
            above = 26 if title else 0
            widths = [
                each.margins.left + max(each.size[0] + each.margins.right, _text_width(each.title))
                for each in panels
            ]
            heights = [each.margins.above + each.size[1] + each.margins.below for each in panels]
            lefts = list(accumulate(widths, initial=0)) if across else [0] * len(panels)
            tops = [0] * len(panels) if across else list(accumulate(heights, initial=0))
            width = max(
                sum(widths) if across else max(widths), 16 + _text_width(title, weight="bold")
            )
            height = above + (max(heights) if across else sum(heights))
            figure = Figure((width / 72, height / 72), dpi=72)  # points are pixels
            figure.patch.set_visible(ground != "none")
            figure.text(8 / width, 1 - 18 / height, title, size=TITLE, weight="bold")
            for panel, left, top in zip(panels, lefts, tops, strict=False):
                wide, tall = panel.size
                x, y = left + panel.margins.left, height - above - top - panel.margins.above - tall
                axes = figure.add_axes((x / width, y / height, wide / width, tall / height))
                axes.set_title(panel.title)
                panel.draw(axes)
            yield figure


@lru_cache
def _text_width(text: str, *, weight: str = "normal") -> int:
    """Pixels of a title, rounded up as hinting may widen its letters."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(size=TITLE, weight=weight)
    return math.ceil(1.04 * TextPath((0, 0), text, prop=font).get_extents().width) if text else 0


def _style(ink: str, ground: str) -> dict[Any, Any]:
    inked = (
        "text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "grid.color",
        "xtick.color", "ytick.color",
    )  # fmt: skip
    return dict.fromkeys(inked, ink) | {
        "figure.facecolor": ground,
        "axes.facecolor": "none",
        "font.family": "DejaVu Sans",  # comes with matplotlib
        "font.size": FONT,
        "text.parse_math": False,  # names of files are text
        "axes.titlelocation": "left",
        "axes.titlesize": TITLE,
        "axes.titlepad": 7.0,
        "axes.labelsize": FONT,
        "axes.linewidth": 1.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.formatter.useoffset": False,
        "grid.alpha": 0.22,
        "grid.linewidth": 1.0,
        "xtick.major.size": 0.0,
        "ytick.major.size": 0.0,
        "xtick.major.pad": 6.0,
        "ytick.major.pad": 6.0,
        "lines.linewidth": 1.6,
        "path.simplify": False,
        "svg.fonttype": "none",
    }
