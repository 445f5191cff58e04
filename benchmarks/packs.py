"""Builds a second held-out pack of pictures from packages, for measuring.

    python benchmarks/packs.py -o heldout-2/ --apart images-train/ --apart images-holdout/

A pack is a folder of lossless WebP files and ``MANIFEST.csv`` with the source, licence and size of
each. It is measured only when a model is finished, and never looked at while choosing.
Packages come through ``apt-get download`` and ``pip download``; nothing of them is run.

Pictures that look like another one of the pack, or like one below ``--apart``, are left out and
counted: their difference hashes (64 bits of a 9x8 grey picture: does it grow brighter to the right)
differ in at most 10 places, mirrored or not.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import io
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

ALIKE = 10
"""Most of 64 bits in which the hashes of two pictures differ that count as one."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".ppm", ".tif", ".tiff"}


@dataclass(frozen=True)
class Source:
    """Pictures in a package.

    Attributes:
        index: "debian" or "pypi".
        package: Its name; of PyPI with a version.
        members: Patterns of paths in it, each with the directory that it begins after.
        licence: Of the pictures, as the package states it.
    """

    index: str
    package: str
    members: tuple[str, ...]
    licence: str


OPENCV = tuple(
    f"*/opencv-doc/examples/{name}"
    for name in [
        "alphamat/input_images/plant.jpg",
        "data/aero1.jpg",
        "data/aloeL.jpg",
        "data/apple.jpg",
        "data/baboon.jpg",
        "data/basketball1.png",
        "data/board.jpg",
        "data/box_in_scene.png",
        "data/building.jpg",
        "data/butterfly.jpg",
        "data/cards.png",
        "data/chicky_512.png",
        "data/ela_original.jpg",
        "data/fruits.jpg",
        "data/graf1.png",
        "data/leuvenA.jpg",
        "data/orange.jpg",
        "data/rubberwhale1.png",
        "data/smarties.png",
        "data/squirrel_cls.jpg",
        "data/starry_night.jpg",
        "fuzzy/input.png",
        "reg/home.png",
        "text/scenetext0[1-6].jpg",
        "ximgproc/stanford.png",
    ]
)
HELDOUT = (
    Source(
        "debian",
        "opencv-doc",
        OPENCV,
        "Apache-2.0 AND BSD-3-Clause (the package as a whole)",
    ),
    Source(
        "debian",
        "libjxl-testdata",
        (
            "*/external/wesaturate/500px/*_srgb8.png",
            "*/external/raw.pixls/*_srgb8*.png",
            "*/jxl/flower/flower.png",
        ),
        "CC0 (wesaturate, raw.pixls) or BSD-3-Clause (flower)",
    ),
    Source(
        "debian",
        "visp-images-data",
        ("*/Klimt/Klimt.png", "*/Solvay/*_1280x881.png", "*/mbt/cube/image0001.pgm"),
        "GPL-2 (ViSP images)",
    ),
    Source(
        "pypi",
        "scikit-learn==1.9.1",
        ("sklearn/datasets/images/*.jpg",),
        "CC-BY-2.0 (credits: sklearn/datasets/images/README.txt)",
    ),
)


def main() -> None:
    """Build the pack."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--apart", type=Path, action="append", default=[], help="a folder to avoid")
    chosen = parser.parse_args()
    known = [hash_of(Image.open(path)) for folder in chosen.apart for path in pictures_in(folder)]
    chosen.output.mkdir(parents=True)
    rows, left_out = [], 0
    for source in HELDOUT:
        for member, picture in read(source):
            part = shrunk(picture, 448)  # traces of JPEG shrink away
            found = hash_of(part)
            if any(alike(found, other) for other in known):
                left_out += 1
                continue
            known.append(found)
            path = chosen.output / f"{len(rows):04}_{PurePosixPath(member).stem}.webp"
            part.save(path, lossless=True, method=4)
            origin = f"{source.index} {source.package} {member}"
            rows.append((path.name, origin, source.licence, part.width, part.height))
    with (chosen.output / "MANIFEST.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "source", "licence", "width", "height"))
        writer.writerows(rows)
    print(f"{len(rows)} pictures in {chosen.output}; {left_out} left out as like another one")


def pictures_in(folder: Path) -> list[Path]:
    """Paths of all pictures below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def read(source: Source) -> Iterator[tuple[str, Image.Image]]:
    """Yield the path and the RGB picture of each member, in the order of their paths."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in members(source, Path(folder)):
            if Path(name).suffix.lower() not in SUFFIXES:
                continue
            if not any(fnmatch.fnmatch(name, pattern) for pattern in source.members):
                continue
            with Image.open(io.BytesIO(data)) as picture:
                if min(picture.size) >= 256:
                    yield name.lstrip("./"), picture.convert("RGB")


def members(source: Source, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the bytes of each file in a package, sorted by path."""
    if source.index == "debian":
        subprocess.run(["apt-get", "download", "-qq", source.package], cwd=folder, check=True)
        (package,) = folder.glob("*.deb")
        tar = folder / "data.tar"
        with tar.open("wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=file, check=True)
        with tarfile.open(tar) as archive:
            for member in sorted(archive.getmembers(), key=lambda each: each.name):
                if member.isfile() and (stream := archive.extractfile(member)) is not None:
                    yield member.name, stream.read()
    else:
        command = ["pip", "download", "-q", "--no-deps", "-d", str(folder), source.package]
        subprocess.run(command, check=True)
        (package,) = folder.glob("*.whl")
        with zipfile.ZipFile(package) as archive:
            for name in sorted(archive.namelist()):
                yield name, archive.read(name)


def shrunk(picture: Image.Image, side: int) -> Image.Image:
    """The picture with its short side at most ``side`` pixels."""
    scale = side / min(picture.size)
    if scale >= 1:
        return picture
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def hash_of(picture: Image.Image) -> np.ndarray:
    """Difference hash: (2, 64) bool, of the picture and of its mirror image."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    return np.stack([(np.diff(each, axis=1) > 0).ravel() for each in (grey, grey[:, ::-1])])


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two hashes are of pictures that look the same, perhaps mirrored."""
    return bool(((one != other[0]).sum(axis=1) <= ALIKE).any())


if __name__ == "__main__":
    main()
