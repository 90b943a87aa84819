"""How one name is written in several ways, and how a register writes it.

Registers keep a person's own form of a character (髙, 﨑, 𠮷); people at a counter type the common one. A foreign
resident's name stands in Latin capitals with plain spaces, everybody else's with one full-width space.
"""

import itertools
import unicodedata
from typing import Final

_FORMS: Final = (
    "高髙",
    "崎﨑",
    "吉𠮷",
    "辺邉邊",
    "斎齋齊斉",
    "浜濵濱",
    "徳德",
    "桑桒",
    "柳栁",
    "富冨",
    "土𡈽",
    "沢澤",
    "広廣",
    "国國",
)
"""Forms of one character that names are written with, the common one first."""
_COMMON: Final = str.maketrans({form: forms[0] for forms in _FORMS for form in forms[1:]})
_OTHERS: Final = {form: form + forms.replace(form, "") for forms in _FORMS for form in forms}
_SMALL_A, _SMALL_KE, _TO_KATAKANA = 0x3041, 0x3096, 0x60
_KATAKANA: Final = {code: code + _TO_KATAKANA for code in range(_SMALL_A, _SMALL_KE + 1)}
SPELLINGS_LIMIT: Final = 32


def common_forms(name: str) -> str:
    """The name with each character in its common form."""
    return name.translate(_COMMON)


def name_spellings(name: str) -> tuple[str, ...]:
    """What a register may have for a name as somebody typed it, at most ``SPELLINGS_LIMIT``, as typed first."""
    words = name.split()
    forms = itertools.product(*(_OTHERS.get(each, each) for each in "\u3000".join(words)))
    spellings = ["".join(form) for form in itertools.islice(forms, SPELLINGS_LIMIT - 1)]
    latin = unicodedata.normalize("NFKC", " ".join(words)).upper()
    return (*spellings, latin) if latin.isascii() else tuple(spellings)


def kana_spelling(name: str) -> str:
    """The reading as a register has it: full-width katakana, one full-width space."""
    return "\u3000".join(unicodedata.normalize("NFKC", name).translate(_KATAKANA).split())
