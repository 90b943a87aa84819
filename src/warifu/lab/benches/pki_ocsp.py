"""OCSP over HTTP in ``warifu bench pki``: just in time beside raw signing, cached beside nginx.

Responders run in processes of their own, as in the stack: the real node over PostgreSQL, its HSM workers, the real HTTP
face. Requests come from wrk, so that the generator costs both sides the same little (``pki_ocsp_http``).
"""

import asyncio
import base64
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg
import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.hsm.process import ProcessHsmFactory
from warifu.adapters.net.http import serve_http
from warifu.adapters.net.local import LocalTransport
from warifu.adapters.net.relying import relying_edge
from warifu.adapters.shelf import MemoryShelf
from warifu.adapters.store.postgres import open_postgres
from warifu.domain.pki import ocsp
from warifu.domain.pki.profile import FIRST_SERIAL, Profile
from warifu.domain.pki.profile import Authority as Issuer
from warifu.kernel.errors import Fault
from warifu.lab.benches.pki import Rate, interleaved
from warifu.lab.benches.pki_ocsp_http import asker, beside
from warifu.lab.rigs.bare_http import Question
from warifu.lab.rigs.database import scratch_database
from warifu.lab.rigs.pki_rig import CORES, DeviceKind, Quiet, authority_rig, device, ended
from warifu.lab.rigs.processor import Costs, ratio, spent
from warifu.nodes.authority import node as authority
from warifu.nodes.base import World
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.responder import Responder
from warifu.ports.hsm import Sign
from warifu.stack.processes import settle_memory

_LIMITS: Final[dict[DeviceKind, str]] = {
    "software": "by the library",
    "softhsm": "by worker processes of the device asked back to back",
}
CERTIFICATES: Final = 10_000
PLACES: Final = 50
WARM_S: Final = 1.0
_FIRST: Final = FIRST_SERIAL + 1_000_000
_CONNECTIONS: Final = 64
_START_S: Final = 60.0
_ROWS: Final = """
INSERT INTO authority.certificate
  (version, ca, serial, generation, card_id, resident_id, municipality, key_pair_id, state, write_id,
   resident_version, not_after, tbs, der, reason, revoked_ms, changed_ms)
SELECT 1, 'signature', $1::bigint + i, 1, 'card' || i, 'resident' || i, lpad((i % $2::bigint)::text, 6, '0'),
  'pair' || i, 'valid', '', 1, date '2035-01-01', convert_to(repeat('t', 1000), 'UTF8'),
  convert_to(repeat('d', 1300), 'UTF8'), '', NULL, 1
FROM generate_series(0, $3::bigint - 1) AS i
"""

# ---- a responder in a process of its own -----------------------------------------------------------------------------


async def serve(url: str, folder: Path, kind: DeviceKind, name: str) -> None:
    """Serve until standard input ends; tells its port and the issuer's hashes on standard output."""
    config = device(folder, kind)
    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(authority_rig(url, config, workers=1))
        transport = LocalTransport({"authority": lambda envelope, _peer: rig.handle(envelope)}, name, Quiet())
        register = await stack.enter_async_context(open_postgres(url, authority.Authority.KIND, authority.RECORDS))
        world = World(name=name, transport=transport, clock=SystemClock(), entropy=SystemEntropy(), log=Quiet())
        pool = HsmPool(ProcessHsmFactory(config), f"{name}/hsm", CORES)
        node = Responder(world, register, pool, Profile(), MemoryShelf())
        running = asyncio.create_task(node.run())
        stack.push_async_callback(ended, running)
        identity = (await node.identities("signature"))[-1]
        server = await serve_http(relying_edge(node), "127.0.0.1", 0, log=Quiet())
        stack.push_async_callback(server.stop)
        template = ocsp.request([ocsp.cert_id(identity.authority, _FIRST)], bytes(16))
        told = {"port": server.port, "template": template.hex(), "plain": _plain(identity.authority).hex()}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        settle_memory()  # as the stack's processes do
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _plain(issuer: Issuer) -> bytes:
    return ocsp.request([ocsp.cert_id(issuer, _FIRST)])


@asynccontextmanager
async def responders(url: str, folder: Path, kind: DeviceKind, count: int) -> AsyncIterator[list[dict[str, Any]]]:
    """So many of them; what each tells."""
    async with AsyncExitStack() as stack:
        told = []
        for number in range(1, count + 1):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "warifu.lab.benches.pki_ocsp", str(folder), kind, f"responder-{number}"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(_ended, process)
            if process.stdin is None or process.stdout is None:
                raise Fault("a child without pipes")
            process.stdin.write(url.encode() + b"\n")
            async with asyncio.timeout(_START_S):
                line = await process.stdout.readline()
            if not line:
                raise Fault("a responder did not start")
            told.append(json.loads(line))
        yield told


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


# ---- limits ----------------------------------------------------------------------------------------------------------


async def signing_alone(slice_s: float) -> float:
    """RSA-2048 signatures a second on all cores, by the library alone."""
    key = rsa.generate_private_key(65537, 2048)
    start = time.perf_counter()

    def worker() -> tuple[int, float]:
        count = 0
        while time.perf_counter() < start + slice_s:
            key.sign(b"an answer", padding.PKCS1v15(), hashes.SHA256())
            count += 1
        return count, time.perf_counter() - start

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(CORES) as threads:
        done = await asyncio.gather(*(loop.run_in_executor(threads, worker) for _ in range(CORES)))
    return sum(count / took for count, took in done)


@asynccontextmanager
async def _limit(folder: Path, kind: DeviceKind) -> AsyncIterator[Rate]:
    """Signing alone: by the library, or by as many workers of the device as there are cores, asked back to back."""
    if kind == "software":
        yield signing_alone
        return
    pool = HsmPool(ProcessHsmFactory(device(folder, kind)), "raw/hsm", CORES)
    running = asyncio.create_task(pool.run())
    try:
        yield lambda slice_s: _signed(pool, "jpki-ca-signature-1", slice_s)
    finally:
        running.cancel()


async def _signed(pool: HsmPool, label: str, slice_s: float) -> float:
    start = time.perf_counter()

    async def asker() -> int:
        count = 0
        while time.perf_counter() < start + slice_s:
            await pool.bytes_of(Sign(label, b"an answer"), 10_000)
            count += 1
        return count

    counts = await asyncio.gather(*(asker() for _ in range(2 * CORES)))
    return sum(counts) / (time.perf_counter() - start)


# ---- rows ------------------------------------------------------------------------------------------------------------


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=60, command_timeout=300)
    try:
        await connection.execute(_ROWS, _FIRST, PLACES, CERTIFICATES)
        await connection.execute(
            "INSERT INTO authority.list_revision (version, ca, municipality, changed_ms) "
            "SELECT DISTINCT 1, ca, municipality, 1 FROM authority.certificate ON CONFLICT DO NOTHING"
        )
        await connection.execute("VACUUM ANALYZE authority.certificate")
    finally:
        await connection.close(timeout=60)


async def just_in_time(seconds: float, kind: DeviceKind, count: int = CORES) -> dict[str, Any]:
    """Answers to requests with nonces, each signed for it alone."""
    with tempfile.TemporaryDirectory(prefix="warifu-bench-") as name, scratch_database() as url:
        folder = Path(name)
        async with responders(url, folder / "device", kind, count) as told:
            await _fill(url)
            ports = [each["port"] for each in told]
            questions = asker(folder, _any_certificate(bytes.fromhex(told[0]["template"])))
            await questions.rate(ports, WARM_S)
            ours, alone = Costs(), Costs()
            async with _limit(folder / "device", kind) as raw:
                row = await interleaved(
                    f"pki.ocsp.just_in_time.{kind}",
                    f"OCSP answers/s over HTTP, each with a nonce, looked up in PostgreSQL, signed ({questions.name})",
                    "RSA-2048 signatures alone on all cores, " + _LIMITS[kind],
                    ours=lambda slice_s: _costed(questions.rate(ports, slice_s), questions.lasts(slice_s), ours),
                    raw=lambda slice_s: _costed(raw(slice_s), slice_s, alone),
                    seconds=seconds,
                )
    each = ours.each()
    note = (
        f"processor time for each answer: responders {each.node:.0f} µs, HSM workers {each.workers:.0f}, PostgreSQL "
        f"{each.database:.0f}; a raw signature {alone.each().total:.0f}: {ratio(ours, alone):.2f} with all cores busy"
    )
    return row | {"profile": {"ratio_by_processor_time": ratio(ours, alone)}, "notes": [note]}


async def _costed(work: Awaitable[float], seconds: float, costs: Costs) -> float:
    """The rate, with what it cost beside: it was kept up for so many seconds."""
    before = spent()
    rate = await work
    costs.end(before, rate * seconds)
    return rate


def _any_certificate(template: bytes) -> Question:
    """Each asking is about another certificate, with a nonce of its own."""
    return Question(
        path="/ocsp",
        body=template,
        media_type="application/ocsp-request",
        serial_at=template.index(b"\x02\x04" + _FIRST.to_bytes(4, "big")) + 2,
        first=_FIRST,
        count=CERTIFICATES,
        nonce_at=template.index(bytes(16)),
    )


async def cached(seconds: float, count: int = CORES) -> dict[str, Any]:
    """Answers to one request without a nonce, each looked up anew in PostgreSQL, beside nginx and the same bytes."""
    with tempfile.TemporaryDirectory(prefix="warifu-bench-") as name, scratch_database() as url:
        folder = Path(name)
        async with responders(url, folder / "device", "software", count) as told:
            await _fill(url)
            path = "/ocsp/" + quote(base64.b64encode(bytes.fromhex(told[0]["plain"])).decode(), safe="")
            ports = [each["port"] for each in told]
            questions, body = asker(folder, Question(path=path)), await _fetch(ports[0], path)
            async with beside(folder / "beside", body) as other:
                await questions.rate(ports, WARM_S)
                return await interleaved(
                    "pki.ocsp.cached",
                    f"OCSP answers/s over HTTP without a nonce, the register asked for each ({questions.name})",
                    other.name,
                    ours=lambda slice_s: questions.rate(ports, slice_s),
                    raw=lambda slice_s: questions.rate(other.ports, slice_s),
                    seconds=seconds,
                )


async def _fetch(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    if not head.startswith(b"HTTP/1.1 200") or len(body) < 500:  # noqa: PLR2004 - an error answer has five octets
        raise Fault("the responder does not answer")
    return body


def main(arguments: list[str]) -> None:
    """The child."""
    url = sys.stdin.readline().strip()
    kind: DeviceKind = "software" if arguments[1] == "software" else "softhsm"
    uvloop.run(serve(url, Path(arguments[0]), kind, arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
