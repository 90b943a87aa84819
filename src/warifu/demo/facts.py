"""What the database and the chips really hold of a resident, read without asking any node."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
from msgspec import Struct

from warifu.adapters.store.postgres import failure_of
from warifu.chip import client
from warifu.contract.values import CertificateKind
from warifu.demo import card_reading
from warifu.demo.card_reading import Text
from warifu.demo.patience import Patience
from warifu.demo.people import Pins
from warifu.domain.applications.records import Application, NotificationCard
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.certificates.records import Certificate, KeyUse, StoredKeyPair
from warifu.domain.residents.records import AssignedNumber, Resident
from warifu.kernel.errors import Refused
from warifu.kernel.ids import ulid_text
from warifu.nodes.powered import powered
from warifu.ports.reader import Connection, Reader
from warifu.ports.store import Record

SCHEMAS: Final = ("registry", "numbering", "intake", "center", "authority", "issuance", "front", "counter")
"""Each node kind with a store, by its schema."""
TIMEOUT_S: Final = 30.0
MAX_NUMBERS: Final = 20
"""How many individual numbers are looked for in every table."""
_PHOTOS: Final = "application_photo"

R = TypeVar("R", bound=Record)
Row = Mapping[str, Any]


class Chip(Struct, frozen=True, kw_only=True):
    """What a card says when read over APDUs, with its holder's PINs."""

    card_id: str
    life: str
    write_id: str
    """The last committed card write; "" when there is none."""
    digest: bytes
    staged: bool
    municipality: str
    """Five digits."""
    certificates: dict[CertificateKind, bytes] = {}
    signatures: dict[CertificateKind, bytes] = {}
    """Over ``card_reading``'s certificate's own bytes: shows that key and certificate belong together."""
    text: Text | None = None
    resident_code: str = ""


class Facts(Struct, frozen=True, kw_only=True):
    """Everything about one resident."""

    residents: tuple[Resident, ...] = ()
    numbers: tuple[AssignedNumber, ...] = ()
    notifications: tuple[NotificationCard, ...] = ()
    applications: tuple[Application, ...] = ()
    cards: tuple[Card, ...] = ()
    operations: tuple[Operation, ...] = ()
    writes: tuple[CardWrite, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    in_parts: frozenset[tuple[str, int]] = frozenset()
    """CA and serial number of those that were issued in bulk."""
    key_pairs: tuple[StoredKeyPair, ...] = ()
    key_uses: tuple[KeyUse, ...] = ()
    """What the consumption log says of these pairs."""
    events: dict[str, int] = {}
    """Journal: ``<schema>.<event>`` of the resident, the application, the card and its certificates."""
    looks: frozenset[str] = frozenset()
    """Audit: purposes of the looks at the individual number."""
    chip: Chip | None = None
    chip_error: str = ""


class Database:
    """The stack's database, read by SQL.

    Args:
        urls: by schema; secret.
        patience: a killed database comes back.
    """

    def __init__(self, urls: Mapping[str, str], patience: Patience) -> None:
        self._urls = urls
        self._patience = patience
        self._connections: dict[str, asyncpg.Connection[asyncpg.Record]] = {}

    async def rows(self, schema: str, statement: str, *values: object) -> list[Row]:
        """The rows of a statement. ``Unavailable`` when the database stays away."""
        return await self._patience.persist(lambda: self._rows(self._urls[schema], statement, values))

    async def _rows(self, url: str, statement: str, values: Sequence[object]) -> list[Row]:
        """One attempt. A connection on which anything failed is not used again."""
        connection = self._connections.pop(url, None)
        try:
            if connection is None or connection.is_closed():
                connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
            rows: list[Row] = [dict(row) for row in await connection.fetch(statement, *values)]
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            failure = failure_of(error)
        else:
            self._connections[url] = connection
            return rows
        if connection is not None:
            connection.terminate()
        raise failure  # outside of the handler: PostgreSQL's texts quote values

    async def find(self, schema: str, record: type[R], column: str, values: Sequence[str]) -> tuple[R, ...]:
        """The records whose column has one of the values."""
        statement = f'SELECT * FROM "{schema}"."{record.TABLE}" WHERE "{column}" = ANY($1::text[])'  # noqa: S608 - names of ours
        found = await self.rows(schema, statement, list(values))
        return tuple(_record(record, row) for row in found)

    async def events(self, schema: str, streams: Sequence[str]) -> Counter[str]:
        """How often each event stands in the journal of these streams."""
        statement = f'SELECT event FROM "{schema}".journal WHERE stream = ANY($1::text[])'  # noqa: S608 - likewise
        return Counter(f"{schema}.{row['event']}" for row in await self.rows(schema, statement, list(streams)))

    async def parts_of(self, certificates: Sequence[Certificate]) -> tuple[frozenset[tuple[str, int]], Counter[str]]:
        """Which of them were issued in parts of an issue in bulk, and how often each event of a part is theirs.

        A part has one journal entry for all its certificates; it tells their first and last serial numbers.
        """
        statement = (
            "SELECT event, serials FROM authority.journal JOIN authority.issue_block "
            "ON stream = 'issue_block:' || batch_id || ':' || position "
            "WHERE EXISTS (SELECT 1 FROM unnest($1::text[], $2::bigint[]) AS mine (ca, serial) WHERE serial BETWEEN "
            "(detail->'spans'->ca->>0)::bigint AND (detail->'spans'->ca->>1)::bigint)"
        )
        mine = {(each.ca, each.serial) for each in certificates}
        rows = await self.rows("authority", statement, *map(list, zip(*mine, strict=True))) if mine else []
        found: set[tuple[str, int]] = set()
        events: Counter[str] = Counter()
        for row in rows:
            part = mine.intersection(msgspec.msgpack.decode(row["serials"], type=list[tuple[str, int]]))
            found |= part
            events[f"authority.{row['event']}"] += len(part)
        return frozenset(found), events

    async def looks(self, resident_id: str) -> frozenset[str]:
        """Purposes under which somebody looked at the resident's number."""
        statement = "SELECT purpose FROM numbering.audit WHERE subject = $1 AND action = 'number.look'"
        return frozenset(str(row["purpose"]) for row in await self.rows("numbering", statement, resident_id))

    async def waiting_messages(self) -> dict[str, int]:
        """How many messages wait in each outbox that is not empty."""
        waiting = {}
        for schema in SCHEMAS:
            rows = await self.rows(schema, f'SELECT count(*) AS n FROM "{schema}".outbox')  # noqa: S608 - likewise
            if rows[0]["n"]:
                waiting[schema] = int(rows[0]["n"])
        return waiting

    async def columns_with(self, numbers: Sequence[str]) -> list[str]:
        """Columns of any table in which one of these numbers stands in the clear."""
        wanted = list(numbers)[:MAX_NUMBERS]
        found = []
        for schema in SCHEMAS:
            for table, column, kind in await self._columns(schema):
                if await self._stands_in(schema, table, column, kind, wanted):
                    found.append(f"{schema}.{table}.{column}")
        return found

    async def _columns(self, schema: str) -> list[tuple[str, str, str]]:
        rows = await self.rows(
            schema,
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = $1 AND data_type IN ('bytea', 'text', 'jsonb', 'ARRAY')",
            schema,
        )
        found = [(str(row["table_name"]), str(row["column_name"]), str(row["data_type"])) for row in rows]
        return [one for one in found if one[0] != _PHOTOS]

    async def _stands_in(self, schema: str, table: str, column: str, kind: str, wanted: Sequence[str]) -> bool:
        position, needle = f'strpos("{column}"::text, n)', "unnest($1::text[])"
        if kind == "bytea":
            position, needle = f'position(n IN "{column}")', "unnest($1::bytea[])"
        statement = f'SELECT EXISTS (SELECT 1 FROM "{schema}"."{table}", {needle} AS n WHERE {position} > 0) AS found'  # noqa: S608
        values = [one.encode() for one in wanted] if kind == "bytea" else list(wanted)
        return bool((await self.rows(schema, statement, values))[0]["found"])

    async def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            await connection.close(timeout=TIMEOUT_S)


def _record(record: type[R], row: Row) -> R:
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return record(**fields)


async def gather(database: Database, resident_id: str) -> Facts:
    """What the database holds of a resident; the chip is another matter."""
    mine = [resident_id]
    applications = await database.find("intake", Application, "resident_id", mine)
    cards = await database.find("center", Card, "resident_id", mine)
    card_ids = [card.card_id for card in cards]
    certificates = await database.find("authority", Certificate, "resident_id", mine)
    pairs = [each.key_pair_id for each in certificates]
    events = await database.events("registry", [f"resident:{resident_id}"])
    events += await database.events("numbering", [f"resident:{resident_id}"])
    streams = [f"application:{each.application_id}" for each in applications]
    events += await database.events("intake", [f"resident:{resident_id}", *streams])
    events += await database.events("center", [f"card:{card_id}" for card_id in card_ids])
    events += await database.events("issuance", [f"card:{card_id}" for card_id in card_ids])
    events += await database.events("authority", [f"certificate:{each.ca}:{each.serial}" for each in certificates])
    in_parts, of_parts = await database.parts_of(certificates)
    return Facts(
        residents=await database.find("registry", Resident, "resident_id", mine),
        numbers=await database.find("numbering", AssignedNumber, "resident_id", mine),
        notifications=await database.find("intake", NotificationCard, "resident_id", mine),
        applications=applications,
        cards=cards,
        operations=await database.find("center", Operation, "card_id", card_ids),
        writes=await database.find("center", CardWrite, "card_id", card_ids),
        certificates=certificates,
        key_pairs=await database.find("authority", StoredKeyPair, "key_pair_id", pairs),
        key_uses=await database.find("authority", KeyUse, "key_pair_id", pairs),
        in_parts=in_parts,
        events=dict(events + of_parts),
        looks=await database.looks(resident_id),
    )


async def read_chip(reader: Reader, card_id: str, pins: Pins | None, *, may_sign: bool) -> Chip | str:
    """What a card says; the code of the chip's refusal when it cannot be read.

    Args:
        reader: the checker's own.
        card_id: which card.
        pins: the holder's; None for a card whose life is over, of which only what is free is read.
        may_sign: the card has a signature certificate.
    """
    try:
        async with powered(reader, card_id) as connection:
            return await _read_chip(connection, pins, may_sign=may_sign)
    except Refused as error:
        return error.code


async def _read_chip(connection: Connection, pins: Pins | None, *, may_sign: bool) -> Chip:
    status = await client.read_card_status(connection.transmit)
    last = status.last_write
    common = await card_reading.read_common(connection)
    authentication = await card_reading.read_certificate(connection, "authentication")
    certificates: dict[CertificateKind, bytes] = {"authentication": authentication}
    signatures: dict[CertificateKind, bytes] = {}
    if pins is not None:
        kinds: tuple[CertificateKind, ...] = ("authentication", "signature") if may_sign else ("authentication",)
        for kind in kinds:
            message = kind.encode()
            certificates[kind], signatures[kind] = await card_reading.sign(connection, kind, pins.of(kind), message)
    return Chip(
        card_id=status.card_id,
        life=status.life,
        write_id=ulid_text(last.write_id) if last is not None and last.committed else "",
        digest=last.digest if last is not None else b"",
        staged=status.staged_write_id is not None,
        municipality=common.municipality,
        certificates=certificates,
        signatures=signatures,
        text=await card_reading.read_text(connection, pins.text) if pins else None,
        resident_code=await card_reading.read_resident_code(connection, pins.juki) if pins else "",
    )
