"""Every file that is no whole image gets one clear line of its own, and Pillow says nothing."""

from __future__ import annotations

import errno
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media.files import png
from tests.programs import run
from vqtok.errors import MediaError, VqtokError
from vqtok.media import image
from vqtok.media.image.facts import WEBP_HEAD_BYTES, webp_canvas


@pytest.fixture
def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (64, 48, 3), dtype=np.uint8))


def fails(path: Path, **options: Any) -> VqtokError:
    with pytest.raises(MediaError) as caught:
        image.read(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return caught.value


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in str(fails(tmp_path / "none.png"))


def test_directory(tmp_path: Path) -> None:
    assert "is a directory" in str(fails(tmp_path))


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert "empty file" in str(fails(tmp_path / "a.png"))


def test_unreadable_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")

    def deny(self: Path, *args: Any, **kwargs: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "open", deny)  # permissions do not stop root, who may run this
    assert "permission denied" in str(fails(path))


def test_text_renamed_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("once upon a time")
    error = fails(path)
    assert "not an image that vqtok reads" in str(error)
    assert str(error.hint).startswith("supported: png, jpg")


def test_audio_renamed_png_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"fLaC" + bytes(30))
    assert "it holds FLAC" in str(fails(path))


@pytest.mark.parametrize(
    "content",
    [b'<svg xmlns="http://www.w3.org/2000/svg"/>', b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\0ftypjxl "],
)
def test_unsupported_images_list_the_supported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert "webp" in str(fails(path).hint)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_truncated_file(
    tmp_path: Path,
    picture: Image.Image,
    format: str,
    share: float,
    capfd: pytest.CaptureFixture[str],
) -> None:
    whole = io.BytesIO()
    picture.save(whole, format=format)
    path = tmp_path / "a.bin"
    path.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * share)])
    assert "truncated or damaged" in str(fails(path))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_damaged_bytes_never_escape_as_another_error(picture: Image.Image, format: str) -> None:
    whole = io.BytesIO()
    picture.save(whole, format=format)
    rng = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(whole.getvalue())
        for at in rng.integers(0, min(len(data), 400), 4):
            data[at] = rng.integers(256)
        try:
            image.read(io.BytesIO(bytes(data)), max_pixels=100_000)
        except MediaError as error:
            assert "\n" not in str(error)


def _bomb(side: int) -> bytes:
    return png(struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), bytes(100))


def test_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_bomb(60_000))
    error = fails(path)
    assert "60000x60000" in str(error) and "truncated" not in str(error)
    assert "--max-pixels 3600000000" in str(error.hint)


def test_a_bombs_header_can_be_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_bomb(60_000))
    assert image.probe(path).width == 60_000


def test_the_pixel_limit_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (10, 10)).save(path)
    assert image.read(path, max_pixels=100)[0].shape == (3, 10, 10)
    assert image.read(path, max_pixels=None)[0].shape == (3, 10, 10)
    assert "more than the limit of 99" in str(fails(path, max_pixels=99))


def test_images_between_pillows_limits_are_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # 10x10 would warn, and 20x20 raise
    for side in (10, 20):
        Image.new("RGB", (side, side)).save(tmp_path / "a.png")
        assert image.read(tmp_path / "a.png")[0].shape == (3, side, side)


@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff", "bmp"])
def test_full_disk_leaves_no_half_file(tmp_path: Path, format: str) -> None:
    program = """
import resource, sys
from pathlib import Path
import numpy as np
from vqtok.errors import MediaError
from vqtok.media import image
pixels = np.random.default_rng(0).uniform(-1, 1, (3, 200, 200))
sys.dont_write_bytecode = True  # of a larger module its beginning would be kept
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    image.write(Path(sys.argv[1]), pixels)
except MediaError as error:
    print(error)
"""
    target = tmp_path / f"a.{format}"
    done = run(program, str(target))
    assert done.stdout == f"{target}: cannot write: file too large\n", done.stderr
    assert not list(tmp_path.iterdir())


def test_full_device() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(MediaError, match="no space left"):
        image.write(Path("/dev/full"), np.zeros((3, 4, 4)), format="png")


def test_target_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(MediaError, match="cannot write"):
        image.write(tmp_path / "f" / "a.png", np.zeros((3, 4, 4)))


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"save_all": True}])
def test_a_webp_canvas_is_refused_before_there_is_room_made_for_it(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    frames = [Image.new("RGB", (300, 200), colour) for colour in ("red", "blue")]
    if "save_all" in options:
        options = {**options, "append_images": frames[1:]}
    frames[0].save(tmp_path / "a.webp", **options)
    data = (tmp_path / "a.webp").read_bytes()
    assert webp_canvas(data[:WEBP_HEAD_BYTES]) == (300, 200)
    assert image.read(tmp_path / "a.webp", max_pixels=60_000)[0].shape == (3, 200, 300)
    assert "300x200 is 60000 pixels" in str(fails(tmp_path / "a.webp", max_pixels=59_999))


def test_a_webp_of_16383_pixels_a_side_takes_no_gigabytes_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    data = bytearray((tmp_path / "a.webp").read_bytes())
    data[24:30] = (16382).to_bytes(3, "little") * 2
    (tmp_path / "a.webp").write_bytes(data)
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: pytest.fail("opened"))
    assert "16383x16383" in str(fails(tmp_path / "a.webp"))
    with pytest.raises(MediaError, match="16383x16383"):
        image.probe(tmp_path / "a.webp")
