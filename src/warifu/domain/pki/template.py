"""Subscribers' certificates from a pre-encoded text: what all of one municipality share is written once.

A template is cut from one specimen that the profile's own writer wrote and the whole lint passed; for each certificate
the serial, validity, CN, key and (for signature) the holder's names are put into the gaps, about ten times as fast as
writing it anew, and octet for octet the same. What a template cannot do (a date from 2050 on) the writer does.

``check`` is the last look at such a certificate before the HSM: it takes the finished octets apart by itself, reads
the values back and compares them with the order, and the rest with the specimen. It shares nothing with ``write``.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final

from msgspec import Struct, structs

from warifu.domain.pki import der
from warifu.domain.pki.dates import Validity
from warifu.domain.pki.errors import BadContent, LintFailed, TooYoung
from warifu.domain.pki.extensions import key_identifier
from warifu.domain.pki.lint import lint_certificate
from warifu.domain.pki.names import Point
from warifu.domain.pki.profile import (
    FIRST_SERIAL,
    MAX_SERIAL,
    AuthenticationContent,
    Authority,
    SignatureContent,
    SubscriberData,
    certificate_tbs,
)
from warifu.kernel.calendar import SIGNATURE_MIN_AGE, age_on, jpki_date, jst_date

Order = SignatureContent | AuthenticationContent

KEY_BYTES: Final = 294
"""SubjectPublicKeyInfo of an RSA-2048 key with exponent 65537."""
_SERIAL: Final = 0x5A5AA5A5
_COMMON_NAME: Final = "00000000000000999990000"
_KEY_HEAD: Final = bytes.fromhex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100")
_KEY_TAIL: Final = bytes.fromhex("0203010001")
_KEY: Final = _KEY_HEAD + b"\xd5" * 256 + _KEY_TAIL
_BITS_AT: Final = 24
"""Where the key's bits begin: what the key identifier is made of."""
_VALIDITY: Final = Validity(not_before_ms=1_000_000_000_000, not_after_ms=1_100_000_000_000)
_TIMES_BYTES: Final = 30
_GENERALIZED_FROM_MS: Final = 2_524_608_000_000
"""2050-01-01: from here on times are longer."""
_SHORT: Final = 0x80
_LONG_HEADER: Final = 4
_HOLDER: Final = SubscriberData(
    name="〓",
    name_substitutes="0",
    birth_date=date(1970, 1, 1),
    sex="female",
    address="〓",
    address_substitutes="0",
    municipality="",
    point=Point(prefecture="Tokyo-to", municipality="Chiyoda-ku"),
    common_name=_COMMON_NAME,
)


class Template(Struct, frozen=True, kw_only=True):
    """A specimen's octets around the gaps, in their order."""

    authority: Authority
    point: Point
    head: bytes
    """From the version to the serial's own octets."""
    before_times: bytes
    before_name: bytes
    before_key: bytes
    before_holder: bytes
    """Of the extensions: what stands in front of subjectAltName (of signature certificates)."""
    before_key_id: bytes
    tail: bytes
    """What follows the key identifier."""
    holder_prefixes: tuple[tuple[str, bytes], ...]

    def write(self, order: Order) -> bytes:
        """To-be-signed DER of this order.

        Raises:
            TooYoung: a signature certificate under 15.
            BadContent: another authority's, or another municipality's; a serial that cannot be.
        """
        _require_fitting(self, order)
        validity, key = order.validity, order.public_key
        times = _time(validity.not_before_ms) + _time(validity.not_after_ms)
        fits = FIRST_SERIAL <= order.serial <= MAX_SERIAL and len(times) == _TIMES_BYTES and len(key) == KEY_BYTES
        name = _common_name(order).encode()
        if not fits or len(name) != len(_COMMON_NAME):
            return certificate_tbs(self.authority, order)
        extensions = (self.before_holder, self._holder(order), self.before_key_id, _key_id(key), self.tail)
        size = sum(map(len, extensions))
        wrapped = der.header(der.SEQUENCE, size)
        fields = (
            self.head, order.serial.to_bytes(4, "big"), self.before_times, times, self.before_name, name,
            self.before_key, key, der.header(0xA3, len(wrapped) + size), wrapped, *extensions,
        )  # fmt: skip
        return b"".join((der.header(der.SEQUENCE, sum(map(len, fields))), *fields))

    def _holder(self, order: Order) -> bytes:
        """The subjectAltName extension with the six attributes; nothing for user authentication."""
        if not isinstance(order, SignatureContent):
            return b""
        texts = _texts(self.authority, order.subscriber)
        names_of = b"".join(
            [
                (_other_name if number in _PERSONAL else _common_other_name)(prefix, texts[number])
                for number, prefix in self.holder_prefixes
            ]
        )
        value = der.header(der.SEQUENCE, len(names_of)) + names_of
        octets = der.header(der.OCTET_STRING, len(value)) + value
        return der.header(der.SEQUENCE, len(_SAN_OID) + len(octets)) + _SAN_OID + octets

    def check(self, order: Order, tbs: bytes) -> None:
        """Let the certificate pass only if it is exactly what was ordered.

        Raises:
            LintFailed: a field differs, is missing or is more than ordered; its name is in ``field``.
        """
        plain = order.serial >= FIRST_SERIAL and order.validity.not_after_ms < _GENERALIZED_FROM_MS
        if not plain or tbs[_LONG_HEADER : _LONG_HEADER + len(self.head)] != self.head:
            lint_certificate(self.authority, order, tbs)
        else:
            _Reader(tbs, self).check(order)


_time: Final = lru_cache(maxsize=8192)(der.time)


def _key_id(public_key: bytes) -> bytes:
    """As ``extensions.key_identifier``, of a key of the one size that is patched in."""
    return hashlib.sha1(public_key[_BITS_AT:], usedforsecurity=False).digest()


_SAN_OID: Final = der.oid("2.5.29.17")
_ATTRIBUTES: Final = ("1", "4", "3", "5", "2", "6")
_PERSONAL: Final = frozenset({"1", "5"})
"""Name and address: not kept."""


@lru_cache(maxsize=8192)
def _common_other_name(prefix: bytes, text: str) -> bytes:
    """As ``_other_name``, for what many share: days, sexes, flags."""
    return _other_name(prefix, text)


def _other_name(prefix: bytes, text: str) -> bytes:
    value = text.encode()
    inner = der.header(der.UTF8_STRING, len(value)) + value
    wrapped = der.header(0xA0, len(inner)) + inner
    return der.header(0xA0, len(prefix) + len(wrapped)) + prefix + wrapped


def _texts(authority: Authority, holder: SubscriberData) -> dict[str, str]:
    return {
        "1": holder.name,
        "4": jpki_date(holder.birth_date),
        "3": authority.profile.sex_digit(holder.sex),
        "5": holder.address,
        "2": holder.name_substitutes,
        "6": holder.address_substitutes,
    }


def _common_name(order: Order) -> str:
    return order.subscriber.common_name if isinstance(order, SignatureContent) else order.common_name


def _point(order: Order) -> Point:
    return order.subscriber.point if isinstance(order, SignatureContent) else order.point


def _require_fitting(template: Template, order: Order) -> None:
    kind = "signature" if isinstance(order, SignatureContent) else "authentication"
    if template.authority.kind != kind or template.point != _point(order):
        raise BadContent("the template is of another authority or municipality")
    if isinstance(order, SignatureContent) and _too_young(order):
        raise TooYoung(f"no signature certificate under {SIGNATURE_MIN_AGE}")


def _too_young(order: SignatureContent) -> bool:
    return _age(order.subscriber.birth_date, order.validity.not_before_ms) < SIGNATURE_MIN_AGE


@lru_cache(maxsize=8192)
def _age(born: date, instant_ms: int) -> int:
    return age_on(born, jst_date(instant_ms))


@lru_cache(maxsize=8192)
def template_of(authority: Authority, point: Point) -> Template:
    """The template of an authority's generation for one municipality.

    Raises:
        LintFailed, BadContent: the profile cannot be cut this way.
    """
    order = _specimen(authority, point)
    tbs = certificate_tbs(authority, order)
    lint_certificate(authority, order, tbs)
    template = _cut(authority, point, order, tbs)
    if template.write(order) != tbs:
        raise LintFailed("template")
    template.check(order, tbs)
    return template


def _specimen(authority: Authority, point: Point) -> Order:
    if authority.kind == "signature":
        holder = structs.replace(_HOLDER, point=point)
        return SignatureContent(serial=_SERIAL, public_key=_KEY, validity=_VALIDITY, subscriber=holder)
    return AuthenticationContent(
        serial=_SERIAL, public_key=_KEY, validity=_VALIDITY, common_name=_COMMON_NAME, point=point
    )


def _cut(authority: Authority, point: Point, order: Order, tbs: bytes) -> Template:
    body = der.read_only(tbs, der.SEQUENCE).content
    times = der.time(_VALIDITY.not_before_ms) + der.time(_VALIDITY.not_after_ms)
    head, rest = _at(body, _SERIAL.to_bytes(4, "big"))
    before_times, rest = _at(rest, times)
    before_name, rest = _at(rest, _COMMON_NAME.encode())
    before_key, rest = _at(rest, _KEY)
    extensions = der.read_only(der.read_only(rest, 0xA3).content, der.SEQUENCE).content
    before_holder = b""
    if isinstance(order, SignatureContent):
        holder = next(each for each in der.read_all(extensions) if each.content.startswith(_SAN_OID))
        before_holder, extensions = _at(extensions, holder.encoded)
    before_key_id, tail = _at(extensions, key_identifier(_KEY))
    arc = authority.profile.naming.attribute_arc
    return Template(
        authority=authority,
        point=point,
        head=head,
        before_times=before_times,
        before_name=before_name,
        before_key=before_key,
        before_holder=before_holder,
        before_key_id=before_key_id,
        tail=tail,
        holder_prefixes=tuple((number, der.oid(f"{arc}.{number}")) for number in _ATTRIBUTES),
    )


def _at(data: bytes, mark: bytes) -> tuple[bytes, bytes]:
    """What stands before and behind the only place of ``mark``."""
    if data.count(mark) != 1:
        raise LintFailed("template")
    before, _, behind = data.partition(mark)
    return before, behind


# ---- the last look -----------------------------------------------------------------------------------------------


class _Reader:
    """Goes through a certificate's octets from front to back; whatever is not as it should be ends it."""

    def __init__(self, tbs: bytes, template: Template) -> None:
        self._data = tbs
        self._template = template
        self._place = 0

    def check(self, order: Order) -> None:
        template, validity = self._template, order.validity
        self._open(0x30, "encoding")
        self._same(template.head, "head")
        self._same(order.serial.to_bytes(4, "big"), "serial")
        self._same(template.before_times, "issuer")
        self._same(_utc(validity.not_before_ms), "notBefore")
        self._same(_utc(validity.not_after_ms), "notAfter")
        self._same(template.before_name, "subject")
        self._same(_common_name(order).encode("ascii"), "subject")
        self._same(template.before_key, "subject")
        self._key(order.public_key)
        self._open(0xA3, "extensions")
        self._open(0x30, "extensions")
        self._same(template.before_holder, "extensions")
        if isinstance(order, SignatureContent):
            self._age(order)
            self._holder(order.subscriber)
        self._same(template.before_key_id, "extensions")
        bits = order.public_key[_BITS_AT:]
        self._same(hashlib.sha1(bits, usedforsecurity=False).digest(), "subject_key")
        self._same(template.tail, "extensions")
        if self._place != len(self._data):
            raise LintFailed("encoding")

    def _same(self, expected: bytes, field: str) -> None:
        end = self._place + len(expected)
        if self._data[self._place : end] != expected:
            raise LintFailed(field)
        self._place = end

    def _open(self, tag: int, field: str) -> None:
        """Step into an element, which must reach to the end."""
        data, place = self._data, self._place
        if len(data) - place < _LONG_HEADER or data[place] != tag or data[place + 1] != 0x82:  # noqa: PLR2004 - two length octets
            raise LintFailed(field)
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if length < 0x100 or place + _LONG_HEADER + length != len(data):  # noqa: PLR2004 - shorter fits one octet
            raise LintFailed(field)
        self._place = place + _LONG_HEADER

    def _key(self, public_key: bytes) -> None:
        """RSA-2048 with exponent 65537, and the one that was ordered."""
        well = public_key.startswith(_KEY_HEAD) and public_key.endswith(_KEY_TAIL) and len(public_key) == KEY_BYTES
        if not well or public_key[len(_KEY_HEAD)] < _SHORT:
            raise LintFailed("key size")
        self._same(public_key, "public key")

    def _holder(self, holder: SubscriberData) -> None:
        """The six attributes, in the order cards have them."""
        prefix = _attribute_prefix(self._template.authority.profile.naming.attribute_arc)
        names_of = [
            (_expected_name if number in _OF_ONE else _expected_of_many)(prefix, number, text)
            for number, text in _expected(self._template.authority, holder)
        ]
        value = _element(0x04, _element(0x30, b"".join(names_of)))
        self._same(_element(0x30, _SAN_HEAD + value), "subject_alt_name")

    @staticmethod
    def _age(order: SignatureContent) -> None:
        if _too_young(order):
            raise LintFailed("age")


_SAN_HEAD: Final = bytes.fromhex("0603551d11")
"""OBJECT IDENTIFIER 2.5.29.17, as octets."""


def _element(tag: int, content: bytes) -> bytes:
    """Tag, shortest length, content: again, without the writer this is to check."""
    size = len(content)
    if size < _SHORT:
        return bytes((tag, size)) + content
    if size < 0x100:  # noqa: PLR2004 - one length octet
        return bytes((tag, 0x81, size)) + content
    return bytes((tag, 0x82, *divmod(size, 0x100))) + content


_OF_ONE: Final = frozenset({1, 5})
"""Name and address."""


@lru_cache(maxsize=8192)
def _expected_of_many(prefix: bytes, number: int, text: str) -> bytes:
    """As ``_expected_name``, for what many share."""
    return _expected_name(prefix, number, text)


def _expected_name(prefix: bytes, number: int, text: str) -> bytes:
    oid = _element(0x06, prefix + bytes((number,)))
    return _element(0xA0, oid + _element(0xA0, _element(0x0C, text.encode())))


@lru_cache(maxsize=64)
def _attribute_prefix(arc: str) -> bytes:
    """The arc's octets without tag and length."""
    return der.oid(f"{arc}.1")[2:-1]


def _expected(authority: Authority, holder: SubscriberData) -> Iterator[tuple[int, str]]:
    yield 1, holder.name
    yield 4, jpki_date(holder.birth_date)
    yield 3, authority.profile.sex_digit(holder.sex)
    yield 5, holder.address
    yield 2, holder.name_substitutes
    yield 6, holder.address_substitutes


@lru_cache(maxsize=8192)
def _utc(instant_ms: int) -> bytes:
    """UTCTime; only dates before 2050 come here."""
    return b"\x17\x0d" + datetime.fromtimestamp(instant_ms // 1000, UTC).strftime("%y%m%d%H%M%SZ").encode()
