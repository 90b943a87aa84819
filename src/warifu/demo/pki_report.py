"""Reports of JPKI (認証事務実施報告書): figures read from the certificates themselves and held against everybody's own.

The figures come from each certificate's DER, not from what the register says of it. Then every row of the register must
say the same, every revocation have its row and its line, and the centre and the factory count the same cards: what
does not agree is a difference, and a report with a difference is no report (viewpoint 9 of the inspection).

One pass, one cursor for each schema: memory does not grow with the register.
"""

import asyncio
import datetime
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, cast

import asyncpg
from cryptography import x509
from msgspec import Struct, field

from warifu.adapters.store.postgres import failure_of
from warifu.domain.pki.revocation import Reason, crl_entry
from warifu.kernel.calendar import JST, jst_date
from warifu.kernel.errors import Refused

MAX_DIFFERENCES: Final = 100
PREFETCH: Final = 2_000
SETTLED_WITHIN_S: Final = 10.0
LOOK_EVERY_S: Final = 0.25
_TIMEOUT_S: Final = 60.0
_KINDS: Final = {b"\x06\xc0": "signature", b"\x07\x80": "authentication"}
_CERTIFICATES: Final = """
SELECT c.ca, c.serial, c.state, c.not_after, c.reason, c.revoked_ms, c.municipality, c.der,
  r.reason AS listed_reason, r.revoked_ms AS listed_ms, r.entry
FROM authority.certificate c LEFT JOIN authority.revocation r USING (ca, serial) ORDER BY c.ca, c.serial
"""
_ORPHANS: Final = """
SELECT r.ca, r.serial FROM authority.revocation r
WHERE NOT EXISTS (SELECT 1 FROM authority.certificate c WHERE c.ca = r.ca AND c.serial = r.serial) LIMIT 100
"""
_HOLDERS: Final = """
SELECT card_id,
  count(*) FILTER (WHERE ca = 'authentication' AND state NOT IN ('intent', 'abandoned')) AS signed,
  count(*) FILTER (WHERE ca = 'authentication' AND stands) AS authentication,
  count(*) FILTER (WHERE ca = 'signature' AND stands) AS signature
FROM (
  SELECT card_id, ca, state, state = 'valid' AND not_after >= (now() AT TIME ZONE 'Asia/Tokyo')::date AS stands
  FROM authority.certificate
) AS c GROUP BY card_id ORDER BY card_id
"""
_CARDS: Final = 'SELECT card_id, state, write_id, has_authentication FROM center.card ORDER BY card_id COLLATE "C"'
_PRODUCED: Final = """
SELECT count(*) FILTER (WHERE state <> 'untold') AS told, count(*) AS made FROM issuance.produced_card
"""


class ReportDiffers(Refused):
    """The figures of JPKI, the centre and the factory do not agree: the report says where."""

    code = "report.differs"


class Period(Struct, frozen=True):
    """Days (JST) a report is about, both included."""

    first: datetime.date
    last: datetime.date
    name: str

    def has(self, day: datetime.date) -> bool:
        """Whether a day is in it."""
        return self.first <= day <= self.last


class Report(Struct, kw_only=True):
    """The figures; by kind of certificate, revocations by reason too."""

    period: str
    issued: Counter[str] = field(default_factory=Counter)
    revoked: dict[str, Counter[str]] = field(default_factory=dict)
    valid: Counter[str] = field(default_factory=Counter)
    """At the end of the period: signed, not revoked, not over. Those that wait for delivery among them."""
    municipalities: dict[str, Counter[str]] = field(default_factory=dict)
    """Issued in the period, by municipality."""
    cards_made: int = 0
    cards_produced: int = 0
    differences: list[str] = field(default_factory=list)
    """At most 100, without personal data."""

    def differs(self, text: str) -> None:
        """Note a difference."""
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(text)


def day_of(text: str) -> Period:
    """A period of one day, ``2026-04-01``. ``ValueError`` for anything else."""
    day = datetime.date.fromisoformat(text)
    return Period(day, day, day.isoformat())


def month_of(text: str) -> Period:
    """A period of one month, ``2026-04``. ``ValueError`` for anything else."""
    first = datetime.date.fromisoformat(f"{text}-01")
    following = (first.replace(day=28) + datetime.timedelta(days=4)).replace(day=1)
    return Period(first, following - datetime.timedelta(days=1), text)


async def report(urls: Mapping[str, str], period: Period) -> Report:
    """The report of a period, once no message is under way that would explain a difference.

    Args:
        urls: of the database, by schema; secret.
        period: which days.

    Raises:
        Unavailable: the database does not answer.
    """
    try:
        async with AsyncExitStack() as stack:
            connections = {
                schema: await stack.enter_async_context(_connected(urls[schema]))
                for schema in ("authority", "center", "issuance")
            }
            return await _settled(connections, period)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        failure = failure_of(error)
    raise failure  # outside of the handler: PostgreSQL's texts quote values


@asynccontextmanager
async def _connected(url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(url, timeout=_TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close(timeout=_TIMEOUT_S)


async def _settled(connections: "Mapping[str, asyncpg.Connection[asyncpg.Record]]", period: Period) -> Report:
    """Nodes tell each other what happened a moment later: differences are looked at again until they stay."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLED_WITHIN_S
    while True:
        found = await _gathered(connections, period)
        if not found.differences or loop.time() > deadline or not await _under_way(connections):
            return found
        await asyncio.sleep(LOOK_EVERY_S)


async def _under_way(connections: "Mapping[str, asyncpg.Connection[asyncpg.Record]]") -> bool:
    counts = [await each.fetchval(f'SELECT count(*) FROM "{name}".outbox') for name, each in connections.items()]  # noqa: S608 - names of ours
    return any(counts)


async def _gathered(connections: "Mapping[str, asyncpg.Connection[asyncpg.Record]]", period: Period) -> Report:
    found = Report(period=period.name)
    async with AsyncExitStack() as stack:
        for each in connections.values():
            await stack.enter_async_context(each.transaction(isolation="repeatable_read", readonly=True))
        authority = connections["authority"]
        async for row in authority.cursor(_CERTIFICATES, prefetch=PREFETCH):
            count_certificate(found, cast("Mapping[str, Any]", row), period)
        for row in await authority.fetch(_ORPHANS):
            found.differs(f"{row['ca']} {row['serial']}: revoked, but never issued")
        await _cards(found, connections)
    return found


def count_certificate(found: Report, row: Mapping[str, Any], period: Period) -> None:
    """Count one certificate by what it says itself, and hold its row against it."""
    name = f"{row['ca']} {row['serial']}"
    if row["state"] in {"intent", "abandoned"}:
        if row["der"] or row["entry"] is not None:
            found.differs(f"{name}: {row['state']}, yet signed or revoked")
        return
    try:
        certificate = x509.load_der_x509_certificate(row["der"])
        kind = _KINDS.get(_key_usage(certificate), "")
    except (ValueError, x509.ExtensionNotFound):
        found.differs(f"{name}: {row['state']}, but there is no certificate that can be read")
        return
    said = (kind, certificate.serial_number, certificate.not_valid_after_utc.astimezone(JST).date())
    if said != (row["ca"], row["serial"], row["not_after"]):
        found.differs(f"{name}: the certificate says {said[0]} {said[1]} until {said[2]}, the register otherwise")
    _count(found, certificate, kind, row, period)
    _hold_revocation(found, name, row)


def _key_usage(certificate: x509.Certificate) -> bytes:
    """The two octets that tell a signature certificate from one for authentication (jpki.md 2.2 and 2.3)."""
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    return usage.public_bytes()[-2:]


def _count(found: Report, certificate: x509.Certificate, kind: str, row: Mapping[str, Any], period: Period) -> None:
    issued = certificate.not_valid_before_utc.astimezone(JST).date()
    until = certificate.not_valid_after_utc.astimezone(JST).date()
    revoked = jst_date(row["revoked_ms"]) if row["revoked_ms"] is not None else None
    if period.has(issued):
        found.issued[kind] += 1
        found.municipalities.setdefault(row["municipality"], Counter())[kind] += 1
    if revoked is not None and period.has(revoked):
        found.revoked.setdefault(kind, Counter())[row["reason"]] += 1
    if issued <= period.last <= until and (revoked is None or revoked > period.last):
        found.valid[kind] += 1


def _hold_revocation(found: Report, name: str, row: Mapping[str, Any]) -> None:
    """A revoked certificate has its row among the revocations and its line of the lists, and no other has."""
    if row["state"] != "revoked":
        if row["entry"] is not None or row["revoked_ms"] is not None:
            found.differs(f"{name}: {row['state']}, but the lists say revoked")
        return
    if (row["reason"], row["revoked_ms"]) != (row["listed_reason"], row["listed_ms"]):
        found.differs(f"{name}: revoked, but the lists say otherwise")
        return
    if row["entry"] != crl_entry(row["serial"], row["revoked_ms"], cast("Reason", row["reason"])):
        found.differs(f"{name}: its line of the lists says something else")


async def _cards(found: Report, connections: "Mapping[str, asyncpg.Connection[asyncpg.Record]]") -> None:
    """Cards at the centre beside certificates at JPKI, both in the order of card numbers, and the factory's count."""
    holders = connections["authority"].cursor(_HOLDERS, prefetch=PREFETCH)
    cards = connections["center"].cursor(_CARDS, prefetch=PREFETCH)
    async for card, holder in _side_by_side(cards, holders):
        hold_card(found, card, holder)
    produced = await connections["issuance"].fetchrow(_PRODUCED)
    if produced is not None:
        found.cards_produced = produced["made"]
        if produced["told"] != found.cards_made:
            found.differs(f"the factory made {produced['told']} cards, the centre knows of {found.cards_made}")


def hold_card(found: Report, card: Mapping[str, Any] | None, holder: Mapping[str, Any] | None) -> None:
    """One card as the centre has it beside its certificates as JPKI has them."""
    if card is None:
        if holder is not None and holder["signed"]:
            found.differs(f"card {holder['card_id']}: has certificates, but the centre does not know it")
        return
    name, signed = f"card {card['card_id']}", holder["signed"] if holder else 0
    found.cards_made += bool(card["write_id"])
    if card["write_id"] and card["has_authentication"] and not signed:
        found.differs(f"{name}: made with a user-authentication certificate that JPKI never issued")
    for kind in ("authentication", "signature"):
        valid = holder[kind] if holder else 0
        if valid > 1:
            found.differs(f"{name}: {valid} valid {kind} certificates")
        if valid and card["state"] != "in_use":
            found.differs(f"{name}: {card['state']}, but its {kind} certificate is valid")


async def _side_by_side(
    left: AsyncIterable[Any], right: AsyncIterable[Any]
) -> AsyncIterator[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    """Rows of both with the same card number together; one alone where the other has none."""
    lefts, rights = aiter(left), aiter(right)
    one, other = await anext(lefts, None), await anext(rights, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one["card_id"] < other["card_id"]):
            yield one, None
            one = await anext(lefts, None)
        elif one is None or other["card_id"] < one["card_id"]:
            yield None, other
            other = await anext(rights, None)
        else:
            yield one, other
            one, other = await anext(lefts, None), await anext(rights, None)
