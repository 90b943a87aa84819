"""Prints papers as PDF by Typst, with the fonts of ``docs/decisions/0011``. Nothing is written to disk."""

import io
import json
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec
import pylopdf_fonts_jp
import segno
import typst

from warifu.adapters.papers.content import ApplicationForm, DeliveryNotice, DeliveryNotices, Paper
from warifu.kernel.calendar import era_text
from warifu.kernel.errors import Fault, Malformed

FORMS = Path(str(resources.files(__package__) / "forms"))
FONTS = Path(pylopdf_fonts_jp.__file__).parent


class TooLong(Malformed):
    """What is to be printed does not fit its place."""

    code = "paper.too_long"


class Press:
    """Prints. One press serves many papers; it keeps fonts and forms, no content."""

    def pdf(self, paper: Paper) -> bytes:
        """The paper as a tagged PDF file with its fonts inside.

        Raises:
            TooLong: something does not fit its place, or the whole not its one page.
        """
        return _compile(paper, "pdf")

    def png(self, paper: Paper, ppi: float = 96) -> bytes:
        """The paper as a picture, to be looked at on a screen. Raises as ``pdf``."""
        return _compile(paper, "png", ppi)


def _compile(paper: Paper, kind: Literal["pdf", "png"], ppi: float | None = None) -> bytes:
    content = {"data": json.dumps(_data(paper), ensure_ascii=False)}
    try:
        printed = _compiler(paper.FORM).compile(format=kind, ppi=ppi, sys_inputs=content)
    except typst.TypstError as error:
        if "does not fit" in str(error):  # what the forms say when they see it
            raise TooLong(f"{paper.FORM}: what is to be printed does not fit its place") from None
        raise Fault(f"{paper.FORM}: the form cannot be set") from None  # the message may quote what was to be printed
    if not isinstance(printed, bytes):
        raise Fault(f"{paper.FORM}: the form has several pages")
    return printed


@lru_cache(maxsize=8)
def _compiler(form: str) -> typst.Compiler:
    return typst.Compiler(
        str(FORMS / f"{form}.typ"), root=str(FORMS), font_paths=[str(FONTS)], ignore_system_fonts=True
    )


def _data(paper: Paper) -> dict[str, Any]:
    """The content, its dates in words of the era, its application ID as a QR code too."""
    if isinstance(paper, DeliveryNotices):
        return {"all": [_data(notice) for notice in paper.all]}
    data = {name: _plain(getattr(paper, name)) for name in paper.__struct_fields__}
    if isinstance(paper, ApplicationForm | DeliveryNotice):
        data["qr"] = _qr(paper.application_id)
    return data


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON in the making
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return era_text(value) if hasattr(value, "toordinal") else value


def _qr(text: str) -> str:
    """A QR code (ISO/IEC 18004, error correction M: a folded paper still reads) as SVG."""
    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(out, kind="svg", border=4)
    return out.getvalue().decode()
