"""Which characters a certificate can carry, and what stands for the others.

A certificate writes name and address in JIS X 0208 (levels 1 and 2) and the kanji of JIS X 0212. Any other character is
replaced and its place flagged: one ``0`` or ``1`` a character, so that a verifier can see that the text is not quite
what the resident register says. Python's ``iso2022_jp_1`` codec covers exactly these two sets, and its escape
sequence tells which one a character belongs to.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from msgspec import Struct

GETA: Final = "〓"
"""The printer's mark for a missing type; what stands in when no similar character is known (not confirmed in the real
profile, hence an argument)."""

SIMILAR: Final[Mapping[str, str]] = MappingProxyType(
    {"髙": "高", "\ufa11": "崎", "𠮷": "吉", "栁": "柳", "濵": "浜", "德": "徳", "\ufa10": "塚", "瀨": "瀬"}
)
"""Similar characters for the most usual ones outside the sets."""

_JIS_X_0208 = b"\x1b$B"
_JIS_X_0212 = b"\x1b$(D"
_FIRST_KANJI_ROW = 0x30
# The same JIS characters to which Unicode tables of other makers give other code points.
_TWINS = frozenset("－～—∥￠￡￢")
_HALF_WIDTH_KANA = re.compile("[\uff61-\uff9f]+")
_TO_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}


class Substituted(Struct, frozen=True):
    """Text as a certificate writes it, and one flag a character: ``1`` where a substitute stands."""

    text: str
    flags: str

    def __repr__(self) -> str:
        """Without the text: it is somebody's name or address."""
        return f"Substituted(<{len(self.text)} characters>)"


def substitute(text: str, similar: Mapping[str, str] = SIMILAR, unknown: str = GETA) -> Substituted:
    """Write ``text`` as a certificate can.

    ASCII and half-width kana become full width first (that is no substitution). A character with its variation
    selector or combining marks counts as one.

    Args:
        text: as in the resident register.
        similar: the substitute for a character that cannot be written.
        unknown: the substitute for one without a similar character.
    """
    wide = full_width(text)
    if all(map(is_representable, wide)):  # as nearly everybody's
        return Substituted(wide, "0" * len(wide))
    pairs = [_one(unit, similar, unknown) for unit in _units(wide)]
    return Substituted("".join(pair[0] for pair in pairs), "".join(pair[1] for pair in pairs))


def full_width(text: str) -> str:
    """The text with ASCII and half-width kana in their full-width forms."""
    wide = _HALF_WIDTH_KANA.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return wide.translate(_TO_FULL_WIDTH)


@lru_cache(maxsize=16384)
def is_representable(character: str) -> bool:
    """Whether a certificate can carry this one character."""
    if character in _TWINS:
        return True
    try:
        encoded = character.encode("iso2022_jp_1")
    except UnicodeEncodeError:
        return False
    if encoded.startswith(_JIS_X_0212):
        return encoded[len(_JIS_X_0212)] >= _FIRST_KANJI_ROW
    return encoded.startswith(_JIS_X_0208)


def _units(text: str) -> list[str]:
    units: list[str] = []
    for character in text:
        if units and (unicodedata.combining(character) or unicodedata.category(character) == "Mn"):
            units[-1] += character
        else:
            units.append(character)
    return units


def _one(unit: str, similar: Mapping[str, str], unknown: str) -> tuple[str, str]:
    whole = unicodedata.normalize("NFC", unit) if len(unit) > 1 else unit
    if len(whole) == 1 and is_representable(whole):
        return whole, "0"
    base = unit[0]
    for candidate in (similar.get(base, ""), base, unicodedata.normalize("NFKC", base), _without_marks(base)):
        if len(candidate) == 1 and is_representable(candidate):
            return candidate, "1"
    return unknown, "1"


def _without_marks(base: str) -> str:
    """A letter without its accents, full width; more than one character if it is none."""
    parts = unicodedata.normalize("NFKD", base)
    return full_width("".join(part for part in parts if not unicodedata.combining(part)))
