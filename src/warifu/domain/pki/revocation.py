"""Revocation: which events revoke which certificates and why, and the lists that say so.

A list entry is encoded once, when its certificate is revoked, and stored; building a list is then joining bytes, one
hash and one signature, whatever its size, and needs no more memory than a piece of it. An authority publishes one full
list and one list per municipality (distribution point); a list's ``issuingDistributionPoint`` says which.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final, Literal

from msgspec import Struct

from warifu.contract.values import CertificateEvent
from warifu.domain.pki import der, extensions
from warifu.domain.pki.errors import AlreadyRevoked, BadContent
from warifu.domain.pki.names import KINDS, Kind, Point
from warifu.domain.pki.profile import MAX_SERIAL, SIGNATURE_ALGORITHM, SIGNATURE_BYTES, Authority, signature_part
from warifu.kernel.calendar import jst_date

LISTED_DAYS: Final = 2
"""Days after its validity in which a revoked certificate stays on the lists; lists are renewed every half day."""

Reason = Literal[
    "unspecified",
    "key_compromise",
    "ca_compromise",
    "affiliation_changed",
    "superseded",
    "cessation_of_operation",
    "certificate_hold",
]

REASON_CODES: Final[dict[Reason, int]] = {
    "unspecified": 0,
    "key_compromise": 1,
    "ca_compromise": 2,
    "affiliation_changed": 3,
    "superseded": 4,
    "cessation_of_operation": 5,
    "certificate_hold": 6,
}
"""CRLReason (RFC 5280 section 5.3.1) as the service uses it; removeFromCRL does not occur: a hold is never released."""

Event = CertificateEvent | Literal["record_error", "left_register", "authority_compromise"]
"""The contract's events of one card, and the rarer ones that only the authority itself brings up."""


class Consequence(Struct, frozen=True):
    """What an event does to a resident's valid certificates."""

    reason: Reason
    kinds: tuple[Kind, ...]


_SIGNATURE_ONLY: tuple[Kind, ...] = ("signature",)
_CONSEQUENCES: Final[dict[Event, Consequence]] = {
    # The printed particulars stand in the signature certificate alone: the other one stays valid.
    "move": Consequence("affiliation_changed", _SIGNATURE_ONLY),
    "name": Consequence("affiliation_changed", _SIGNATURE_ONLY),
    "address": Consequence("affiliation_changed", _SIGNATURE_ONLY),
    "birth_date": Consequence("affiliation_changed", _SIGNATURE_ONLY),
    "sex": Consequence("affiliation_changed", _SIGNATURE_ONLY),
    "record_error": Consequence("affiliation_changed", _SIGNATURE_ONLY),
    "death": Consequence("cessation_of_operation", KINDS),
    "left_register": Consequence("cessation_of_operation", KINDS),
    "abolition": Consequence("cessation_of_operation", KINDS),
    "return": Consequence("cessation_of_operation", KINDS),
    "cancelled_delivery": Consequence("unspecified", KINDS),
    "suspension": Consequence("certificate_hold", KINDS),
    "authority_compromise": Consequence("ca_compromise", KINDS),
    "renewal": Consequence("superseded", KINDS),
    "key_compromise": Consequence("key_compromise", KINDS),
    "request": Consequence("cessation_of_operation", KINDS),
}


def consequence(event: Event, kind: Kind | None = None) -> Consequence:
    """Which certificates an event revokes, and with which reason.

    Args:
        event: what happened.
        kind: narrows the answer to one kind (renewal, a compromised key or the holder's request may concern one only).
    """
    known = _CONSEQUENCES[event]
    return known if kind is None else Consequence(known.reason, tuple(k for k in known.kinds if k == kind))


def next_reason(current: Reason | None, wanted: Reason) -> Reason:
    """The reason a certificate has after being revoked with ``wanted``.

    A held certificate may be revoked for good; nothing else changes once set. The same reason again changes nothing.

    Raises:
        AlreadyRevoked: it is revoked with another reason than a hold.
    """
    if current in (None, "certificate_hold", wanted):
        return wanted
    raise AlreadyRevoked(f"revoked already: {current}")


def crl_entry(serial: int, revoked_ms: int, reason: Reason) -> bytes:
    """One ``revokedCertificates`` entry (37 octets for a four-octet serial with a reason).

    ``unspecified`` is said by leaving the reason out, as RFC 5280 section 5.3.1 asks.

    Raises:
        BadContent: the serial is out of range.
    """
    if not 1 <= serial <= MAX_SERIAL:
        raise BadContent("serial number")
    return der.sequence(der.integer(serial), der.time(revoked_ms), _ENTRY_EXTENSIONS[reason])


_ENTRY_EXTENSIONS: Final[dict[Reason, bytes]] = {
    reason: der.sequence(extensions.extension("2.5.29.21", der.enumerated(code))) if code else b""
    for reason, code in REASON_CODES.items()
}


class ListOrder(Struct, frozen=True, kw_only=True):
    """What a list is to say beside its entries."""

    number: int
    """CRLNumber; must rise with every list of this authority and scope."""
    this_update_ms: int
    """Instant of issue."""
    next_update_ms: int
    """By when the next one is out."""
    point: Point | None = None
    """The municipality this list is for; None for the full list."""

    def __post_init__(self) -> None:
        """Refuse what a list cannot say."""
        if self.number < 0 or self.next_update_ms <= self.this_update_ms:
            raise BadContent("list number or update instants")


class ListFrame(Struct, frozen=True):
    """The to-be-signed DER of a list before and behind its entries: a list is written without holding it."""

    head: bytes
    tail: bytes


def list_frame(authority: Authority, order: ListOrder, entries_size: int) -> ListFrame:
    """What stands around entries of so many octets (RFC 5280 section 5.1).

    Args:
        authority: whose list; its key identifier stands in the list, since generations share a name.
        order: what the list says.
        entries_size: octets of all entries (from ``crl_entry``), in the order wanted.
    """
    fields = (
        der.integer(1),
        SIGNATURE_ALGORITHM,
        authority.name,
        der.time(order.this_update_ms),
        der.time(order.next_update_ms),
        der.header(der.SEQUENCE, entries_size) if entries_size else b"",  # an empty list leaves the field out
    )
    tail = _list_extensions(authority, order.number, order.point)
    total = sum(map(len, fields)) + entries_size + len(tail)
    return ListFrame(b"".join((der.header(der.SEQUENCE, total), *fields)), tail)


def list_opening(frame: ListFrame, entries_size: int) -> bytes:
    """The first octets of the finished list, before what is signed."""
    signed = len(frame.head) + entries_size + len(frame.tail)
    return der.header(der.SEQUENCE, signed + len(signature_part(bytes(SIGNATURE_BYTES))))


def crl_tbs(
    authority: Authority,
    *,
    number: int,
    this_update_ms: int,
    next_update_ms: int,
    entries: Iterable[bytes],
    point: Point | None = None,
) -> bytes:
    """A whole list's to-be-signed DER, for lists that fit into memory; see ``ListOrder`` and ``list_frame``.

    Raises:
        BadContent: the number is negative or the update instants are out of order.
    """
    order = ListOrder(number=number, this_update_ms=this_update_ms, next_update_ms=next_update_ms, point=point)
    kept = b"".join(entries)
    frame = list_frame(authority, order, len(kept))
    return b"".join((frame.head, kept, frame.tail))


def oldest_listed(now_ms: int) -> date:
    """The last day of validity that keeps a revoked certificate on lists of this instant.

    An expired one leaves, but not before it stood on a list issued after its last day (RFC 5280 section 3.3: the
    entry "MUST NOT be removed ... until it appears on one regularly scheduled CRL issued beyond the ... validity").
    """
    return jst_date(now_ms) - timedelta(days=LISTED_DAYS)


def _list_extensions(authority: Authority, number: int, point: Point | None) -> bytes:
    scope = issuing_distribution_point(authority.point_name(point)) if point else b""
    crl_number = extensions.extension("2.5.29.20", der.integer(number))
    return der.explicit(0, der.sequence(extensions.authority_key(authority.key_id), crl_number, scope))


def issuing_distribution_point(name: bytes) -> bytes:
    """Critical issuingDistributionPoint (RFC 5280 section 5.2.5): this list covers the point with this name only."""
    return extensions.extension("2.5.29.28", der.sequence(extensions.full_name(name)), critical=True)
