"""Layouts as data: how codes, and what is around them, become a sequence of token ids.

A layout is JSON; ``presets/`` holds those that reproduce published streams. The parts of a block,
in order, are ``begin``, the size, ``codes``, the codes themselves with ``row_end`` after each row
of a picture, ``codes_end`` and ``end``; each may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vqtok import config
from vqtok.errors import ConfigError

Order = Literal["levels", "stages", "frames", "interleaved", "delay"]
Ranges = Literal["codebook", "slot", "shared"]
Section = Literal["text", "reserved", "special", "codes"]

SECTIONS: tuple[Section, ...] = ("text", "reserved", "special", "codes")

PRESETS = Path(__file__).parent / "presets"

MOST_SIZES = 1 << 14


@dataclass(frozen=True)
class BlockLayout:
    """Describes one item's codes among other tokens.

    Attributes:
        begin: Token that opens a block.
        size: "text": height*width of the finest level's grid through the text tokenizer, up to the
            token ``codes``; "tokens": two tokens "<|size N|>", height and width; "none".
        codes: Token between the size and the codes.
        order: "levels": coarse to fine, each in C order with the stages of a position side by
            side; "stages": the same, but stage by stage; "frames": for each step of the coarsest
            level what belongs to it, level by level; "interleaved": the same, depth first, as a
            tree is walked; "delay": as frames of one level with stages, where stage q comes
            ``delays[q]`` later.
        row_end: Token after each row of a picture.
        codes_end: Token after the codes.
        end: Token that closes a block.
        stages: Residual stages that are kept; null: all.
        ranges: "codebook": ids of their own for each level and stage; "slot": for each position
            in a frame; "shared": one range for all.
        delays: Of each stage, for order "delay".
        pad: Token where a delayed stage has no code.
        grid: Height and width of the finest level, where nothing in the stream says them.
        names: Token of a code in an extended tokenizer; it may hold {code}, {level}, {stage},
            {slot}, {index} (within the tokenizer's ids), {id}, {after_text} (id less those of text)
            and {letters} (the code with A to J as digits); "": made from all of these.
    """

    begin: str | None = None
    size: Literal["none", "text", "tokens"] = "none"
    codes: str | None = None
    order: Order = "levels"
    row_end: str | None = None
    codes_end: str | None = None
    end: str | None = None
    stages: int | None = None
    ranges: Ranges = "codebook"
    delays: tuple[int, ...] = ()
    pad: str | None = None
    grid: tuple[int, ...] = ()
    names: str = ""

    def __post_init__(self) -> None:
        """Refuse what does not hold together."""
        if self.size == "text" and not (self.begin and self.codes):
            raise ValueError('size "text" needs begin and codes: its digits are many tokens')
        if self.size == "tokens" and not self.begin:
            raise ValueError('size "tokens" needs begin')
        if (self.order == "delay") != bool(self.delays):
            raise ValueError('delays belong to order "delay"')
        if self.order == "delay" and (self.pad is None or min(self.delays) != 0):
            raise ValueError('order "delay" needs pad, and delays of which one is 0')
        if self.order != "delay" and self.pad is not None:
            raise ValueError('pad belongs to order "delay"')
        if self.ranges == "slot" and self.order not in ("frames", "interleaved", "delay"):
            raise ValueError(f'ranges "slot" need frames, and order {self.order!r} has none')
        if self.order in ("frames", "interleaved", "delay") and (self.row_end or self.grid):
            raise ValueError(f"order {self.order!r} is for sound, which has no rows and no grid")
        if self.stages is not None and self.stages < 1:
            raise ValueError("stages must be at least 1")
        if self.grid and (len(self.grid) != 2 or min(self.grid) < 1):
            raise ValueError("grid must be height and width")
        if self.grid and self.size != "none":
            raise ValueError("grid is for layouts whose blocks say no size")
        # What ends a part must not be what can stand inside of it.
        inner = [each for each in (self.row_end, self.pad) if each]
        if set(inner) & {self.begin, self.codes, self.codes_end, self.end}:
            raise ValueError("row_end and pad must differ from the tokens around the codes")

    def specials(self) -> Iterator[str]:
        """Yield the special tokens of a block, in order."""
        parts = (self.begin, self.codes, self.row_end, self.pad, self.codes_end, self.end)
        yield from (each for each in parts if each is not None)


@dataclass(frozen=True)
class Layout:
    """Describes documents: what is around them, their blocks, and the order of all ids.

    Attributes:
        begin: Token before a document.
        end: Token after it.
        image: Blocks of pictures.
        audio: Blocks of sound, one for each channel.
        special: Special tokens that come first, in this order, used or not.
        reserved: Ids that stay free.
        sizes: Number of tokens "<|size N|>", where a size is tokens.
        vocabulary: Order of the sections of ids.
    """

    begin: str | None = None
    end: str | None = None
    image: BlockLayout = field(default_factory=BlockLayout)
    audio: BlockLayout = field(default_factory=BlockLayout)
    special: tuple[str, ...] = ()
    reserved: int = 0
    sizes: int = 256
    vocabulary: tuple[Section, ...] = SECTIONS

    def __post_init__(self) -> None:
        """Refuse what does not hold together."""
        if sorted(self.vocabulary) != sorted(SECTIONS):
            raise ValueError(f"vocabulary must name {', '.join(SECTIONS)}, each once")
        if not 0 <= self.reserved < 1 << 31:
            raise ValueError("reserved is out of range")
        if not 1 <= self.sizes <= MOST_SIZES:
            raise ValueError(f"sizes is not between 1 and {MOST_SIZES}")
        audio, image = self.audio, self.image
        if audio.size != "none" or audio.row_end or audio.grid:
            raise ValueError("audio has no size, rows or grid")
        if image.order in ("frames", "interleaved", "delay"):
            raise ValueError(f"image: order {image.order!r} is for sound")
        if len(set(self.special)) != len(self.special) or "" in self.all_specials():
            raise ValueError("special tokens must have names, each once")

    def block(self, modality: str) -> BlockLayout:
        """Return the blocks of a modality.

        Raises:
            ConfigError: there are none.
        """
        if modality not in ("image", "audio"):
            raise ConfigError(f"codes of {modality} have no layout")
        return self.image if modality == "image" else self.audio

    def all_specials(self, modalities: frozenset[str] = frozenset(("image", "audio"))) -> list[str]:
        """Return the names of all special tokens, each once, in the order of their ids."""
        names = [*self.special, *(each for each in (self.begin, self.end) if each is not None)]
        for modality in ("image", "audio"):
            if modality in modalities:
                block = self.block(modality)
                names += block.specials()
                if block.size == "tokens":
                    names += (size_name(n) for n in range(1, self.sizes + 1))
        return list(dict.fromkeys(names))


def size_name(number: int) -> str:
    """Name the special token of a height or width."""
    return f"<|size {number}|>"


def presets() -> list[str]:
    """Return the names of the layouts that come with vqtok."""
    return sorted(path.stem for path in PRESETS.glob("*.json"))


def read(place: str) -> Layout:
    """Read a layout.

    Args:
        place: Name of a preset, or path of a JSON file.

    Raises:
        ConfigError: neither, or not a layout, with the location of the mistake.
    """
    if place in presets():
        path = PRESETS / f"{place}.json"
    elif place.endswith(".json"):
        path = Path(place)
    else:
        known = ", ".join(presets())
        raise ConfigError(f"--layout {place}", "unknown layout", hint=f"{known}, or FILE.json")
    return config.parse(config.read_json(path), Layout, where=f"{path.name}: layout")
