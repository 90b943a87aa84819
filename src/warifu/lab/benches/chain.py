"""What the whole chain carries on this machine, beside bare hops, interleaved in one run.

Ours is topology ``quarter`` with its database, devices and balancer, driven by simulated counters: real operations on
virtual cards, every message from a terminal over CS, HAProxy, relay with HSM, and centre. The bare hops have the same
number of servers, the same servers and clients (``adapters.net``), mutual TLS, an HAProxy of the same configuration,
bodies of the lengths that were just seen, and no code of ours in their handlers: they pass on, the last one answers.
The generator runs on the same processors, here as there.
"""

import asyncio
import itertools
import os
import random
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import uvloop
from msgspec import Struct

from warifu.adapters.net.client import Destination, NetTransport
from warifu.adapters.net.handling import Peer
from warifu.adapters.net.server import serve
from warifu.adapters.net.tls import NodeTls, issue_node_certificate, make_authority
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import Fault, Unavailable
from warifu.lab.load.counters import COUNTED, Counters
from warifu.lab.load.meter import Meter, Sample, cpu_used, latency, usage_of
from warifu.lab.load.stack import Prepared, own_stack, prepared
from warifu.stack.addresses import HOST, Address
from warifu.stack.balancer import configuration, serve_agent, write_configuration
from warifu.stack.balancer import spec as balancer_spec
from warifu.stack.processes import work_in_turns

PAIRS_MIN: Final = 9
P99_MS: Final = 250.0
IN_FLIGHT: Final = (64, 48, 32, 24, 16, 8)
"""Operations under way at once; the most that keeps p99 below its bound is taken."""
CARDS_PER_S: Final = 30
CARDS_MAX: Final = 4_000
MIX: Final = {"setup": 4, "delivery": 4, "pin_reset": 2}
_NEXT: Final = {"setup": "delivery", "delivery": "pin_reset", "pin_reset": "setup"}
START_S: Final = 20.0
_OPERATION: Final = "0" * 26
_CALLER: Final = "terminal-lab"
_LENGTH: Final = 4
TIERS: Final = (("center", 2), ("relay", 2), ("cs", 4))
"""Bare servers, from the last hop to the first."""


async def bench_chain(seconds: float) -> list[dict[str, Any]]:
    """Business messages per second through ``quarter`` and through bare hops.

    Args:
        seconds: for the slices of both; starting and filling a stack takes about half a minute more.
    """
    if shutil.which("haproxy") is None and shutil.which("haproxy", path="/usr/sbin") is None:
        return [{"name": "chain.business", "skipped": "haproxy is not on this machine"}]
    meter = Meter(keep_history=False)
    cards = min(CARDS_MAX, int(CARDS_PER_S * max(seconds, 10)))
    async with AsyncExitStack() as resources:
        stack = await resources.enter_async_context(own_stack("quarter"))
        ready = await resources.enter_async_context(prepared(stack, cards, meter))
        return [await _compare(ready, meter, seconds)]


class Slices(Struct):
    """What the slices of ours and of the bare hops came to. Processor time is in seconds."""

    pairs: list[tuple[float, float]]
    times: list[Sample]
    used: defaultdict[str, float]
    """By kind of process, while ours was at work."""
    bare_cpu_s: float = 0.0
    bare_calls: int = 0

    @property
    def within(self) -> bool:
        """Whether p99 keeps its bound, as far as was measured."""
        return not self.times or latency(self.times).p99 <= P99_MS


async def _compare(ready: Prepared, meter: Meter, seconds: float) -> dict[str, Any]:
    slice_s = max(seconds / (2 * PAIRS_MIN), 0.5)
    in_flight = await _settle_on(ready.counters, meter, min(slice_s, 3.0))
    async with bare_hops(meter.sizes[-2_000:]) as bare:
        found = await _pairs(ready, meter, bare, in_flight, slice_s)
        while not found.within and in_flight != IN_FLIGHT[-1]:
            in_flight = IN_FLIGHT[IN_FLIGHT.index(in_flight) + 1]
            found = await _pairs(ready, meter, bare, in_flight, slice_s)
    return _result(found, in_flight)


async def _pairs(ready: Prepared, meter: Meter, bare: "Bare", in_flight: int, slice_s: float) -> Slices:
    """Slices of both in turns; ended early when p99 is above its bound, for fewer at once to be tried."""
    found = Slices([], [], defaultdict(float))
    await _bare_rate(bare, in_flight, 0.5)
    while len(found.pairs) < PAIRS_MIN and (found.within or in_flight == IN_FLIGHT[-1]):
        ours = await _our_slice(ready, meter, in_flight, slice_s, found)
        found.pairs.append((ours, await _bare_slice(bare, in_flight, slice_s, found)))
    return found


async def _our_slice(ready: Prepared, meter: Meter, in_flight: int, slice_s: float, found: Slices) -> float:
    first, began = len(meter.messages), time.perf_counter()
    before = ready.stack.look(0.0)
    rate = await _rate(ready.counters, meter, in_flight, slice_s)
    lasted = time.perf_counter() - began
    found.times += meter.messages[first:]
    for name, share in cpu_used(before, ready.stack.look(lasted)).items():
        found.used[name] += share * lasted
    return rate


async def _bare_slice(bare: "Bare", in_flight: int, slice_s: float, found: Slices) -> float:
    before, calls = bare.cpu_s(), bare.calls
    rate = await _bare_rate(bare, in_flight, slice_s)
    found.bare_cpu_s += bare.cpu_s() - before
    found.bare_calls += bare.calls - calls
    return rate


def _result(found: Slices, in_flight: int) -> dict[str, Any]:
    runs = [ours / bare for ours, bare in found.pairs]
    took = latency(found.times)
    messages = max(len(found.times), 1)
    used = sorted(found.used.items(), key=lambda part: -part[1])
    each = {name: round(seconds * 1000 / messages, 3) for name, seconds in used if seconds > 0}
    bare_ms = found.bare_cpu_s * 1000 / max(found.bare_calls, 1)
    whole = sum(each.values())
    parts = ", ".join(f"{name} {ms:.2f}" for name, ms in each.items())
    return {
        "name": "chain.business",
        "value": statistics.median(ours for ours, _ in found.pairs),
        "unit": f"business messages/s, {in_flight} operations at once, p99 {took.p99:.0f} ms, generator included",
        "limit": "bare hops: same servers, clients, TLS, HAProxy, bodies; no code in the handlers",
        "limit_value": statistics.median(bare for _, bare in found.pairs),
        "ratio": statistics.median(runs),
        "runs": runs,
        "p50_ms": took.p50,
        "p99_ms": took.p99,
        "p99_within": found.within,
        "failed": sum(sample.outcome != "ok" for sample in found.times),
        "profile": each,
        "cpu_ms_per_message": round(whole, 3),
        "bare_cpu_ms_per_message": round(bare_ms, 3),
        "notes": [f"processor time of a message: {whole:.2f} ms ({parts}); through bare hops: {bare_ms:.2f} ms"],
    }


# ---- ours ------------------------------------------------------------------------------------------------------------


async def _settle_on(counters: Counters, meter: Meter, slice_s: float) -> int:
    """Warm up; the most operations at once that keep well below the bound of p99."""
    await _rate(counters, meter, IN_FLIGHT[-1], slice_s)
    for in_flight in IN_FLIGHT:
        first = len(meter.messages)
        await _rate(counters, meter, in_flight, slice_s)
        if latency(meter.messages[first:]).p99 <= 0.8 * P99_MS:
            return in_flight
    return IN_FLIGHT[-1]


async def _rate(counters: Counters, meter: Meter, in_flight: int, slice_s: float) -> float:
    """Messages answered well per second while so many operations are under way; what was begun is then ended."""
    first, began = len(meter.messages), time.perf_counter()
    end = began + slice_s

    async def counter(dice: random.Random) -> None:
        while time.perf_counter() < end:
            await one_operation(counters, dice)

    async with asyncio.TaskGroup() as group:
        for number in range(in_flight):
            group.create_task(counter(random.Random(number)))  # noqa: S311 - a mix, no secret
    good = sum(sample.outcome == "ok" for sample in meter.messages[first:])
    return good / (time.perf_counter() - began)


async def one_operation(counters: Counters, dice: random.Random) -> None:
    """Of the mix; another kind where no card is left for it."""
    place = dice.choice(counters.places)
    kind = dice.choices(COUNTED, [MIX[name] for name in COUNTED])[0]
    for _ in range(len(_NEXT)):
        if await counters.serve(place, kind) != "no_card":
            return
        kind = _NEXT[kind]  # type: ignore[assignment]  # kinds of operations
    await asyncio.sleep(0.01)


# ---- bare hops -------------------------------------------------------------------------------------------------------


class Bare:
    """The same chain without us.

    Args:
        transport: leads to the first hop.
        sizes: lengths of request and answer, sent in this order, over and over.
        pids: of the processes behind.
    """

    def __init__(self, transport: NetTransport, sizes: Sequence[tuple[int, int]], pids: Sequence[int]) -> None:
        self.calls = 0
        self._transport = transport
        self._lengths = itertools.cycle(sizes or [(1024, 1024)])
        self._pids = pids

    async def call(self) -> None:
        """One message through all hops and back."""
        asked, answered = next(self._lengths)
        body = answered.to_bytes(_LENGTH, "big") + bytes(max(0, asked - _LENGTH))
        reply = await self._transport.call("cs", _envelope(_CALLER, body))
        if reply.body is None or len(reply.body) != answered:
            raise Fault("a bare hop answered something else")
        self.calls += 1

    def cpu_s(self) -> float:
        """Processor time used so far, this process included."""
        return sum(usage.cpu_s for usage in map(usage_of, (os.getpid(), *self._pids)) if usage is not None)


@asynccontextmanager
async def bare_hops(sizes: Sequence[tuple[int, int]]) -> AsyncIterator[Bare]:
    """The same chain without us; a call goes through it and back.

    Args:
        sizes: lengths of request and answer, sent in this order, over and over.
    """
    async with AsyncExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="warifu-bare-")))
        await asyncio.to_thread(make_authority, folder)
        for kind, _ in TIERS:
            await asyncio.to_thread(issue_node_certificate, folder, kind)
        await asyncio.to_thread(issue_node_certificate, folder, _CALLER)
        behind, ports, pids = "", list[int](), list[int]()
        for kind, count in TIERS:
            servers = [_bare_server(folder, kind, behind, ports) for _ in range(count)]
            found = [await resources.enter_async_context(server) for server in servers]
            ports, behind = [port for port, _ in found], kind
            if kind == "relay":
                found.append(await resources.enter_async_context(_balanced(folder, ports)))
                ports = [found[-1][0]]
            pids += [pid for _, pid in found]
        transport = NetTransport({"cs": _destination("cs", ports)}, _tls(folder, _CALLER))
        resources.push_async_callback(transport.aclose)
        yield Bare(transport, sizes, pids)


async def _bare_rate(bare: Bare, in_flight: int, slice_s: float) -> float:
    began = time.perf_counter()
    end = began + slice_s

    async def caller() -> int:
        count = 0
        while time.perf_counter() < end:
            await bare.call()
            count += 1
        return count

    counts = await asyncio.gather(*(caller() for _ in range(in_flight)))
    return sum(counts) / (time.perf_counter() - began)


@asynccontextmanager
async def _balanced(folder: Path, ports: Sequence[int]) -> AsyncIterator[tuple[int, int]]:
    """HAProxy as the stack configures it, before these servers: its port and process."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin") or "haproxy"
    agent = await serve_agent(lambda _: True)
    host, port = agent.sockets[0].getsockname()[:2]
    listen = _free_port()
    servers = {f"relay-{number}": Address(HOST, one) for number, one in enumerate(ports, 1)}
    text = configuration(Address(HOST, listen), servers, Address(host, port))
    await write_configuration(program, folder, text)
    spec = balancer_spec(program, folder)
    child = await asyncio.create_subprocess_exec(
        *spec.argv, cwd=spec.cwd, stderr=asyncio.subprocess.DEVNULL, preexec_fn=work_in_turns
    )
    try:
        await _listens(listen)
        yield listen, child.pid
    finally:
        child.terminate()
        await child.wait()
        agent.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


async def _listens(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
    raise Unavailable("HAProxy does not listen")


@asynccontextmanager
async def _bare_server(folder: Path, kind: str, behind: str, ports: Sequence[int]) -> AsyncIterator[tuple[int, int]]:
    """A child that serves until its standard input ends: its port and process."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "warifu.lab.benches.chain", str(folder), kind, behind, *map(str, ports),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin is not None  # noqa: S101 - asked for above
    assert child.stdout is not None  # noqa: S101 - likewise
    try:
        async with asyncio.timeout(START_S):
            port = int(await child.stdout.readline())
        yield port, child.pid
    finally:
        child.stdin.close()
        await child.wait()


def _destination(kind: str, ports: Sequence[int]) -> Destination:
    return Destination(addresses=tuple((HOST, port) for port in ports), accepted=frozenset({kind}))


def _envelope(sender: str, body: bytes) -> Envelope:
    return Envelope(name="bench.echo", operation_id=_OPERATION, step="1", sender=sender, remaining_ms=30_000, body=body)


def _tls(folder: Path, name: str) -> NodeTls:
    return NodeTls(folder / f"{name}.pem", folder / f"{name}.key", folder / "node-ca.pem")


class _Errors:
    """A log on standard error."""

    def info(self, event: str, **fields: str | float) -> None:
        """Write it."""
        sys.stderr.write(f"{event} {fields}\n")

    trouble = info


async def _serve_child(folder: Path, kind: str, behind: str, ports: Sequence[int]) -> None:
    """Pass on what comes; the last hop answers with as many bytes as the request says."""
    work_in_turns()  # as the stack's programs do
    places = {behind: _destination(behind, ports)} if behind else {}
    transport = NetTransport(places, _tls(folder, kind))

    async def handle(envelope: Envelope, _peer: Peer) -> Reply:
        if behind:
            return await transport.call(behind, _envelope(kind, envelope.body))
        return Reply(body=bytes(int.from_bytes(envelope.body[:_LENGTH], "big")))

    server = await serve(handle, HOST, 0, _tls(folder, kind), log=_Errors())
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(grace_s=0.2)
    await transport.aclose()


if __name__ == "__main__":
    uvloop.run(_serve_child(Path(sys.argv[1]), sys.argv[2], sys.argv[3], [int(port) for port in sys.argv[4:]]))
