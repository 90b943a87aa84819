"""What load runs measure: every message and every operation, and what the stack's processes use meanwhile."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import WarifuError
from warifu.lab.history import DIGEST_SHOWN, Event
from warifu.ports.transport import Transport

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Sample(Struct, frozen=True):
    """One message, or one operation with all its messages, as its caller saw it."""

    began_s: float
    """Since the run began."""
    took_ms: float
    what: str
    """The message's name, or the operation's kind."""
    outcome: str
    """``ok``, or a code."""
    place: str = ""
    """The municipality."""

    @property
    def ended_s(self) -> float:
        """When its answer came."""
        return self.began_s + self.took_ms / 1000


class Meter:
    """Collects samples, and the history for the checker. Times are of the monotonic clock, from its making on.

    Args:
        keep_history: whether invoke and answer of every message are kept.
    """

    def __init__(self, *, keep_history: bool = True) -> None:
        self.began = time.perf_counter()
        self.messages: list[Sample] = []
        self.operations: list[Sample] = []
        self.history: list[Event] = []
        self.sizes: list[tuple[int, int]] = []
        """Lengths of request and answer, in bytes."""
        self.keeps_history = keep_history

    def now_s(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self.began

    def tell(self, event: Event) -> None:
        """A line of the history."""
        if self.keeps_history:
            self.history.append(event)

    def at_ms(self) -> int:
        """Now, as the history counts."""
        return int(self.now_s() * 1000)


class MeteredTransport:
    """A transport that tells a meter of every call (``ports.transport.Transport``).

    Args:
        inner: does the work.
        meter: is told.
        name: the caller, as the history names it.
        place: its municipality.
    """

    def __init__(self, inner: Transport, meter: Meter, name: str, place: str) -> None:
        self._inner = inner
        self._meter = meter
        self._name = name
        self._place = place

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        """See ``Transport``."""
        meter = self._meter
        began = meter.now_s()
        self._tell("invoke", envelope, "")
        code = "interrupted"
        try:
            reply = await self._inner.call(destination, envelope)
        except WarifuError as error:
            code = error.code
            raise
        else:
            code = reply.error.code if reply.error else "ok"
            meter.sizes.append((len(envelope.body), len(reply.body or b"")))
            return reply
        finally:
            took_ms = (meter.now_s() - began) * 1000
            meter.messages.append(Sample(began, took_ms, envelope.name, code, self._place))
            self._tell("answer", envelope, code)

    def _tell(self, kind: Literal["invoke", "answer"], envelope: Envelope, outcome: str) -> None:
        if not self._meter.keeps_history:
            return
        event = Event(
            at_ms=self._meter.at_ms(),
            kind=kind,
            node=self._name,
            operation_id=envelope.operation_id,
            step=envelope.step,
            name=envelope.name,
            ordering_key=envelope.ordering_key,
            digest=envelope.digest().hex()[:DIGEST_SHOWN],
            outcome=outcome,
        )
        self._meter.tell(event)


# ---- figures ---------------------------------------------------------------------------------------------------------


class Latency(Struct, frozen=True):
    """Percentiles, in milliseconds; 0 of nothing."""

    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0


def latency(samples: Iterable[Sample]) -> Latency:
    """Of what was answered well."""
    times = sorted(sample.took_ms for sample in samples if sample.outcome == "ok")
    return Latency(*(round(_rank(times, share), 3) for share in (0.5, 0.99, 0.999))) if times else Latency()


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Second(Struct, frozen=True):
    """What ended within one interval of a run."""

    at_s: float
    done: int = 0
    refused: int = 0
    failed: int = 0
    p99_ms: float = 0.0
    by_what: dict[str, int] = {}
    """Of what was done."""


EXCESS: Final = "connection_excess"


def seconds(
    samples: Iterable[Sample], interval_s: float = 1.0, *, since_s: float = 0.0, until_s: float = inf
) -> list[Second]:
    """The run, interval by interval, by when samples ended; ``at_s`` counts from ``since_s``."""
    slots: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if since_s <= sample.ended_s < until_s:
            slots[int((sample.ended_s - since_s) / interval_s)].append(sample)
    return [_second(slot * interval_s, slots[slot]) for slot in range(max(slots, default=-1) + 1)]


def _second(at_s: float, mine: Sequence[Sample]) -> Second:
    done = [sample for sample in mine if sample.outcome == "ok"]
    refused = sum(sample.outcome == EXCESS for sample in mine)
    return Second(
        at_s, len(done), refused, len(mine) - len(done) - refused, latency(done).p99,
        dict(Counter(sample.what for sample in done)),
    )  # fmt: skip


# ---- processes -------------------------------------------------------------------------------------------------------


class Usage(Struct, frozen=True):
    """What one process has used, at an instant."""

    cpu_s: float
    rss_mb: float
    connections: int = 0


def usage_of(pid: int, *, count_sockets: bool = False) -> Usage | None:
    """Of one process; None when it is gone, or where there is no ``/proc``."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        sockets = _sockets(pid) if count_sockets else 0
    except (OSError, IndexError):
        return None
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE_MB, sockets)


def _sockets(pid: int) -> int:
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += str(entry.readlink()).startswith("socket:")
    return count


def family(pid: int) -> list[int]:
    """A process and all that come from it (a database has many)."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        children[int(fields[1])].append(int(entry.parent.name))
    found = [pid]
    for one in found:
        found.extend(children[one])
    return found


class Moment(Struct, frozen=True):
    """The stack at an instant: CPU seconds used so far and memory, by process name."""

    at_s: float
    by_name: dict[str, Usage]

    @property
    def cpu_s(self) -> float:
        """Of all of them."""
        return sum(usage.cpu_s for usage in self.by_name.values())


def moment(at_s: float, names: dict[str, int], *, count_sockets: bool = False) -> Moment:
    """Look at these processes now; with each come the children that are not named themselves.

    Args:
        at_s: now.
        names: process id by name.
        count_sockets: count what each has open.
    """
    own = set(names.values())
    found: dict[str, Usage] = {}
    for name, pid in names.items():
        relatives = family(pid) if name == "postgres" else [pid]
        parts = [usage_of(one, count_sockets=count_sockets) for one in relatives if one == pid or one not in own]
        alive = [part for part in parts if part is not None]
        if alive:
            found[name] = Usage(
                sum(part.cpu_s for part in alive),
                sum(part.rss_mb for part in alive) if name != "postgres" else alive[0].rss_mb,
                sum(part.connections for part in alive),
            )
    return Moment(at_s, found)


def cpu_used(before: Moment, after: Moment) -> dict[str, float]:
    """Processors used between two moments, by kind of process (``relay-1/hsm-0`` counts as ``hsm``)."""
    span = max(after.at_s - before.at_s, 1e-9)
    used: defaultdict[str, float] = defaultdict(float)
    for name, usage in after.by_name.items():
        earlier = before.by_name.get(name)
        used[kind_of(name)] += max(0.0, usage.cpu_s - (earlier.cpu_s if earlier else 0.0)) / span
    return dict(sorted(used.items(), key=lambda item: -item[1]))


def kind_of(name: str) -> str:
    """The kind of a process by its name."""
    return "hsm" if "/" in name else name.partition("-")[0]


Watch = Callable[[], Moment]
