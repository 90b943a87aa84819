"""The parts of ``warifu bench pki`` about status: revocation lists (``bench_pki_lists``), OCSP (``bench_pki_ocsp``)."""

from typing import Any, Final

from warifu.kernel.errors import TryAgain
from warifu.lab.benches.pki import RATIOS
from warifu.lab.benches.pki_lists import ENTRIES, child
from warifu.lab.benches.pki_ocsp import cached, just_in_time
from warifu.lab.rigs.database import scratch_database
from warifu.lab.rigs.pki_rig import DeviceKind

DEVICES: Final[tuple[DeviceKind, ...]] = ("software", "softhsm")


async def bench_lists(_seconds: float) -> list[dict[str, Any]]:
    """A list of a million entries and one changed partition, for each kind of device: nine turns, however long."""
    rows: list[dict[str, Any]] = []
    for kind in DEVICES:
        with scratch_database() as url:
            rows += await child(url, kind, ENTRIES, RATIOS)
    return rows


async def bench_ocsp(seconds: float) -> list[dict[str, Any]]:
    """Just in time, for each kind of device; and answers given again beside nginx."""
    rows: list[dict[str, Any]] = []
    for kind in DEVICES:
        try:
            rows.append(await just_in_time(seconds, kind))
        except TryAgain as error:
            rows.append({"name": f"pki.ocsp.just_in_time.{kind}", "skipped": str(error)})
    try:
        rows.append(await cached(seconds))
    except TryAgain as error:
        rows.append({"name": "pki.ocsp.cached", "skipped": str(error)})
    return rows
