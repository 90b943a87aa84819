"""A stranger's JPEG, read marker by marker before any decoder sees it (ITU-T T.81 annex B).

The walk finds the picture's size and the camera's orientation mark, and copies only what decoding needs: comments,
Exif, colour profiles and embedded further pictures are left behind, and with them their parsers' faults and the place
where the photo was taken.
"""

from msgspec import Struct

from warifu.kernel.errors import Malformed

_SOI, _EOI, _SOS, _APP0, _APP1, _APP14, _APP15, _COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_FRAMES = (0xC0, 0xC1, 0xC2)
"""Baseline, extended sequential and progressive DCT. Lossless, hierarchical and arithmetic coding are refused."""
_MIN_FRAME = 8
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_IFD_ENTRY_BYTES = 12
_MAX_IFD_ENTRIES = 512
UPRIGHT = 1
_SIDEWAYS = (5, 6, 7, 8)


class PhotoFile(Struct, frozen=True):
    """A JPEG's form.

    Attributes:
        width: pixels as stored.
        height: likewise.
        orientation: 1 to 8 as in Exif; 1 is upright.
        scans: how many scans the data holds at most; each may cost a pass over the whole picture.
        jpeg: the same picture without its comments and application segments (but Adobe's, which names the colours).
    """

    width: int
    height: int
    orientation: int
    scans: int
    jpeg: bytes

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height once the orientation mark is obeyed."""
        return (self.height, self.width) if self.orientation in _SIDEWAYS else (self.width, self.height)

    def __repr__(self) -> str:
        """Without the picture."""
        return f"PhotoFile({self.width}x{self.height})"


def read_photo_file(photo: bytes) -> PhotoFile:
    """The form of a JPEG.

    Raises:
        Malformed: not a JPEG, or of a kind that no camera writes.
    """
    if photo[:2] != bytes((0xFF, _SOI)):
        raise Malformed("not a JPEG")
    kept, size, orientation, at = [photo[:2]], (0, 0), UPRIGHT, 2
    while True:
        marker, segment, at = _segment(photo, at)
        if marker == _SOS:
            break
        if marker in _FRAMES:
            size = _frame_size(segment)
        if marker == _APP1 and segment[4:].startswith(_EXIF):
            orientation = _orientation(segment[4 + len(_EXIF) :])
        if not (_APP0 <= marker <= _APP15 or marker == _COM) or marker == _APP14:
            kept.append(segment)
    if not all(size):
        raise Malformed("a scan without a frame of known size")
    scans = photo[at:].count(bytes((0xFF, _SOS))) + 1
    return PhotoFile(*size, orientation, scans, b"".join([*kept, segment, photo[at:]]))


def _segment(photo: bytes, at: int) -> tuple[int, bytes, int]:
    """The marker at ``at``, its segment (marker and length included) and where the next one begins."""
    while photo[at : at + 2] == b"\xff\xff":  # fill bytes
        at += 1
    if len(photo) < at + 4 or photo[at] != 0xFF:  # noqa: PLR2004 - every marker begins with FF
        raise Malformed("a JPEG marker is missing")
    marker, length = photo[at + 1], int.from_bytes(photo[at + 2 : at + 4], "big")
    end = at + 2 + length
    if marker < 0xC0 or _SOI <= marker <= _EOI or length < 2 or end > len(photo):  # noqa: PLR2004
        raise Malformed("a JPEG segment has no sensible length")
    return marker, photo[at:end], end


def _frame_size(segment: bytes) -> tuple[int, int]:
    # marker 2, length 2, precision 1, height 2, width 2
    if len(segment) < 2 + _MIN_FRAME:
        raise Malformed("a JPEG frame header is too short")
    return int.from_bytes(segment[7:9], "big"), int.from_bytes(segment[5:7], "big")


def _orientation(tiff: bytes) -> int:
    """The orientation mark of an Exif block; a block that makes no sense is as good as none."""

    def number(at: int, count: int) -> int:
        return int.from_bytes(tiff[at : at + count], "little" if tiff[:2] == b"II" else "big")

    first = number(4, 4)
    for index in range(min(number(first, 2), _MAX_IFD_ENTRIES)):
        entry = first + 2 + index * _IFD_ENTRY_BYTES
        if number(entry, 2) == _ORIENTATION:
            found = number(entry + 8, 2)
            return found if found in range(1, 9) else UPRIGHT
    return UPRIGHT
