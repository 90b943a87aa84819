"""A resident's picture, cut to the card's shape and made small enough to send: nothing of it is kept.

As everywhere, no pixel is decoded before size, pixel count and scans are known to be harmless.
"""

import io
from typing import Final

from msgspec import Struct
from PIL import Image, ImageOps

from warifu.adapters.artwork import TURNS, PhotoLimits
from warifu.adapters.photo_file import PhotoFile, read_photo_file
from warifu.kernel.errors import Malformed
from warifu.ports.artwork import PhotoRefused

UPLOAD_MAX_BYTES: Final = 12_000_000
"""What a telephone's camera makes of twelve million pixels, generously."""
MAX_PIXELS: Final = 50_000_000
SIZE: Final = (700, 900)
"""35 by 45 mm at 20 pixels a millimetre."""
_QUALITIES: Final = (92, 85, 75, 60)


class Crop(Struct, frozen=True):
    """Which part of the upright picture: all between 0 and 1."""

    zoom: float = 0.0
    """0: as much as fits; 1: a quarter of it."""
    across: float = 0.5
    """0: the left end, 1: the right end."""
    down: float = 0.4
    """0: the upper end, 1: the lower end. A little above the middle: faces are."""

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, upper, right, lower in pixels, of the card's shape."""
        shape = SIZE[0] / SIZE[1]
        tall = min(height, width / shape) * (1 - 0.75 * _bounded(self.zoom))
        wide = tall * shape
        left, upper = (width - wide) * _bounded(self.across), (height - tall) * _bounded(self.down)
        return left, upper, left + wide, upper + tall


def _bounded(share: float) -> float:
    return min(1.0, max(0.0, share))


def prepare(upload: bytes, crop: Crop) -> bytes:
    """The photo as it will be sent: JPEG, 700 by 900 pixels, without anything but the picture.

    Raises:
        PhotoRefused: with findings as in ``ports.artwork.PhotoReport``.
    """
    if len(upload) > UPLOAD_MAX_BYTES:
        raise PhotoRefused(("photo.file_too_large",))
    try:
        file = read_photo_file(upload)
    except Malformed:
        raise PhotoRefused(("photo.not_jpeg",)) from None
    _require_harmless(file)
    try:
        return _encoded(_cut(file, crop))
    except (OSError, ValueError, SyntaxError):
        raise PhotoRefused(("photo.damaged",)) from None


def _require_harmless(file: PhotoFile) -> None:
    limits = PhotoLimits()
    if file.scans > limits.max_scans:
        raise PhotoRefused(("photo.too_complex",))
    # A progressive picture is decoded whole before it is made smaller; another one is made smaller while it is decoded.
    allowed = limits.max_pixels if file.scans > 1 else MAX_PIXELS
    if file.width * file.height > allowed:
        raise PhotoRefused(("photo.too_many_pixels",))
    if min(file.width, file.height) < limits.min_side:
        raise PhotoRefused(("photo.too_few_pixels",))


def _cut(file: PhotoFile, crop: Crop) -> Image.Image:
    with Image.open(io.BytesIO(file.jpeg), formats=["JPEG"]) as image:
        if image.mode not in {"RGB", "L"}:
            raise PhotoRefused(("photo.colours",))
        image.draft("RGB", (4 * SIZE[0], 4 * SIZE[0]))
        upright = turned(image.convert("RGB"), file.orientation)
        part = upright.crop(tuple(round(edge) for edge in crop.box(*upright.size)))  # type: ignore[arg-type]  # four
        return ImageOps.fit(part, SIZE, Image.Resampling.LANCZOS)


def _encoded(picture: Image.Image) -> bytes:
    """At the best quality whose file one message can hold."""
    for quality in _QUALITIES[:-1]:
        encoded = _jpeg(picture, quality)
        if len(encoded) <= PhotoLimits().max_bytes:
            return encoded
    return _jpeg(picture, _QUALITIES[-1])


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """Upright, by the camera's orientation mark (Exif)."""
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
