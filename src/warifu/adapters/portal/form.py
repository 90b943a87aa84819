"""What a browser posted, bounded and typed."""

import datetime
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from warifu.adapters.portal.photo import UPLOAD_MAX_BYTES, Crop
from warifu.kernel.check_digits import require_application_id
from warifu.kernel.errors import Malformed, Refused

BODY_MAX_BYTES: Final = UPLOAD_MAX_BYTES + 100_000
MAX_FIELDS: Final = 20
FIELD_MAX_BYTES: Final = 1_000_000
"""A photo on its way from the preview to the sending is a field."""
_SPACES: Final = re.compile(r"[\s\-ー－‐]+")
_ULID: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


class FieldWrong(Malformed):
    """A field does not say what it asks for.

    Args:
        field: its name.
    """

    code = "portal.field"

    def __init__(self, field: str) -> None:
        super().__init__(f"the field {field}")
        self.field = field


class FormTooLarge(Malformed):
    """More than any page sends."""

    code = "portal.form_too_large"


class FormForged(Refused):
    """The form came from somebody else's page."""

    code = "portal.form_forged"


class Form(Struct, frozen=True):
    """A posted form. Its text never shows what is in it."""

    data: FormData

    def __repr__(self) -> str:
        """Without its content."""
        return "Form(...)"

    def text(self, name: str) -> str:
        """A field, trimmed; "" when it is not there."""
        value = self.data.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def application_id(self) -> str:
        """The 23 digits, however they are spaced, in either width."""
        digits = _SPACES.sub("", self.text("application_id")).translate(_NARROW)
        try:
            require_application_id(digits)
        except Malformed:
            raise FieldWrong("application_id") from None
        return digits

    def date(self) -> datetime.date:
        """Year, month and day in three fields."""
        try:
            return datetime.date(*(int(self.text(name).translate(_NARROW)) for name in ("year", "month", "day")))
        except ValueError:
            raise FieldWrong("date") from None

    def crop(self) -> Crop:
        """The sliders, 0 to 100 each."""
        try:
            zoom, across, down = (float(self.text(name) or plain) / 100 for name, plain in _SLIDERS)
        except ValueError:
            raise FieldWrong("crop") from None
        return Crop(zoom, across, down)

    def operation_id(self) -> str:
        """What the page before was given."""
        if not _ULID.fullmatch(self.text("operation_id")):
            raise FieldWrong("operation_id")
        return self.text("operation_id")

    async def upload(self, name: str) -> bytes:
        """A file; b"" when none was chosen."""
        value = self.data.get(name)
        return await value.read() if isinstance(value, UploadFile) else b""


_NARROW: Final = str.maketrans("０１２３４５６７８９", "0123456789")
_SLIDERS: Final = (("zoom", "0"), ("across", "50"), ("down", "40"))


class _InMemory(MultiPartParser):
    """Faces do not go into temporary files."""

    spool_max_size = BODY_MAX_BYTES


@asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[Form]:
    """A posted form, and its files while inside. ``FormTooLarge``, ``FormForged``."""
    require_own_origin(request)
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > BODY_MAX_BYTES:
        raise FormTooLarge("the form is too large")
    try:
        data = await _parsed(request)
    except (HTTPException, MultiPartException, ValueError):
        raise FormTooLarge("the form is not one of ours") from None
    try:
        yield Form(data)
    finally:
        await data.close()


async def _parsed(request: Request) -> FormData:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        parser = _InMemory(
            request.headers, request.stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=FIELD_MAX_BYTES
        )
        return await parser.parse()
    return await request.form(max_files=0, max_fields=MAX_FIELDS, max_part_size=FIELD_MAX_BYTES)


def require_own_origin(request: Request) -> None:
    """The browser itself says from which page a form came."""
    origin = request.headers.get("origin")
    fetched = request.headers.get("sec-fetch-site", "same-origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if (origin not in {None, own}) or fetched not in {"same-origin", "none"}:
        raise FormForged("the form came from elsewhere")
