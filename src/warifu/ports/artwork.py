"""Pictures on the card and in the chip: printed text as 1-bit PNG, the portrait as grey JPEG 2000, checks of photos."""

from typing import Protocol

from msgspec import Struct

from warifu.kernel.errors import Refused


class NotPrintable(Refused):
    """The text is empty or holds control or format characters, which are no part of a name or an address."""

    code = "artwork.not_printable"


class DoesNotFit(Refused):
    """Even at the smallest legible size the text does not fit its box."""

    code = "artwork.does_not_fit"


class PhotoRefused(Refused):
    """The photo cannot go on a card.

    Args:
        findings: codes, as in ``PhotoReport``.
    """

    code = "photo.refused"

    def __init__(self, findings: tuple[str, ...]) -> None:
        super().__init__("the photo was refused: " + ", ".join(findings))
        self.findings = findings


class TextImage(Struct, frozen=True):
    """A drawn text.

    Attributes:
        png: 1 bit a pixel, ink is 0.
        flags: one ``0`` or ``1`` a character of the text; 1 says that it is not shown in its own form: the font lacks
            it (drawn as 〓) or it asks for a variant of the character before (drawn in the usual form). The shape is
            that of JPKI's 代替文字 fields; the character set is the font's, not the certificates'.
    """

    png: bytes
    flags: str

    @property
    def is_exact(self) -> bool:
        """Whether every character is shown in its own form."""
        return "1" not in self.flags

    def __repr__(self) -> str:
        """Without the picture, which is a name or an address."""
        return f"TextImage({len(self.png)} bytes, exact={self.is_exact})"


class PhotoReport(Struct, frozen=True):
    """What a look at a photo's form found. Whether it shows a face, and whose, is for people to judge.

    Attributes:
        findings: codes, empty for an acceptable photo: ``photo.file_too_small``, ``photo.file_too_large``,
            ``photo.not_jpeg``, ``photo.too_few_pixels``, ``photo.too_many_pixels``, ``photo.too_complex``,
            ``photo.damaged``, ``photo.colours``, ``photo.aspect``, ``photo.blank``.
        width: pixels, upright (after the camera's orientation mark); 0 when not known.
        height: likewise.
    """

    findings: tuple[str, ...]
    width: int = 0
    height: int = 0

    @property
    def is_accepted(self) -> bool:
        """Whether nothing speaks against the photo."""
        return not self.findings


class Artwork(Protocol):
    """Draws what is printed on a card and stored in its face applet. Same input, same bytes."""

    def text_image(self, text: str, width: int, height: int) -> TextImage:
        """The text as large as fits, in several lines if that makes it larger.

        Raises:
            NotPrintable: nothing to draw, or control characters.
            DoesNotFit: too long for the box.
        """

    def name_image(self, name: str) -> TextImage:
        """The name for the face applet (DF25). Raises as ``text_image``."""

    def address_image(self, address: str) -> TextImage:
        """The address for the face applet (DF26). Raises as ``text_image``."""

    def number_image(self, individual_number: str) -> bytes:
        """Twelve digits as a PNG of 72 by 12 pixels (face applet, EF 0005). Raises ``NotPrintable``."""

    def code_image(self, security_code: str) -> bytes:
        """Four digits as a PNG of 24 by 12 pixels (face applet, DF2A). Raises ``NotPrintable``."""

    def portrait_jpeg2000(self, photo: bytes) -> bytes:
        """The portrait for the face applet (DF27): JPEG 2000, grey, small enough for the chip.

        Raises:
            PhotoRefused: ``check_photo`` has findings.
        """

    def check_photo(self, photo: bytes) -> PhotoReport:
        """Whether the photo of an application has an acceptable form. Never raises on any bytes."""
