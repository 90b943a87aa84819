"""Certificates of authorities that closed: their issue records and revocations, moved here (the 47 of 2015).

Only searched and told of: their keys are not here, so no list and no OCSP answer of ours speaks for them.

**The file**: JSON lines in UTF-8. The first line is the head, each further one a certificate, in ascending order of
serial numbers; the last is the tail, by whose counts whoever wrote the file says what is in it.

    {"format": "warifu.certificates.1", "authority": "pref-13", "name": "Tokyo"}
    {"serial": 1, "not_before": "2013-04-01", "not_after": "2016-03-31", "municipality": "131016"}
    {"serial": 2, …, "revoked_ms": 1400000000000, "reason": "affiliation_changed"}
    {"certificates": 2, "revoked": {"affiliation_changed": 1}}
"""

import datetime
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from warifu.domain.pki.revocation import Reason
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Refused
from warifu.ports.store import Record

FORMAT: Final = "warifu.certificates.1"
MAX_LINE: Final = 4_096
AuthorityId = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$")]
_INT64: Final = 2**63 - 1
_REASONS: Final = frozenset(get_args(Reason))

S = TypeVar("S", bound=Struct)


class ImportRefused(Refused):
    """The file is not what it should be, or not what was begun with; the text names the line, never its content."""

    code = "import.refused"


class ImportDiffers(Refused):
    """What was imported is not what the file's own counts say."""

    code = "import.differs"


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: str
    authority: AuthorityId
    name: Annotated[str, Meta(min_length=1, max_length=100)]


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One certificate. Nothing of its holder."""

    serial: Annotated[int, Meta(ge=1, le=_INT64)]
    not_before: datetime.date
    not_after: datetime.date
    municipality: Annotated[str, Meta(pattern=r"^([0-9]{6})?$")] = ""
    revoked_ms: Annotated[int, Meta(ge=0, le=_INT64)] | None = None
    reason: str = ""


class Tail(Struct, frozen=True, forbid_unknown_fields=True):
    """The last line."""

    certificates: Annotated[int, Meta(ge=0)]
    revoked: dict[str, int]


class ImportedCertificate(Record, frozen=True, kw_only=True):
    """A certificate of an authority that closed."""

    TABLE: ClassVar[str] = "imported_certificate"
    KEY: ClassVar[tuple[str, ...]] = ("authority", "serial")
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("authority", "municipality"),)

    authority: str
    serial: int
    not_before: datetime.date
    not_after: datetime.date
    municipality: str
    revoked_ms: int | None
    reason: str


class ImportedAuthority(Record, frozen=True, kw_only=True):
    """An authority whose records are moved here, and how far."""

    TABLE: ClassVar[str] = "imported_authority"
    KEY: ClassVar[tuple[str, ...]] = ("authority",)

    authority: str
    name: str
    through: int
    """The last serial number that is here; an interrupted import goes on after it."""
    certificates: int
    revoked: int
    complete: bool
    changed_ms: int


def head_of(line: bytes) -> Head:
    """The head. ``ImportRefused`` when the first line is none."""
    head = _decoded(line, Head, 1)
    if head.format != FORMAT:
        raise ImportRefused(f"line 1: the format is not {FORMAT}")
    return head


def line_of(line: bytes, number: int, previous: int) -> Line | Tail:
    """A certificate or the tail.

    Args:
        line: as it stands in the file.
        number: of the line, for errors.
        previous: the serial number before.

    Raises:
        ImportRefused: neither; or out of order, over before it began, or revoked without a reason or instant.
    """
    if line.startswith(b'{"certificates"'):
        return _decoded(line, Tail, number)
    found = _decoded(line, Line, number)
    if found.serial <= previous:
        raise ImportRefused(f"line {number}: serial numbers ascend")
    if found.not_after < found.not_before:
        raise ImportRefused(f"line {number}: over before it began")
    if (found.revoked_ms is None) != (found.reason == "") or found.reason not in _REASONS | {""}:
        raise ImportRefused(f"line {number}: a revocation has an instant and one of the reasons")
    return found


def reconcile(tail: Tail, certificates: int, revoked: Mapping[str, int]) -> None:
    """Hold what is here against the file's own counts. ``ImportDiffers`` when they do not agree."""
    if tail.certificates != certificates:
        raise ImportDiffers(f"{certificates} certificates are here, the file says {tail.certificates}")
    if Counter(tail.revoked) != Counter(revoked):
        raise ImportDiffers(
            f"revoked here: {dict(sorted(revoked.items()))}; the file: {dict(sorted(tail.revoked.items()))}"
        )


def _decoded(line: bytes, kind: type[S], number: int) -> S:
    if len(line) > MAX_LINE:
        raise ImportRefused(f"line {number}: longer than {MAX_LINE} bytes")
    try:
        return msgspec.json.decode(line, type=kind)
    except NOT_DECODED:
        raise ImportRefused(f"line {number}: not a line of the format") from None
