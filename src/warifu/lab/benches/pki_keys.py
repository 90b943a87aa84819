"""Key pairs into the stock, beside generation alone on all cores.

Ours: what fills the stock (``KeyPool.run``): two blocks at a time, generated on threads of all cores, each private key
wrapped under the HSM's key, a block stored in one commit. A slice ends with the block it is in. The limit: the same
library generating on as many threads, results thrown away.
"""

import asyncio
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa

from warifu.lab.benches.pki import interleaved
from warifu.lab.rigs.database import scratch_database
from warifu.lab.rigs.pki_rig import CORES, DeviceKind, authority_rig, device
from warifu.lab.rigs.processor import Costs, ratio, spent
from warifu.nodes.authority.key_pool import BLOCK, FILLERS
from warifu.nodes.authority.node import Authority

DEVICES: Final[tuple[DeviceKind, ...]] = ("software", "softhsm")


async def bench_key_pairs(seconds: float) -> list[dict[str, Any]]:
    """A row for each kind of device that wraps the keys."""
    with tempfile.TemporaryDirectory(prefix="warifu-bench-") as name, scratch_database() as url:
        return [await _with_device(Path(name) / kind, url, kind, seconds) for kind in DEVICES]


async def _with_device(folder: Path, url: str, kind: DeviceKind, seconds: float) -> dict[str, Any]:
    ours, raw = Costs(), Costs()
    async with authority_rig(url, device(folder, kind), workers=1) as node:
        row = await interleaved(
            f"pki.key_pairs.{kind}",
            f"key pairs/s (RSA-2048), wrapped under a key of the {kind} device, stored in PostgreSQL",
            "generation alone on all cores",
            ours=lambda slice_s: _filled(node, slice_s, ours),
            raw=lambda slice_s: _generated(slice_s, raw),
            seconds=seconds,
        )
    note = (
        f"processor time for each pair: {ours.each().total / 1000:.1f} ms in all, generation alone "
        f"{raw.each().total / 1000:.1f}: with all cores busy {ratio(ours, raw):.2f}; "
        "primes are found by trying, so short runs scatter"
    )
    return row | {"profile": {"ratio_by_processor_time": ratio(ours, raw)}, "notes": [note]}


async def _filled(node: Authority, slice_s: float, costs: Costs) -> float:
    before, start = spent(), time.perf_counter()

    async def filler() -> int:
        count = 0
        while time.perf_counter() < start + slice_s:
            await node.pool.make_block()
            count += BLOCK
        return count

    counts = await asyncio.gather(*(filler() for _ in range(FILLERS)))
    took = time.perf_counter() - start
    costs.end(before, sum(counts))
    return sum(counts) / took


async def _generated(slice_s: float, costs: Costs) -> float:
    before, start = spent(), time.perf_counter()

    def worker() -> tuple[int, float]:
        count = 0
        while time.perf_counter() < start + slice_s:
            rsa.generate_private_key(65537, 2048)
            count += 1
        return count, time.perf_counter() - start

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(CORES) as threads:
        done = await asyncio.gather(*(loop.run_in_executor(threads, worker) for _ in range(CORES)))
    costs.end(before, sum(count for count, _ in done))
    return sum(count / took for count, took in done)
