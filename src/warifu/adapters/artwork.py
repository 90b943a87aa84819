"""Artwork by Pillow (FreeType, libjpeg-turbo, OpenJPEG) with Noto Sans JP (``docs/decisions/0008``).

A photo comes from a stranger: no pixel is decoded before the file's size, its pixel count and its number of scans are
known to be harmless.
"""

import io
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import pylopdf_fonts_jp
from msgspec import Struct
from PIL import Image, ImageDraw, ImageFont, ImageOps, ImageStat

from warifu.adapters.photo_file import PhotoFile, read_photo_file
from warifu.kernel.errors import Fault, Malformed
from warifu.ports.artwork import DoesNotFit, NotPrintable, PhotoRefused, PhotoReport, TextImage

NAME_BOX = (480, 48)
"""Ours: the real card's sizes for name and address are not public. Holds 160 full-width characters."""
ADDRESS_BOX = (480, 72)
"""Ours, likewise. Holds 240 full-width characters."""
PORTRAIT_SIZE = (320, 400)
"""4 to 5, as the printed photo (22.0 by 27.5 mm)."""
PORTRAIT_MAX_BYTES = 7000
_PORTRAIT_RATE = PORTRAIT_SIZE[0] * PORTRAIT_SIZE[1] / (PORTRAIT_MAX_BYTES - 200)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of an Exif orientation upright."""

MIN_TEXT_SIZE = 12
"""Pixels; below this kanji in one bit are blots."""
MAX_TEXT_SIZE = 40
GETA = "〓"

_CELL = (6, 12)
# Five by nine pixels a digit, a row two octal digits: drawn by hand, because a wrong reading here is a wrong number.
_DIGIT_ROWS = (
    (0o16, 0o21, 0o21, 0o21, 0o21, 0o21, 0o21, 0o21, 0o16),
    (0o04, 0o14, 0o04, 0o04, 0o04, 0o04, 0o04, 0o04, 0o16),
    (0o16, 0o21, 0o01, 0o01, 0o02, 0o04, 0o10, 0o20, 0o37),
    (0o16, 0o21, 0o01, 0o01, 0o06, 0o01, 0o01, 0o21, 0o16),
    (0o02, 0o06, 0o12, 0o12, 0o22, 0o22, 0o37, 0o02, 0o02),
    (0o37, 0o20, 0o20, 0o36, 0o21, 0o01, 0o01, 0o21, 0o16),
    (0o06, 0o10, 0o20, 0o20, 0o36, 0o21, 0o21, 0o21, 0o16),
    (0o37, 0o01, 0o01, 0o02, 0o02, 0o04, 0o04, 0o10, 0o10),
    (0o16, 0o21, 0o21, 0o21, 0o16, 0o21, 0o21, 0o21, 0o16),
    (0o16, 0o21, 0o21, 0o21, 0o17, 0o01, 0o01, 0o02, 0o14),
)
_NO_CHARACTER = "\U0010ffff"
_UNDRAWABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


class PhotoLimits(Struct, frozen=True, kw_only=True):
    """What an application's photo may be.

    The real service asks for JPEG, 20 kB to 7 MB, 480 to 6,000 pixels a side, RGB or grey. Ours differs in
    the largest file (one message must hold it) and adds limits on the whole area, shape, scans and contrast.
    """

    min_bytes: int = 20_000
    max_bytes: int = 700_000
    min_side: int = 480
    max_side: int = 6000
    max_pixels: int = 16_000_000
    """A progressive picture of this size takes some 100 MB while it is decoded."""
    max_scans: int = 64
    """A progressive JPEG has about ten; each scan may cost a pass over every pixel, so thousands are an attack."""
    min_aspect: float = 0.6
    """Width over height."""
    max_aspect: float = 1.05
    min_contrast: float = 8.0
    """Standard deviation of brightness, 0 to 128; under it the picture is one flat tone."""


class PillowArtwork:
    """``warifu.ports.artwork.Artwork``. Holds no state but its limits; safe in several threads."""

    def __init__(self, limits: PhotoLimits | None = None) -> None:
        self._limits = limits or PhotoLimits()

    def text_image(self, text: str, width: int, height: int) -> TextImage:
        """See the port."""
        if not text.strip() or any(unicodedata.category(c) in _UNDRAWABLE and not _is_selector(c) for c in text):
            raise NotPrintable("a text to draw has visible characters and no control characters")
        shown, flags = _drawable(text)
        for size in range(min(MAX_TEXT_SIZE, height), MIN_TEXT_SIZE - 1, -1):
            lines = _wrapped(shown, size, width)
            if len(lines) * _line_height(size) <= height:
                return TextImage(_draw_lines(lines, size, width, height), flags)
        raise DoesNotFit(f"{len(text)} characters do not fit {width} by {height} pixels")

    def name_image(self, name: str) -> TextImage:
        """See the port."""
        return self.text_image(name, *NAME_BOX)

    def address_image(self, address: str) -> TextImage:
        """See the port."""
        return self.text_image(address, *ADDRESS_BOX)

    def number_image(self, individual_number: str) -> bytes:
        """See the port."""
        return _digits_image(individual_number, 12)

    def code_image(self, security_code: str) -> bytes:
        """See the port."""
        return _digits_image(security_code, 4)

    def check_photo(self, photo: bytes) -> PhotoReport:
        """See the port."""
        return self._look(photo)[0]

    def portrait_jpeg2000(self, photo: bytes) -> bytes:
        """See the port."""
        report, grey = self._look(photo)
        if grey is None or not report.is_accepted:
            raise PhotoRefused(report.findings)
        # The upper part matters more than the lower when a square photo loses its sides or a tall one its ends.
        fitted = ImageOps.fit(grey, PORTRAIT_SIZE, Image.Resampling.LANCZOS, centering=(0.5, 0.4))
        encoded = io.BytesIO()
        fitted.save(encoded, "JPEG2000", quality_mode="rates", quality_layers=[_PORTRAIT_RATE], irreversible=True)
        if encoded.tell() > PORTRAIT_MAX_BYTES:
            raise Fault("the encoder exceeded the portrait's size")
        return encoded.getvalue()

    def _look(self, photo: bytes) -> tuple[PhotoReport, Image.Image | None]:
        """The report and, if there is one to see, the picture: grey and upright."""
        size_finding = self._size_finding(len(photo))
        if size_finding:
            return PhotoReport((size_finding,)), None
        try:
            file = read_photo_file(photo)
        except Malformed:
            return PhotoReport(("photo.not_jpeg",)), None
        findings = _form_findings(file, self._limits)
        if findings:
            return PhotoReport(findings, *file.upright_size), None
        try:
            grey = _grey(file)
        except (OSError, ValueError, SyntaxError):
            return PhotoReport(("photo.damaged",), *file.upright_size), None
        if grey is None:
            return PhotoReport(("photo.colours",), *file.upright_size), None
        return PhotoReport(tuple(_picture_findings(grey, file, self._limits)), *file.upright_size), grey

    def _size_finding(self, size: int) -> str:
        if size > self._limits.max_bytes:
            return "photo.file_too_large"
        return "photo.file_too_small" if size < self._limits.min_bytes else ""


# ---- text -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The basic layout: no shaping is needed, and the same bytes come out wherever Pillow runs.
    path = str(pylopdf_fonts_jp.sans_path())
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1)
def _missing_glyph() -> tuple[tuple[int, int], bytes]:
    return _ink(_NO_CHARACTER)


def _ink(character: str) -> tuple[tuple[int, int], bytes]:
    mask = _font(32).getmask(character)
    return mask.size, bytes(mask)


@lru_cache(maxsize=20_000)
def _has_glyph(character: str) -> bool:
    return _ink(character) != _missing_glyph()


def _is_selector(character: str) -> bool:
    # Variation selectors choose one of several shapes of the character before them (IVS: U+E0100 and up).
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _drawable(text: str) -> tuple[str, str]:
    """What is drawn for a text, and its flags. No normalisation: it would turn 神 into 神, another name."""
    flags = "".join("1" if _is_selector(c) or not _has_glyph(c) else "0" for c in text)
    shown = "".join(c if _has_glyph(c) else GETA for c in text if not _is_selector(c))
    return shown, flags


def _line_height(size: int) -> int:
    return size + max(2, size // 8)


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """The text in lines no wider than ``width``: Latin words whole where possible, kanji broken anywhere."""
    advances = [_font(size).getlength(character) for character in text]
    breaks, used = [0], 0.0
    for position, character in enumerate(text):
        if used + advances[position] > width:
            word = text.rfind(" ", breaks[-1], position) + 1 if character.isascii() else 0
            breaks.append(word if word > breaks[-1] else position)
            used = sum(advances[breaks[-1] : position])
        used += advances[position]
    return [text[start:end] for start, end in pairwise([*breaks, len(text)])]


def _draw_lines(lines: list[str], size: int, width: int, height: int) -> bytes:
    image = Image.new("1", (width, height), 1)
    draw = ImageDraw.Draw(image)
    spare = height - len(lines) * _line_height(size)
    for row, line in enumerate(lines):
        middle = spare / 2 + (row + 0.5) * _line_height(size)
        # "lm" is the middle of ascender and descender, which for this font lies on the middle of a kanji.
        draw.text((0, middle), line, font=_font(size), fill=0, anchor="lm")
    return _png(image)


def _digits_image(digits: str, count: int) -> bytes:
    if len(digits) != count or not (digits.isascii() and digits.isdigit()):
        raise NotPrintable(f"expected {count} digits")
    image = Image.new("1", (_CELL[0] * count, _CELL[1]), 1)
    for index, digit in enumerate(digits):
        for y, row in enumerate(_DIGIT_ROWS[int(digit)], start=2):
            for x in range(5):
                if row >> (4 - x) & 1:
                    image.putpixel((_CELL[0] * index + x, y), 0)
    return _png(image)


def _png(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


# ---- photos -----------------------------------------------------------------------------------------------------


def _form_findings(file: PhotoFile, limits: PhotoLimits) -> tuple[str, ...]:
    """What forbids decoding, or makes it pointless."""
    if file.scans > limits.max_scans:
        return ("photo.too_complex",)
    if max(file.width, file.height) > limits.max_side or file.width * file.height > limits.max_pixels:
        return ("photo.too_many_pixels",)
    if min(file.width, file.height) < limits.min_side:
        return ("photo.too_few_pixels",)
    return ()


def _picture_findings(grey: Image.Image, file: PhotoFile, limits: PhotoLimits) -> Iterator[str]:
    width, height = file.upright_size
    if not limits.min_aspect <= width / height <= limits.max_aspect:
        yield "photo.aspect"
    if ImageStat.Stat(grey).stddev[0] < limits.min_contrast:
        yield "photo.blank"


def _grey(file: PhotoFile) -> Image.Image | None:
    """Grey and upright, or None for colours no camera writes (CMYK).

    Raises:
        OSError, ValueError, SyntaxError: the data is damaged.
    """
    with Image.open(io.BytesIO(file.jpeg), formats=["JPEG"]) as image:
        if image.mode not in {"RGB", "L"}:
            return None
        # libjpeg scales by 1/2, 1/4 or 1/8 while it decodes, never below this size.
        image.draft("L", (2 * PORTRAIT_SIZE[0], 2 * PORTRAIT_SIZE[1]))
        turn = TURNS.get(file.orientation)
        grey = image.convert("L")
        return grey if turn is None else grey.transpose(turn)
