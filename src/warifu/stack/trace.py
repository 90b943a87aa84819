"""One operation from the click to the chip and back, out of everything that bears its identifier (F10).

Log records of every process, and journal, audit trail and outbox of every node kind. All of it holds identifiers and
codes alone; who looked at whose data is in it, so it is to be kept as carefully as the audit trail.
"""

import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from warifu.adapters.store.postgres import PostgresLimits, open_postgres
from warifu.kernel.errors import Refused
from warifu.kernel.ids import OperationId

MOST: Final = 1_000
"""Rows of one table: an operation leaves some dozens."""
SCAN_MS: Final = 120_000
"""For each node kind: no index serves this question, which is asked seldom."""
_TOLD: Final = frozenset({"time", "process", "event", "operation_id", "operations"})


class NothingTraced(Refused):
    """Nothing bears this identifier, or no longer: logs are kept for a day at least, journals for ever."""

    code = "trace.nothing"


class Entry(Struct, frozen=True):
    """One thing that happened."""

    at_ms: int
    where: str
    """The process, or the node kind whose table it stands in."""
    kind: str
    """``log``, ``journal``, ``audit`` or ``waits``."""
    name: str
    detail: str


def of_logs(folder: Path, operation_id: OperationId) -> Iterator[Entry]:
    """What the kept logs say; files that the supervisor renames meanwhile may be read twice, or not at all."""
    wanted = operation_id.encode()
    for path in sorted(folder.glob("*.jsonl")):
        try:
            with path.open("rb") as lines:
                found = [line for line in lines if wanted in line]
        except FileNotFoundError:
            continue
        for line in found:
            entry = _of_line(line, operation_id)
            if entry is not None:
                yield entry


def _of_line(line: bytes, operation_id: OperationId) -> Entry | None:
    try:
        record: dict[str, Any] = json.loads(line)
        at = datetime.datetime.fromisoformat(str(record["time"]))
    except (ValueError, KeyError, TypeError):
        return None
    if operation_id not in (record.get("operation_id"), *str(record.get("operations", "")).split()):
        return None
    detail = " ".join(f"{name}={value}" for name, value in record.items() if name not in _TOLD)
    return Entry(round(at.timestamp() * 1000), str(record.get("process")), "log", str(record.get("event")), detail)


async def of_stores(urls: Mapping[str, str], operation_id: OperationId) -> list[Entry]:
    """What the nodes' databases say.

    Args:
        urls: of the database, by schema; secret.
        operation_id: which.

    Raises:
        Unavailable: the database does not answer.
    """
    found: list[Entry] = []
    limits = PostgresLimits(connections=1, statement_timeout_ms=SCAN_MS)
    for schema, url in urls.items():
        async with open_postgres(url, schema, (), limits) as store:
            traces = await store.traces(operation_id, MOST)
        found += [Entry(each.at_ms, schema, each.kind, each.name, each.about) for each in traces]
    return found


def in_order(entries: list[Entry], operation_id: OperationId) -> tuple[Entry, ...]:
    """As it happened, by the clocks of the programs that tell it.

    Raises:
        NothingTraced: there is nothing.
    """
    if not entries:
        raise NothingTraced(f"nothing bears the identifier {operation_id}: is it this WARIFU_HOME's?")
    return tuple(sorted(entries, key=lambda each: each.at_ms))
