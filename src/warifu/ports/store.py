"""The store: versioned records of named tables, read in one round trip, changed in one guarded statement.

A node reads what its rule needs (and, in the same round trip, the answer it gave before under the same idempotency
key), decides, and commits one ``Change``: all of it, or nothing. No lock is held between the two; a record that moved
in between makes the commit fail with ``Stale`` and the node decides again.

Two adapters keep this contract, PostgreSQL and the memory twin, under one suite of contract tests.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Protocol, TypeVar

from msgspec import Struct

from warifu.kernel.errors import Fault


class Record(Struct, frozen=True, kw_only=True):
    """A row: a frozen struct whose fields are the table's columns, by name.

    Field types a column may have: ``str``, ``int`` (64 bit), ``bool``, ``bytes``, ``datetime.date``,
    ``tuple[str, ...]`` and each of them ``| None``. Instants are ``int``,
    milliseconds since 1970 UTC, and end in ``_ms``.

    Class attributes:
        TABLE: the table's name.
        KEY: the columns of the primary key, in order.
        UNIQUE: sets of columns whose values no two rows share (NULL shares with nobody).
        INDEXED: sets of columns that ``Find`` may be asked for (beside KEY prefixes and UNIQUE sets).
        FILL: how full (in percent) a page is filled with new rows, for tables whose rows are soon changed once, in
            columns without an index: the change then stays in the page and touches no index. 0: full.
    """

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = ()
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = ()
    FILL: ClassVar[int] = 0

    version: int = 0
    """0 before the first write; the store sets 1 at insertion and adds 1 at each change."""


R = TypeVar("R", bound=Record)


class Get(Struct, frozen=True):
    """Read one record by its primary key: ``Get(Card, card_id)``."""

    table: type[Record]
    key: tuple[Any, ...]


class Find(Struct, frozen=True):
    """Read the records with these column values, ordered by primary key, at most ``limit`` of them.

    ``where`` names one of the record's INDEXED or UNIQUE sets, or a prefix of its KEY. ``after`` is the primary key
    after which to start (for paging).
    """

    table: type[Record]
    where: dict[str, Any]
    limit: int = 100
    after: tuple[Any, ...] | None = None


class Join(Struct, frozen=True):
    """Concatenate one ``bytes`` column of many records without making records of them.

    ``where`` names the first columns of one of the record's INDEXED sets (or of its KEY), and ``pieces`` the one after
    them: each of its values gives one piece, in the order of the values; "" gives one piece of all. Within a piece the
    records come in the order of their primary key.
    """

    table: type[Record]
    column: str
    where: dict[str, Any]
    pieces: str = ""
    at_least: tuple[str, Any] | None = None
    """A column and the lowest value wanted."""


class Joined(Struct, frozen=True):
    """What a join found: all of it at one instant, and its size before the first piece."""

    size: int
    """Bytes of all pieces."""
    pieces: AsyncIterator[bytes]


class RequestKey(Struct, frozen=True):
    """Identity of a request: the same key again gets the first answer; with another digest it is an error."""

    node: str
    """The kind of node that answers (``center``, ``authority`` ...): two nodes may see the same operation and step."""
    operation_id: str
    step: str
    digest: bytes
    """SHA-256 of the request's name and body."""


class Snapshot(Struct, frozen=True):
    """What one ``read`` saw, all of it at one instant."""

    answer: bytes | None
    """The answer given before under the same request key and digest, if any."""
    results: tuple[tuple[Record, ...], ...]
    """In the order of the reads. A ``Get`` gives one record or none."""

    def one(self, position: int, table: type[R]) -> R | None:
        """The only record of the read at ``position``, or None."""
        found = self.all(position, table)
        if len(found) > 1:
            raise Fault(f"{table.TABLE}: one record expected, {len(found)} found")
        return found[0] if found else None

    def all(self, position: int, table: type[R]) -> tuple[R, ...]:
        """The records of the read at ``position``."""
        found = self.results[position]
        if not all(isinstance(record, table) for record in found):
            raise Fault(f"read {position} is not of {table.TABLE}")
        return found  # type: ignore[return-value]  # each element was just checked


class Insert(Struct, frozen=True):
    """A new record (its ``version`` must be 0). A primary or unique key that is taken raises ``Stale``."""

    record: Record


class Update(Struct, frozen=True):
    """The whole new content of a record; ``record.version`` is the version that was read. Otherwise ``Stale``."""

    record: Record
    only: tuple[str, ...] = ()
    """The columns that change, where the others need not travel: they stay as they stand. Empty: all of them."""


class Delete(Struct, frozen=True):
    """Remove the record if its version is still ``record.version``. Otherwise ``Stale``."""

    record: Record


class Check(Struct, frozen=True):
    """Change nothing, but fail with ``Stale`` unless the record still has the version that was read."""

    record: Record


Write = Insert | Update | Delete | Check

SignHead = Callable[[bytes], Awaitable[bytes]]
"""From the head of an audit batch (32 bytes) to a signature."""


class JournalEntry(Struct, frozen=True):
    """One effect, for ever (append only): what happened to what, under which operation."""

    stream: str
    """Table and key, e.g. ``card:WRF000000000001``."""
    event: str
    operation_id: str
    detail: dict[str, Any]
    """Typed facts of the event; no personal data."""


class AuditEntry(Struct, frozen=True):
    """Who looked at or changed what: every look at personal data leaves one."""

    actor: str
    action: str
    subject: str
    operation_id: str
    purpose: str


class OutboxMessage(Struct, frozen=True):
    """A message to another node, to be sent after the commit until it is answered (at least once, effect once)."""

    message_id: str
    """Unique; serves as the idempotency key at the receiver."""
    destination: str
    name: str
    """Name of the contract's request."""
    body: bytes
    """The encoded request."""
    operation_id: str
    order_key: str = ""
    """Messages with the same key are sent in the order of their commits; "" means no order."""


class Change(Struct, frozen=True):
    """All of one step's effects: committed together or not at all."""

    now_ms: int
    writes: tuple[Write, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    outbox: tuple[OutboxMessage, ...] = ()
    request: RequestKey | None = None
    answer: bytes | None = None
    """The encoded answer to remember under ``request``; both or neither."""


class Pending(Struct, frozen=True):
    """An outbox message that waits to be sent."""

    sequence: int
    message: OutboxMessage


class Store(Protocol):
    """A node's store. Each node kind sees only its own schema (``center``, ``authority`` ...)."""

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        """Read in one round trip.

        Raises:
            KeyReused: an answer is remembered under the request's key with another digest.
            Unavailable: the store does not answer.
        """

    async def look(self, read: Get, audit: AuditEntry, now_ms: int) -> Snapshot:
        """Read one record and leave the audit entry of looking at it, in one round trip.

        Whoever gets the record has left the entry, for good; where there is no record, none is left.

        Args:
            read: which record.
            audit: who looks, and why.
            now_ms: the instant to write into the entry.

        Raises:
            Unavailable: the store does not answer; the entry may be there.
            Stale: the store did not get to it beside others; nothing was done.
        """

    async def commit(self, change: Change) -> None:
        """Write all of the change, or nothing.

        Raises:
            Stale: a guarded record moved, a key is taken, or the request was answered meanwhile.
            Unavailable: the store does not answer; whether the change was committed is unknown (read again).
        """

    def join(self, join: Join) -> AbstractAsyncContextManager[Joined]:
        """Concatenate, piece by piece; no more than a few pieces are in memory at once.

        Raises:
            Unavailable: the store does not answer; also while the pieces come.
        """

    async def pending(self, limit: int, skip: Collection[str] = ()) -> tuple[Pending, ...]:
        """The oldest outbox messages, in the order of their commits; of each order key only the oldest.

        Args:
            limit: how many at most.
            skip: destinations whose messages are left out and do not count; those behind one of them in the order of
                its key stay behind it.

        Raises:
            Unavailable: the store does not answer.
        """

    async def waits(self, sequence: int) -> bool:
        """Whether a message still stands in the outbox. ``Unavailable``: the store does not answer."""

    async def sent(self, *sequences: int) -> None:
        """Take messages out of the outbox: their receivers have answered. Doing it twice is no error."""

    async def reserve(self, sequence: str, count: int) -> int:
        """Take ``count`` numbers from a named sequence (first one returned; starts at 1); never given out again."""

    async def seal(self, now_ms: int, sign: SignHead | None = None) -> object | None:
        """Chain the audit rows committed since the last seal; None when there are none. Several sealers may run.

        Args:
            now_ms: the instant to write into the seal.
            sign: signs the head before it is written; what it raises goes to the caller, and nothing is sealed.

        Raises:
            Unavailable: the store does not answer.
        """

    async def purge(self, before_ms: int, limit: int) -> int:
        """Forget remembered answers given before this instant, the oldest first; their requests are new again.

        Journal, audit and outbox stay.

        Args:
            before_ms: milliseconds since 1970 UTC.
            limit: how many at most.

        Returns:
            How many were forgotten.

        Raises:
            Unavailable: the store does not answer.
        """

    async def probe(self) -> None:
        """Do real work (a write and a read) to show that the store serves; ``Unavailable`` otherwise."""
