"""Certificates in bulk, stored in PostgreSQL, beside raw signatures on all cores.

Ours: parts of a batch sent to the authority's ``handle``, whole: decoding, intents and serials recorded, profile
checked, signed in HSM worker processes, stored. The limit: the same workers (one a core) signing as many octets, and
nothing else. Beside the ratio stands what a certificate costs, part by part, in processor time: that shows why the
ratio is what it is, and does not depend on who else uses the machine. The key pairs in stock have the right form and
no private half, since so many could not be made for a measurement; their making is measured by ``pki_keys``.
"""

import asyncio
import os
import random
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any, Final

from warifu.contract.authority import BatchIssued
from warifu.contract.envelope import Envelope
from warifu.contract.errors import open_reply
from warifu.kernel.errors import Fault
from warifu.kernel.ids import new_ulid
from warifu.lab.benches.pki import interleaved, slice_of
from warifu.lab.rigs import pki_load
from warifu.lab.rigs.database import scratch_database
from warifu.lab.rigs.pki_rig import CORES, DeviceKind, authority_rig, device
from warifu.lab.rigs.processor import Costs, ratio, spent
from warifu.nodes.authority.key_pool import BLOCK
from warifu.nodes.authority.node import Authority
from warifu.ports.hsm import SignMany

PARTS_AT_ONCE: Final = 4
DEVICES: Final[tuple[DeviceKind, ...]] = ("software", "softhsm")
_ASKED: Final = 0.85
"""Of raw signing: the aim."""
_TBS_BYTES: Final = 1200
_PER_PART: Final = 2 * pki_load.CARDS
_FASTEST: Final = {"software": 6000, "softhsm": 3000}
"""Certificates a second for which key pairs are laid in: more than this class of machine signs."""


async def bench_issue(seconds: float) -> list[dict[str, Any]]:
    """A row for each kind of device that holds the authorities' keys."""
    rows: list[dict[str, Any]] = []
    for kind in DEVICES:  # a register names its device's keys: each device has its own
        with tempfile.TemporaryDirectory(prefix="warifu-bench-") as name, scratch_database() as url:
            rows.append(await _with_device(Path(name) / kind, url, kind, seconds))
    return rows


class _Load:
    """Parts of one batch, each once, made before they are measured."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._batch = new_ulid(2, source.randbytes(10))
        self._numbers = count(source.randrange(10**9))
        self._positions = count()
        self._ready: list[Envelope] = []

    def make(self, parts: int) -> None:
        """Have so many parts ready."""
        while len(self._ready) < parts:
            orders = tuple(pki_load.order(self._source, next(self._numbers)) for _ in range(pki_load.CARDS))
            self._ready.append(pki_load.part(self._batch, next(self._positions), orders))

    def take(self) -> Envelope:
        """The next part."""
        if not self._ready:
            self.make(1)
        return self._ready.pop()


async def _with_device(folder: Path, url: str, kind: DeviceKind, seconds: float) -> dict[str, Any]:
    source = random.Random(os.urandom(16))  # noqa: S311 - load, not keys
    load = _Load(source)
    parts = int(slice_of(seconds) * _FASTEST[kind] / _PER_PART) + PARTS_AT_ONCE + 1
    ours, raw = Costs(), Costs()
    async with authority_rig(url, device(folder, kind)) as node:
        label = (await node.signer.newest("signature")).key_label
        await _issued(node, load, 0.0, PARTS_AT_ONCE, Costs())  # one part each: templates, statements, connections
        row = await interleaved(
            f"pki.issue.{kind}",
            f"certificates/s, in bulk, stored in PostgreSQL, keys in the {kind} device",
            f"RSA-2048 signatures of the same {CORES} workers, nothing else",
            ours=lambda slice_s: _issued(node, load, slice_s, parts, ours),
            raw=lambda slice_s: _signed(node, label, slice_s, raw),
            seconds=seconds,
        )
    return row | {"profile": _profile(ours, raw), "notes": _notes(ours, raw)}


async def _issued(node: Authority, load: _Load, slice_s: float, parts: int, costs: Costs) -> float:
    load.make(parts)
    await pki_load.stock(node.store, random.Random(os.urandom(16)), parts * (_PER_PART // BLOCK))  # noqa: S311
    before, start = spent(), time.perf_counter()

    async def sender() -> int:
        done = 0
        while not done or time.perf_counter() < start + slice_s:
            answer = open_reply(await node.handle(load.take()), BatchIssued)
            if answer.issued != _PER_PART:
                raise Fault("a part was not issued whole")
            done += answer.issued
        return done

    counts = await asyncio.gather(*(sender() for _ in range(PARTS_AT_ONCE)))
    took = time.perf_counter() - start
    costs.end(before, sum(counts))
    return sum(counts) / took


async def _signed(node: Authority, label: str, slice_s: float, costs: Costs) -> float:
    texts = tuple(os.urandom(_TBS_BYTES) for _ in range(32))
    before, start = spent(), time.perf_counter()

    async def sender() -> int:
        done = 0
        while time.perf_counter() < start + slice_s:
            await node.hsm.call(SignMany(label, texts), pki_load.CALL_MS)
            done += len(texts)
        return done

    counts = await asyncio.gather(*(sender() for _ in range(2 * CORES)))
    took = time.perf_counter() - start
    costs.end(before, sum(counts))
    return sum(counts) / took


def _profile(ours: Costs, raw: Costs) -> dict[str, float]:
    """Microseconds of processor time for each certificate, part by part."""
    each = ours.each()
    return {
        "signatures_us": each.workers,
        "node_us": each.node,
        "postgresql_us": each.database,
        "raw_signature_us": raw.each().total,
        "ratio_by_processor_time": ratio(ours, raw),
    }


def _notes(ours: Costs, raw: Costs) -> list[str]:
    each, alone = ours.each(), raw.each()
    if not (each.total and alone.total):
        return []
    spent_on = (
        f"processor time for each certificate: signatures {each.workers:.0f} µs, the node {each.node:.0f}, "
        f"PostgreSQL {each.database:.0f}, in all {each.total:.0f}; a raw signature {alone.total:.0f}"
    )
    left = max(alone.total / _ASKED - each.workers, 0.0)
    meaning = (
        f"so with all cores busy {ratio(ours, raw):.2f} of raw signing; {_ASKED} would leave the node and "
        f"PostgreSQL {left:.0f} µs together"
    )
    return [spent_on, meaning]
