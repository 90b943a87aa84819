"""Which changes a store accepts, and in which order it takes their records. Shared by both stores."""

import itertools
import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from warifu.adapters.store.shape import Table, check_only, check_records, check_texts, own_table
from warifu.kernel.errors import Fault
from warifu.ports.store import Change, Check, Delete, Insert, JournalEntry, Record, RequestKey, Update, Write

MAX_SINGLE_WRITES: Final = 500
"""Writes of one change to tables with tuple columns: PostgreSQL takes those row by row."""
MAX_WRITES: Final = 1_000
"""Writes of one change; likewise journal entries, audit entries and messages."""
MAX_VALUES: Final = 30_000
"""Column values of one change (PostgreSQL's statement takes 32,767 parameters)."""
MAX_RESERVE: Final = 1_000_000
"""Numbers of one ``reserve``."""
MAX_PURGE: Final = 10_000
"""Answers of one ``purge``."""
MAX_PENDING: Final = 10_000
"""Messages of one ``pending``."""


class Plan(Struct, frozen=True):
    """A checked change: its records table by table, each in the order of its keys.

    That one order for everybody keeps two changes of the same records from waiting for each other.
    """

    guarded: tuple[tuple[Table, Update | Delete | Check], ...]
    inserts: tuple[tuple[Table, tuple[Insert, ...]], ...]


def plan_of(tables: dict[str, Table], change: Change) -> Plan:
    """Check the change; raises ``Fault`` for one that no store could take whole."""
    _check_size(change)
    _check_texts(change)
    placed = sorted(_placed(tables, change.writes), key=operator.itemgetter(0, 1))
    if sum(bool(tables[name].tuples) for name, _, _ in placed) > MAX_SINGLE_WRITES:
        raise Fault(f"more than {MAX_SINGLE_WRITES} writes to tables with tuple columns in one change")
    for earlier, later in itertools.pairwise(placed):
        if earlier[:2] == later[:2]:
            raise Fault(f"{later[0]}: two writes of one record")
    return Plan(_guarded(tables, placed), _inserts(tables, placed))


_Placed = tuple[str, tuple[Any, ...], Write]


def _placed(tables: dict[str, Table], writes: Iterable[Write]) -> Iterator[_Placed]:
    """Each write with its place: table and key. Those that are alike are looked at together."""
    alike: defaultdict[tuple[type[Record], type[Write], tuple[str, ...]], list[Write]] = defaultdict(list)
    for write in writes:
        alike[type(write.record), type(write), write.only if isinstance(write, Update) else ()].append(write)
    for (record, kind, only), group in alike.items():
        table, records = own_table(tables, record), [write.record for write in group]
        if only:
            check_only(table, only)
        check_records(table, records, only)
        versions = {each.version for each in records}
        if min(versions) < 0 or (0 in versions) is not (kind is Insert) or (kind is Insert and len(versions) > 1):
            raise Fault(
                f"{table.name}: {kind.__name__} of version {min(versions) if kind is not Insert else max(versions)}"
            )
        for key, write in zip(table.keys_of(records), group, strict=True):
            yield table.name, key, write


def _guarded(tables: dict[str, Table], placed: list[_Placed]) -> tuple[tuple[Table, Update | Delete | Check], ...]:
    return tuple((tables[name], write) for name, _, write in placed if not isinstance(write, Insert))


def _inserts(tables: dict[str, Table], placed: list[_Placed]) -> tuple[tuple[Table, tuple[Insert, ...]], ...]:
    by_table: defaultdict[str, list[Insert]] = defaultdict(list)
    for name, _, write in placed:
        if isinstance(write, Insert):
            by_table[name].append(write)
    return tuple((tables[name], tuple(inserts)) for name, inserts in by_table.items())


def _check_size(change: Change) -> None:
    if (change.request is None) is not (change.answer is None):
        raise Fault("a request and its answer are remembered together")
    for part in (change.writes, change.journal, change.audit, change.outbox):
        if len(part) > MAX_WRITES:
            raise Fault(f"{len(part)} entries in one change, at most {MAX_WRITES}")
    values = sum(len(write.record.__struct_fields__) for write in change.writes)
    if values + 6 * (len(change.journal) + len(change.audit) + len(change.outbox)) > MAX_VALUES:
        raise Fault(f"more than {MAX_VALUES} values in one change")


def _check_texts(change: Change) -> None:
    for entry in (*change.journal, *change.audit, *change.outbox):
        check_texts(entry)
    if len({message.message_id for message in change.outbox}) != len(change.outbox):
        raise Fault("two messages of one change have the same message_id")
    if change.request is not None:
        check_request(change.request)


def check_request(request: RequestKey) -> None:
    """A request's key must be storable, its digest a SHA-256."""
    check_texts(request)
    if len(request.digest) != 32:  # noqa: PLR2004 - SHA-256, as the port says
        raise Fault(f"the digest has {len(request.digest)} bytes, not 32")


def detail_of(entry: JournalEntry) -> str:
    """A journal entry's detail as JSON, keys sorted; ``Fault`` when it cannot be kept."""
    try:
        text = msgspec.json.encode(entry.detail, order="deterministic").decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        text = ""
    # json and jsonb alike refuse an escaped NUL, and the twin must refuse what PostgreSQL does
    if not text or "\\u0000" in text:
        raise Fault(f"{entry.event}: the detail is not storable as JSON")
    return text


def check_count(name: str, count: int, most: int) -> None:
    """A limit that a caller gives: 1 to ``most``."""
    if not 1 <= count <= most:
        raise Fault(f"{name}: 1 to {most}, not {count}")
