"""Measure the store beside the bare driver, in interleaved slices; not a test.

    python tests/adapters/store/measure_store.py

Starts a PostgreSQL of its own (fsync on). Each pair of slices gives a ratio; the median of the ratios is told, for two
runs on one machine differ by more than what is measured. 16 tasks over 8 connections, one process.
"""

import asyncio
import itertools
import secrets
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
from store_database import DEADLINE_S, await_ready, launch, make_schema
from store_records import RECORDS, Tally

from warifu.adapters.store.postgres import PostgresStore, open_postgres
from warifu.ports.store import (
    AuditEntry,
    Change,
    Find,
    Get,
    Insert,
    JournalEntry,
    OutboxMessage,
    RequestKey,
    Update,
)

SLICE_S: Final = 2.0
PAIRS: Final = 9
TASKS: Final = 16
CONNECTIONS: Final = 8
ROWS: Final = 20_000
Work = Callable[[int], Awaitable[None]]

RAW_COMMIT: Final = """
WITH g AS (UPDATE bench.tally SET stamp = $1, owner = $2, place = $3, state = $4, due = $5, cut = $6, face = $7,
    words = $8, version = version + 1 WHERE half = $9 AND number = $10 AND version = $11 RETURNING 1),
  j AS (INSERT INTO bench.journal (at_ms, stream, event, operation_id, detail) VALUES ($12, $13, $14, $15, $16)),
  a AS (INSERT INTO bench.audit (at_ms, actor, action, subject, operation_id, purpose)
    VALUES ($12, $17, $18, $13, $15, $19)),
  o AS (INSERT INTO bench.outbox (message_id, destination, name, body, operation_id, order_key, at_ms)
    VALUES ($20, $17, $18, $21, $15, $13, $12)),
  r AS (INSERT INTO bench.requests (node, operation_id, step, digest, answer, at_ms)
    VALUES ($17, $20, $18, $22, $21, $12))
SELECT count(*) FROM g
"""
_ROW: Final = "half, number, stamp, owner, place, state, due, cut, face, words, version"
_READ: Final = (
    "SELECT (SELECT {one} FROM bench.tally t WHERE t.half = $1 AND t.number = $2), "
    "ARRAY(SELECT {one} FROM bench.tally t WHERE t.owner = $3 ORDER BY half, number LIMIT 10)"
)
READS: Final = {
    "anonymous rows": _READ.format(one=f"ROW({_ROW})"),
    "composite rows": _READ.format(one="t"),
    "jsonb": _READ.format(one="to_jsonb(t)"),
}


_IDS: Final = map(str, itertools.count())


def tally(number: int, version: int = 0) -> Tally:
    """A record of about 300 bytes."""
    return Tally(
        half="a", number=number, stamp=f"s{number}", owner=f"o{number // 10}", face=bytes(200), version=version
    )


async def throughput(work: Work) -> float:
    """Calls a second of ``work`` over one slice, its argument a task's own number."""
    end = time.perf_counter() + SLICE_S
    done = 0

    async def one(task: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await work(task)
            done += 1

    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for task in range(TASKS):
            group.create_task(one(task))
    return done / (time.perf_counter() - start)


async def compare(name: str, limit: Work, ours: Work) -> None:
    """Print the median rates and the median ratio of ``ours`` to ``limit``."""
    pairs = [(await throughput(limit), await throughput(ours)) for _ in range(PAIRS)]
    ratio = statistics.median(b / a for a, b in pairs)
    raw, own = (statistics.median(column) for column in zip(*pairs, strict=True))
    sys.stdout.write(f"{name}: {raw:,.0f}/s -> {own:,.0f}/s, ratio {ratio:.2f}\n")
    sys.stdout.flush()


class Commits:
    """One step of a node, as our change and as a statement written by hand."""

    def __init__(self, store: PostgresStore, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._store = store
        self._pool = pool
        self._versions = dict.fromkeys(range(TASKS), 1)

    async def raw(self, task: int) -> None:
        """By hand, on the same kind of pool."""
        new, key, body = tally(task), next(_IDS), bytes(300)
        async with self._pool.acquire() as connection:
            found = await connection.fetchval(
                RAW_COMMIT,
                *(new.stamp, new.owner, new.place, new.state, new.due, new.cut, new.face, list(new.words)),
                *("a", task, self._versions[task], 1, "tally:a", "cut", key, '{"state": "cut"}'),
                *("center", "look", "window", key, body, bytes(32)),
            )
        assert found == 1
        self._versions[task] += 1

    async def ours(self, task: int) -> None:
        """By our adapter."""
        key, body = next(_IDS), bytes(300)
        await self._store.commit(
            Change(
                now_ms=1,
                writes=(Update(tally(task, self._versions[task])),),
                journal=(JournalEntry("tally:a", "cut", key, {"state": "cut"}),),
                audit=(AuditEntry("center", "look", "tally:a", key, "window"),),
                outbox=(OutboxMessage(key, "center", "look", body, key, "tally:a"),),
                request=RequestKey("center", key, "look", bytes(32)),
                answer=body,
            )
        )
        self._versions[task] += 1


async def measure_reads(store: PostgresStore, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A record, ten by an index; as our read and in three other shapes, and in two round trips."""

    def raw(statement: str, decode: Callable[[Any], object]) -> Work:
        async def work(task: int) -> None:
            async with pool.acquire() as connection:
                row = await connection.fetchrow(statement, "a", task, f"o{task}")
            assert row is not None
            decode(row[0])
            for found in row[1]:
                decode(found)

        return work

    def named(row: Any) -> Tally:
        fields: dict[str, Any] = {name: tuple(value) if name == "words" else value for name, value in row.items()}
        return Tally(**fields)

    def from_json(text: str) -> object:
        return msgspec.json.decode(text)

    async def two_trips(task: int) -> None:
        async with pool.acquire() as connection:
            await connection.fetchrow(f"SELECT {_ROW} FROM bench.tally WHERE half = $1 AND number = $2", "a", task)  # noqa: S608
            await connection.fetch(
                f"SELECT {_ROW} FROM bench.tally WHERE owner = $1 ORDER BY half, number LIMIT 10",  # noqa: S608
                f"o{task}",
            )

    async def ours(task: int) -> None:
        await store.read(Get(Tally, ("a", task)), Find(Tally, {"owner": f"o{task}"}, limit=10))

    await compare(
        "read: anonymous rows by hand, undecoded -> ours", raw(READS["anonymous rows"], lambda row: row), ours
    )
    await compare("read: composite rows by hand, decoded -> ours", raw(READS["composite rows"], named), ours)
    await compare("read: jsonb by hand, decoded -> ours", raw(READS["jsonb"], from_json), ours)
    await compare("read: two round trips, undecoded -> ours", two_trips, ours)


async def measure(url: str) -> None:
    """All comparisons, one after the other."""
    await make_schema(url, "bench")

    async def keep(_connection: object) -> None:
        """No reset."""

    async with (
        open_postgres(url, "bench", RECORDS) as store,
        asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, reset=keep) as pool,
        asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as resetting,
    ):
        for start in range(0, ROWS, 500):
            rows = (tally(number) for number in range(start, start + 500))
            await store.commit(Change(now_ms=1, writes=tuple(Insert(row) for row in rows)))
        await pool.execute("VACUUM ANALYZE bench.tally")
        commits = Commits(store, pool)
        await compare("commit: by hand -> ours", commits.raw, commits.ours)
        plain = Commits(store, resetting)
        plain._versions = commits._versions
        await compare("commit: by hand with the pool's own reset -> ours", plain.raw, plain.ours)
        await measure_reads(store, pool)


def main() -> None:
    """Start the database, measure, stop it."""
    password = secrets.token_hex(8)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="warifu-measure-"))
    server = launch(folder, port, password, fsync="on")
    try:
        reader = await_ready(server)
        asyncio.run(measure(f"postgresql://warifu:{password}@127.0.0.1:{port}/postgres"))
        server.send_signal(signal.SIGINT)
        reader.join(DEADLINE_S)
    finally:
        server.kill()
        server.wait(DEADLINE_S)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
