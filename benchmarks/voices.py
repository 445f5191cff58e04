"""A folder per speaker from a flat folder of recordings named sp_NAME_NUMBER, as links.

    python benchmarks/voices.py recordings/ voices/ --most 30
    vqtok train --data voices/ --preset speech-speaker -o my-speech/

The names of the folders are the labels that ``train.labels`` tells the decoder. Names of speakers
may hold underscores: sp_ast_en_0003.ogg is of ast_en. Links are made anew each time; what is there
and no link of this script is left alone, and refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path

NINE = ("ast_en", "ast_es", "ast_fr", "ast_it", "ast_ru", "cmn", "fdm", "kerstin", "nathalie")
"""Speakers with minutes of speech each."""


def main() -> None:
    """Parse, link, say how many."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recordings", type=Path, help="flat folder of sp_NAME_NUMBER files")
    parser.add_argument("voices", type=Path, help="folder to make")
    parser.add_argument("--names", nargs="+", default=NINE, metavar="NAME", help=" ".join(NINE))
    parser.add_argument("--most", type=int, metavar="N", help="files of a speaker, evenly spread")
    chosen = parser.parse_args()
    for name in sorted(chosen.names):
        found = files_of(chosen.recordings, name)
        if not found:
            raise SystemExit(f"{chosen.recordings}: no files sp_{name}_*")
        if chosen.most is not None and len(found) > chosen.most:
            found = [found[at * len(found) // chosen.most] for at in range(chosen.most)]
        link(found, chosen.voices / name)
        print(f"{name}: {len(found)} files")


def files_of(recordings: Path, name: str) -> list[Path]:
    """The recordings of one speaker, by number."""
    found = recordings.glob(f"sp_{name}_*")
    return sorted(path for path in found if path.stem.removeprefix(f"sp_{name}_").isdigit())


def link(files: list[Path], folder: Path) -> None:
    """Make a folder of links to these files, and of nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.iterdir()):
        if not old.is_symlink():
            raise SystemExit(f"{old}: not a link; choose another folder")
        old.unlink()
    for path in files:
        (folder / path.name).symlink_to(path.resolve())


if __name__ == "__main__":
    main()
