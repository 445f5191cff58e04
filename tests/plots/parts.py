"""What lies where in an SVG document."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

SVG = "{http://www.w3.org/2000/svg}"
Points = list[tuple[float, float]]


def groups(document: str, name: str) -> list[Element]:
    """Parts of a class."""
    root = ElementTree.fromstring(document)
    return [each for each in root.iter(f"{SVG}g") if each.get("class") == name]


def paths(document: str, name: str) -> list[Points]:
    """Points of the lines of a class."""
    found = []
    for group in groups(document, name):
        for path in group.iter(f"{SVG}path"):
            pairs = re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"])
            found.append([(float(x), float(y)) for x, y in pairs])
    return found


def marks(document: str, name: str) -> Points:
    """Where the marks of a class are."""
    uses = [use for group in groups(document, name) for use in group.iter(f"{SVG}use")]
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in uses]


def size(document: str) -> tuple[float, float]:
    """(width, height) of the picture."""
    root = ElementTree.fromstring(document)
    return float(root.attrib["width"]), float(root.attrib["height"])
