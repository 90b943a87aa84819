"""The last look at a revocation list before the HSM signs its digest.

Around the entries: every field as ``cryptography``'s own classes encode it for the order. The entries, a million of
them perhaps: one regular expression that matches what ``crl_entry`` may write and nothing else, octet for octet, so
that the entries are looked at as fast as they are read from the database.
"""

import re
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from warifu.domain.pki import der, lint, names
from warifu.domain.pki.errors import LintFailed, NotDer
from warifu.domain.pki.profile import Authority
from warifu.domain.pki.revocation import ListFrame, ListOrder

_INTEGER: Final = (
    rb"\x02(?:\x01[\x01-\x7f]|\x02(?:\x00[\x80-\xff]|[\x01-\x7f].)"
    rb"|\x03(?:\x00[\x80-\xff].|[\x01-\x7f]..)|\x04(?:\x00[\x80-\xff]..|[\x01-\x7f]...))"
)
_TIME: Final = rb"\x17\x0d[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]Z"
_REASON: Final = rb"\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01[\x01-\x06]"
_ENTRY: Final = re.compile(
    b"|".join(
        b"%b(?=\x02%b)%b%b%b" % (re.escape(bytes((0x30, 17 + size + extra))), bytes((size,)), _INTEGER, _TIME, reason)
        for size in (4, 3, 2, 1)
        for extra, reason in ((14, _REASON), (0, b""))
    ),
    re.DOTALL,
)
"""One entry: a serial of 1 to 4 octets, UTCTime, and a reason from 1 to 6 or none (which means 0)."""


def lint_entries(piece: bytes) -> int:
    """Let entries pass only if they are nothing but entries; how many they are.

    Raises:
        LintFailed: something else is among them.
    """
    left, count = _ENTRY.subn(b"", piece)
    if left:
        raise LintFailed("entries")
    return count


def lint_list(authority: Authority, order: ListOrder, frame: ListFrame, entries_size: int) -> None:
    """Let a list's frame pass only if it is exactly what was ordered.

    Args:
        authority: who issues it.
        order: what was ordered.
        frame: what is about to be hashed before and behind the entries.
        entries_size: octets of the entries that were hashed.

    Raises:
        LintFailed: a field differs, is missing or is more than ordered.
    """
    try:
        _check_head(authority, order, frame, entries_size)
        _check_tail(authority, order, frame.tail)
    except NotDer as error:
        raise LintFailed("encoding") from error


def _check_head(authority: Authority, order: ListOrder, frame: ListFrame, entries_size: int) -> None:
    expected = (
        bytes.fromhex("020101"),
        lint.ALGORITHM,
        lint.encoded_name(names.authority_attributes(authority.profile.naming, authority.kind)),
        _utc_time(order.this_update_ms),
        _utc_time(order.next_update_ms),
    )
    opening = _opening(entries_size) if entries_size else b""
    body = b"".join((*expected, opening))
    lint.require(frame.head == _opening(len(body) + entries_size + len(frame.tail)) + body, "list fields")


def _check_tail(authority: Authority, order: ListOrder, tail: bytes) -> None:
    wanted: list[tuple[x509.ExtensionType, bool]] = [
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(lint.load_key(authority.public_key)), False),
        (x509.CRLNumber(order.number), False),
    ]
    if order.point is not None:
        attributes = names.point_attributes(authority.profile.naming, authority.kind, order.point)
        full = [x509.DirectoryName(lint.x509_name(attributes))]
        flags = {"only_contains_user_certs": False, "only_contains_ca_certs": False, "indirect_crl": False}
        scope = x509.IssuingDistributionPoint(
            full, None, only_some_reasons=None, only_contains_attribute_certs=False, **flags
        )
        wanted.append((scope, True))
    found = der.read_all(der.read_only(der.read_only(tail, 0xA0).content, der.SEQUENCE).content)
    lint.require(len(found) == len(wanted), "number of extensions")
    for element, (extension, critical) in zip(found, wanted, strict=True):
        parts = der.read_all(der.expect(element, der.SEQUENCE).content)
        flag = [bytes.fromhex("0101ff")] if critical else []
        lint.require(parts[0].encoded == der.oid(extension.oid.dotted_string), "extension")
        lint.require([part.encoded for part in parts[1:-1]] == flag, "critical")
        lint.require(der.expect(parts[-1], der.OCTET_STRING).content == extension.public_bytes(), "extension")


def _utc_time(instant_ms: int) -> bytes:
    """Without the writer; lists end before 2050, or must not be signed."""
    text = datetime.fromtimestamp(instant_ms // 1000, UTC)
    if text.year >= 2050:  # noqa: PLR2004 - RFC 5280 section 5.1.2.4
        raise LintFailed("list from 2050 on")
    return b"\x17\x0d" + text.strftime("%y%m%d%H%M%SZ").encode()


def _opening(size: int) -> bytes:
    """Header of a SEQUENCE, without the writer."""
    if size < 0x80:  # noqa: PLR2004 - X.690 8.1.3: short form
        return bytes((0x30, size))
    octets = size.to_bytes(4, "big").lstrip(b"\0")
    return bytes((0x30, 0x80 + len(octets))) + octets
