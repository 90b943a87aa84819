"""The parts of ``warifu bench pki`` about status: revocation lists (``bench_pki_lists``)."""

from typing import Any, Final

from warifu.lab.bench_pki import RATIOS
from warifu.lab.bench_pki_lists import ENTRIES, child
from warifu.lab.database import scratch_database
from warifu.lab.pki_rig import DeviceKind

DEVICES: Final[tuple[DeviceKind, ...]] = ("software", "softhsm")


async def bench_lists(_seconds: float) -> list[dict[str, Any]]:
    """A list of a million entries and one changed partition, for each kind of device: nine turns, however long."""
    rows: list[dict[str, Any]] = []
    for kind in DEVICES:
        with scratch_database() as url:
            rows += await child(url, kind, ENTRIES, RATIOS)
    return rows
