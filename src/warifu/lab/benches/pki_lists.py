"""Revocation lists in ``warifu bench pki``: from the database to a signed file, in a process of its own.

Run as a child (``python -m warifu.lab.benches.pki_lists``; the database's URL on standard input), so that its memory is
the publisher's and nobody else's. The limits are measured in turn with it: the same octets joined by the database,
hashed and written with no care at all; the bare signature of a partition.
"""

import asyncio
import hashlib
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import asyncpg

from warifu.adapters.shelf import FolderShelf
from warifu.adapters.store.migrate import migrate
from warifu.contract.authority import PublishList
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.domain.pki.revocation import crl_entry
from warifu.kernel.errors import Fault
from warifu.kernel.ids import new_ulid
from warifu.lab.benches.pki import RATIOS
from warifu.lab.rigs.pki_rig import DeviceKind, authority_rig, device
from warifu.nodes.authority.node import Authority
from warifu.nodes.base import Call
from warifu.ports.hsm import Sign

ENTRIES: Final = 1_000_000
PLACES: Final = 1_741
HERE: Final = "132217"
"""Takes the place of one of them: the partition that changes."""
_BATCH: Final = 200_000
_FIRST_SERIAL: Final = 0x01000001
_REVOKED_MS: Final = 1_761_530_400_000
_TIMEOUT_MS: Final = 120_000
_ROWS: Final = """
INSERT INTO authority.revocation
  (version, ca, serial, generation, municipality, reason, revoked_ms, not_after, entry)
SELECT 1, 'signature', $1::bigint + i, 1,
  CASE i * 7919 % $4::bigint WHEN 0 THEN $5::text ELSE lpad((i * 7919 % $4::bigint)::text, 6, '0') END,
  'superseded', $3::bigint, date '2035-01-01',
  set_byte(set_byte(set_byte(set_byte($2::bytea,
    4, (($1::bigint + i) >> 24)::int & 255), 5, (($1::bigint + i) >> 16)::int & 255),
    6, (($1::bigint + i) >> 8)::int & 255), 7, ($1::bigint + i)::int & 255)
FROM generate_series($6::bigint, $7::bigint) AS i
"""


async def fill(url: str, entries: int) -> None:
    """A register of so many revocations, of as many municipalities as there are, its indexes as time leaves them."""
    connection = await asyncpg.connect(url, timeout=60, command_timeout=300)
    try:
        template = crl_entry(_FIRST_SERIAL, _REVOKED_MS, "superseded")
        for first in range(0, entries, _BATCH):
            last = min(first + _BATCH, entries) - 1
            await connection.execute(_ROWS, _FIRST_SERIAL, template, _REVOKED_MS, PLACES, HERE, first, last)
        await connection.execute(
            "INSERT INTO authority.list_revision (version, ca, municipality, changed_ms) "
            "SELECT DISTINCT 1, ca, municipality, 1 FROM authority.revocation"
        )
        await connection.execute("VACUUM ANALYZE authority.revocation")
    finally:
        await connection.close(timeout=60)


class _Publisher:
    """The node, asked for a list after something changed."""

    def __init__(self, node: Authority, connection: "asyncpg.Connection[asyncpg.Record]", folder: Path) -> None:
        self.node = node
        self.connection = connection
        self.folder = folder

    async def published(self, municipality: str) -> float:
        """Seconds from the request to the file that stands on the shelf, after a revocation in this municipality."""
        await self.connection.execute(
            "UPDATE authority.list_revision SET version = version + 1 WHERE municipality = $1", municipality or HERE
        )
        begun = time.perf_counter()
        await self.node.lists.current(_call(self.node, municipality), _request(municipality))
        return time.perf_counter() - begun

    async def careless(self) -> float:
        """Seconds for the same octets: one statement, one hash, one write; no lint, no frame, no signature, no name."""
        begun = time.perf_counter()
        digest = hashlib.sha256()
        with (self.folder / "careless").open("wb") as file:
            async with self.connection.transaction(isolation="repeatable_read", readonly=True):
                async for row in self.connection.cursor(
                    "SELECT string_agg(entry, ''::bytea ORDER BY serial) FROM authority.revocation "
                    "WHERE ca = 'signature' AND generation = 1 GROUP BY municipality",
                    prefetch=16,
                ):
                    digest.update(row[0])
                    file.write(row[0])
        return time.perf_counter() - begun

    async def signature(self) -> float:
        """Seconds for the signature alone."""
        generation = await self.node.signer.newest("signature")
        begun = time.perf_counter()
        await self.node.hsm.bytes_of(Sign(generation.key_label, b"a list"), _TIMEOUT_MS)
        return time.perf_counter() - begun


def _request(municipality: str) -> PublishList:
    return PublishList(ca="signature", municipality=municipality, with_der=False)


def _call(node: Authority, municipality: str) -> Call:
    request = _request(municipality)
    now_ms = node.world.clock.now_ms()
    envelope = Envelope(
        name=request.NAME,
        operation_id=new_ulid(now_ms, node.world.entropy.random_bytes(10)),
        step="list",
        sender="responder-1",
        remaining_ms=_TIMEOUT_MS,
        body=encode(request),
    )
    return Call(envelope, request, now_ms, asyncio.get_running_loop().time() + _TIMEOUT_MS / 1000)


async def measured(url: str, kind: DeviceKind, entries: int, turns: int) -> list[dict[str, Any]]:
    """Both rows. The database is empty before."""
    with tempfile.TemporaryDirectory(prefix="warifu-bench-") as name:
        folder = Path(name)
        await migrate(url, lambda _: None, ["authority"])
        await fill(url, entries)
        async with authority_rig(
            url, device(folder / "device", kind), workers=1, shelf=FolderShelf(folder / "lists")
        ) as node:
            connection = await asyncpg.connect(url, timeout=60, command_timeout=300)
            try:
                return await _rows(_Publisher(node, connection, folder), kind, entries, turns)
            finally:
                await connection.close(timeout=60)


async def _rows(publisher: _Publisher, kind: DeviceKind, entries: int, turns: int) -> list[dict[str, Any]]:
    await publisher.published("")
    await publisher.published(HERE)
    whole = [(await publisher.published(""), await publisher.careless()) for _ in range(turns)]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    part = [(await publisher.published(HERE), await publisher.signature()) for _ in range(turns)]
    _check(publisher.folder, entries)
    unit = f"s from the database to a signed file, {entries:,} entries, {kind} device"
    limit = "s: the same octets joined by the database, hashed and written, nothing checked or signed"
    memory = f"the publisher's process used {peak_mb:.0f} MB at most"
    changed = f"ms for one changed partition of {PLACES:,}, {kind} device"
    return [
        _row(f"pki.list.full.{kind}", unit, limit, whole, 1.0) | {"peak_mb": round(peak_mb), "notes": [memory]},
        _row(f"pki.list.partition.{kind}", changed, "ms: the signature alone", part, 1000.0),
    ]


def _row(name: str, unit: str, limit: str, pairs: list[tuple[float, float]], scale: float) -> dict[str, Any]:
    runs = [other / ours for ours, other in pairs]
    return {
        "name": name,
        "value": statistics.median(ours for ours, _ in pairs) * scale,
        "unit": unit,
        "limit": limit,
        "limit_value": statistics.median(other for _, other in pairs) * scale,
        "ratio": statistics.median(runs),
        "runs": runs,
    }


def _check(folder: Path, entries: int) -> None:
    """The file is what was promised: one edition, and every entry in it."""
    editions = list((folder / "lists" / "signature-1-full").iterdir())
    size = editions[0].stat().st_size if editions else 0
    if len(editions) != 1 or size < entries * len(crl_entry(_FIRST_SERIAL, _REVOKED_MS, "superseded")):
        raise Fault("the published list is not the one that was asked for")


async def child(url: str, kind: DeviceKind, entries: int, turns: int) -> list[dict[str, Any]]:
    """``measured``, in a process of its own. ``Fault`` when it fails; its own words are on standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "warifu.lab.benches.pki_lists", kind, str(entries), str(turns)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate(url.encode())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise Fault("the publisher's process failed")
    rows: list[dict[str, Any]] = json.loads(output)
    return rows


def main(arguments: list[str]) -> int:
    """The child."""
    kind: DeviceKind = "software" if arguments[0] == "software" else "softhsm"
    url = sys.stdin.read().strip()
    entries, turns = int(arguments[1]), int(arguments[2]) or RATIOS
    sys.stdout.write(json.dumps(asyncio.run(measured(url, kind, entries, turns))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
