"""``NetTransport``: the ``Transport`` port over few kept connections, many requests on each."""

import asyncio
import random
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from ssl import SSLContext
from typing import Literal

import msgspec
from msgspec import Struct

from warifu.adapters.net import codec
from warifu.adapters.net.frames import (
    GOAWAY,
    ONCE_ELSEWHERE,
    PING,
    REPLY,
    REQUEST,
    Frame,
    FrameConnection,
    FrameError,
)
from warifu.adapters.net.limits import Limits
from warifu.adapters.net.tls import DOMAIN, NodeTls, client_context, node_name
from warifu.adapters.net.variety import FIRST_PAUSE_S, LONGEST_PAUSE_S, crowded, relieves
from warifu.contract.callers import is_kind
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import DeadlinePassed, Fault, Malformed, NotAllowed, Unavailable, Unreachable, WarifuError

_SHUTDOWN_S = 1.0
PATIENCE_S = 1.5
"""Behind a balancer, callers wait so long for a connection while attempts fail: it may have led to a server that had
just died, which it finds out within a second, and the next attempt leads to another. Nothing has been sent meanwhile,
so this is no retry."""

Affinity = Literal["none", "operation", "order"]

Address = tuple[str, int]


class Destination(Struct, frozen=True, kw_only=True):
    """Where a name is reached."""

    addresses: tuple[Address, ...]
    """Host and port; several share the load, and one that refuses is passed over for a while."""
    accepted: frozenset[str]
    """Names the server's certificate may carry: behind a TCP balancer those of every node it leads to."""
    accepted_kind: str = ""
    """Any node of this kind will do too: behind a balancer nodes come that were not there when this one began."""
    connections: int = 2
    """Kept to each address."""
    affinity: Affinity = "none"
    """``none``: each message takes the connection with the least in flight. ``operation``: messages of one operation
    keep to one connection as long as it lives (a relay's leases). ``order``: messages with one ordering key go to one
    address and nowhere else, even if it is away just then (a CS's workers, each with lanes of its own)."""


class NetTransport:
    """Calls nodes by name. One for a process; close it with ``aclose``.

    A caller that is cancelled leaves nothing behind: its late reply is dropped.

    Args:
        destinations: by the names used in ``call``.
        tls: this node's certificate; its name must be the envelopes' sender.
        limits: bounds of each connection.
        jitter: a number from [0, 1), so that many clients do not come back as one.
    """

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        tls: NodeTls,
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        context = client_context(tls)
        self._routes = {
            name: _Route(name, destination, context, limits or Limits(), jitter)
            for name, destination in destinations.items()
        }

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        """See ``ports.transport``. Also ``Malformed``: the body is too long; ``Fault``: what came is no reply."""
        deadline = asyncio.get_running_loop().time() + envelope.remaining_ms / 1000
        route = self._routes.get(destination)
        if route is None:
            raise Unreachable(f"no address is known for {destination}")
        scope = asyncio.timeout_at(deadline)
        try:
            async with scope:
                key = route.key_of(envelope)
                connection = route.usable(key) or await route.wait_for_usable(key)
                return await self._exchange(connection, envelope, deadline)
        except TimeoutError:
            if not scope.expired():
                raise
            raise DeadlinePassed(f"no reply from {destination} in time") from None

    async def aclose(self) -> None:
        """Close every connection; calls that wait get ``Unavailable``."""
        async with asyncio.TaskGroup() as group:
            for route in self._routes.values():
                group.create_task(route.aclose())

    @staticmethod
    async def _exchange(connection: "_Kept", envelope: Envelope, deadline: float) -> Reply:
        """Nothing awaits between the choice of the connection and the sending: the connection is still usable."""
        left_ms = int((deadline - asyncio.get_running_loop().time()) * 1000)
        if left_ms < 1:
            raise DeadlinePassed("no time left to send the request")
        payload = codec.encode_envelope(msgspec.structs.replace(envelope, remaining_ms=left_ms))
        answer = await connection.exchange(payload)
        try:
            return codec.decode_reply(answer)
        except Malformed as error:
            raise Fault(f"{connection.peer} sent what is {error}") from None


class _Place:
    """One address of a destination, and how it has been of late."""

    def __init__(self, address: Address, limits: Limits, jitter: Callable[[], float]) -> None:
        self.address = address
        self.not_before = 0.0
        self.failing_since: float | None = None
        self._limits = limits
        self._jitter = jitter
        self._failures = 0

    def failed(self, now: float) -> None:
        """Try again later, and later each time."""
        self.failing_since = now if self.failing_since is None else self.failing_since
        longest = min(self._limits.backoff_first_ms * 2 ** min(self._failures, 20), self._limits.backoff_most_ms)
        self.not_before = now + longest * (0.5 + self._jitter() / 2) / 1000
        self._failures += 1

    def succeeded(self) -> None:
        """It serves."""
        self.not_before = 0.0
        self.failing_since = None
        self._failures = 0


class _Slot:
    """Room for one kept connection."""

    def __init__(self, place: _Place, number: int) -> None:
        self.place = place
        self.salt = number.to_bytes(4, "big")
        self.connection: _Kept | None = None
        self.connecting: asyncio.Task[None] | None = None

    @property
    def leads_to(self) -> str:
        """The server at its other end; nothing when there is none to send to."""
        return self.connection.peer if self.connection is not None and self.connection.will_have_room else ""

    @property
    def empty(self) -> bool:
        return self.connecting is None and (self.connection is None or self.connection.gone)


class _Route:
    """The connections to one destination, and the callers who wait for one."""

    def __init__(
        self, name: str, destination: Destination, context: SSLContext, limits: Limits, jitter: Callable[[], float]
    ) -> None:
        self._name = name
        self._destination = destination
        self._context = context
        self._limits = limits
        self._jitter = jitter
        places = [_Place(address, limits, jitter) for address in destination.addresses]
        slots = [place for _ in range(destination.connections) for place in places]
        self._slots = [_Slot(place, number) for number, place in enumerate(slots)]
        self._leaving: set[_Kept] = set()
        """Replaced by another, with requests in flight."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._refusal = "no address"
        self._closed = False
        self._varying: asyncio.TimerHandle | None = None
        self._vary_after_s = FIRST_PAUSE_S
        self._again: asyncio.TimerHandle | None = None
        """Until callers may try to connect once more."""

    def key_of(self, envelope: Envelope) -> bytes:
        """What chooses the message's connection; nothing when any will do."""
        match self._destination.affinity:
            case "none":
                return b""
            case "operation":
                return envelope.operation_id.encode()
            case "order":
                return (envelope.ordering_key or envelope.operation_id).encode()

    def usable(self, key: bytes = b"") -> "_Kept | None":
        """A connection with room: the one that belongs to the key, or the one with the least in flight."""
        if not key:
            return self._least_busy(self._slots)
        if self._destination.affinity == "order":
            return self._least_busy(self._of_address(key))
        return self._nearest(key)

    def _least_busy(self, slots: "Sequence[_Slot]") -> "_Kept | None":
        """Opens one more as long as none is without work."""
        best: _Kept | None = None
        for slot in slots:
            connection = slot.connection
            if (
                connection is not None
                and connection.has_room
                and (best is None or connection.in_flight < best.in_flight)
            ):
                best = connection
        if best is None or best.in_flight:
            self._open_one_more(slots)
        return best

    def _nearest(self, key: bytes) -> "_Kept | None":
        """Rendezvous hashing: when a connection goes, only its own keys move; when it is back, they come back."""
        self._open_one_more(self._slots)
        ranked = sorted(self._slots, key=lambda slot: zlib.crc32(slot.salt, zlib.crc32(key)), reverse=True)
        return next((slot.connection for slot in ranked if slot.connection and slot.connection.has_room), None)

    def _of_address(self, key: bytes) -> "list[_Slot]":
        """The key's address is the same for every caller, in every process, as long as the addresses are."""
        addresses = self._destination.addresses
        chosen = addresses[zlib.crc32(key) % len(addresses)] if addresses else None
        return [slot for slot in self._slots if slot.place.address == chosen]

    async def wait_for_usable(self, key: bytes = b"") -> "_Kept":
        """Wait, when none was usable, until one is. ``Unreachable`` when there is none and none can be made."""
        woken = False
        while self._promising(key):
            await self._wait_for_change(first=woken)
            woken = True
            if (connection := self.usable(key)) is not None:
                return connection
        raise Unreachable(f"{self._name} cannot be reached: {self._refusal}")

    def wake_one(self) -> None:
        """There is room for one; where it matters which one, each must look for itself."""
        if self._destination.affinity == "order":
            self.wake_all()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def wake_all(self) -> None:
        """A connection came, went, or can be written to again."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def replace(self, connection: "_Kept") -> None:
        """Have another in its place, and only then send nothing more on it; where none can be made it stays."""
        slot = next((slot for slot in self._slots if slot.connection is connection), None)
        if slot is not None and slot.connecting is None and not self._closed:
            slot.connecting = asyncio.get_running_loop().create_task(self._connect(slot))

    def _vary(self) -> None:
        """Have a connection elsewhere in the place of one of those that lead to the same server, if there is one."""
        self._varying = None
        slot = self._crowded()
        if slot is not None and slot.connecting is None:
            slot.connecting = asyncio.get_running_loop().create_task(self._connect(slot, elsewhere=True))

    def _vary_later(self) -> None:
        """Behind a balancer alone: without one each address has its own connections."""
        if self._crowded() is None:
            self._vary_after_s = FIRST_PAUSE_S
        elif self._varying is None and not self._closed:
            pause_s = self._vary_after_s * (0.5 + self._jitter() / 2)
            self._varying = asyncio.get_running_loop().call_later(pause_s, self._vary)
            self._vary_after_s = min(LONGEST_PAUSE_S, 2 * self._vary_after_s)

    def _balanced(self) -> bool:
        """Whether a balancer stands at the address, with several servers behind it."""
        return bool(self._destination.accepted_kind) and len(self._destination.addresses) == 1

    def _crowded(self) -> _Slot | None:
        """One of those whose server has too many of ours."""
        if not self._balanced():
            return None
        crowd = crowded(self._peers(), self._destination.accepted)
        return next((slot for slot in self._slots if slot.leads_to == crowd), None) if crowd else None

    def _peers(self) -> list[str]:
        return [slot.leads_to for slot in self._slots if slot.leads_to]

    def _better(self, connection: "_Kept", old: "_Kept | None") -> bool:
        return old is None or not old.will_have_room or relieves(connection.peer, self._peers(), old.peer)

    def forget(self, connection: "_Kept") -> None:
        """It has ended."""
        self._leaving.discard(connection)
        self.wake_all()

    async def aclose(self) -> None:
        """End connections and attempts."""
        self._closed, self._refusal = True, "this transport is closed"
        for timer in (self._varying, self._again):
            if timer is not None:
                timer.cancel()
        attempts = [slot.connecting for slot in self._slots if slot.connecting is not None]
        connections = [slot.connection for slot in self._slots if slot.connection is not None] + list(self._leaving)
        for attempt in attempts:
            attempt.cancel()
        for connection in connections:
            connection.close("this transport is closed")
        self.wake_all()
        ending = [*attempts, *(connection.closed for connection in connections)]
        if ending:
            await asyncio.wait(ending, timeout=2 * _SHUTDOWN_S)
        for connection in connections:
            connection.abort("this transport is closed")

    async def _wait_for_change(self, *, first: bool) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.wake_one()  # the room that was meant for this caller
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _promising(self, key: bytes = b"") -> bool:
        """Whether waiting can help: a connection lives, one is being made, or one may be made in a moment."""
        mine = self._of_address(key) if key and self._destination.affinity == "order" else self._slots
        return not self._closed and (
            self._again is not None
            or any(
                slot.connecting is not None or (slot.connection is not None and slot.connection.will_have_room)
                for slot in mine
            )
        )

    def _open_one_more(self, slots: "Sequence[_Slot]") -> None:
        empty = [slot for slot in slots if slot.empty]
        if self._closed or not empty:
            return
        loop = asyncio.get_running_loop()
        slot = next((slot for slot in empty if slot.place.not_before <= loop.time()), None)
        if slot is not None:
            slot.connecting = loop.create_task(self._connect(slot))

    async def _connect(self, slot: _Slot, *, elsewhere: bool = False) -> None:
        """Fill the slot; ``elsewhere``: only with what leads to a server that has fewer of ours."""
        connection, made = _Kept(self, self._limits, self._destination), False
        try:
            async with asyncio.timeout(self._limits.connect_ms / 1000):
                await self._open(connection, slot.place.address)
        except (OSError, WarifuError) as error:  # TimeoutError and SSLError are OSErrors
            self._refusal = str(error) if isinstance(error, WarifuError) else type(error).__name__
        else:
            made = True
            slot.place.succeeded()
            if elsewhere and not self._better(connection, slot.connection):
                connection.close("it leads where others of ours lead")
            else:
                self._take(slot, connection)
        finally:
            if not made:
                slot.place.failed(asyncio.get_running_loop().time())
                self._again_soon(slot.place)
                connection.abort("could not be opened")
            slot.connecting = None
            self._vary_later()
            self.wake_all()

    def _again_soon(self, place: _Place) -> None:
        """Have whoever waits try once more when the place may be tried, unless it has failed for too long."""
        since = place.failing_since
        if self._closed or not self._balanced() or since is None or self._again is not None:
            return
        if place.not_before <= since + PATIENCE_S:
            self._again = asyncio.get_running_loop().call_at(place.not_before, self._now_again, place)

    def _now_again(self, place: _Place) -> None:
        self._again, place.not_before = None, 0.0
        self.wake_all()

    def _take(self, slot: _Slot, connection: "_Kept") -> None:
        old, slot.connection = slot.connection, connection
        if old is not None and not old.gone:
            self._leaving.add(old)
            old.retire()

    async def _open(self, connection: "_Kept", address: Address) -> None:
        await asyncio.get_running_loop().create_connection(
            lambda: connection,
            address[0],
            address[1],
            ssl=self._context,
            server_hostname=self._name + DOMAIN,
            ssl_shutdown_timeout=_SHUTDOWN_S,
        )
        await connection.greeted


class _Kept(FrameConnection):
    """The client's end of a connection."""

    def __init__(self, route: _Route, limits: Limits, destination: Destination) -> None:
        super().__init__(limits)
        self.peer = ""
        self.greeted: asyncio.Future[None] = self._loop.create_future()
        self.gone = False
        self._route = route
        self._destination = destination
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._forsaken: set[int] = set()
        self._last_id = 0
        self._going_away = False

    @property
    def in_flight(self) -> int:
        """What the server has not answered, whether or not somebody still waits for it."""
        return len(self._pending) + len(self._forsaken)

    @property
    def will_have_room(self) -> bool:
        """Alive and not told to go."""
        return not (self.gone or self._going_away)

    @property
    def has_room(self) -> bool:
        """One more request may be sent now."""
        return self.will_have_room and self.writable and self.in_flight < self.limits.max_in_flight

    def retire(self) -> None:
        """Nothing new is sent on it; it ends with what is in flight."""
        self._going_away = True
        self._route.wake_all()
        if not self._pending:
            self.close("the server asked to go")

    async def exchange(self, payload: bytes) -> bytes:
        """Send a request and wait for its reply. ``Unavailable`` when the connection ends before."""
        self._last_id += 1
        request_id = self._last_id
        waiter: asyncio.Future[bytes] = self._loop.create_future()
        self._pending[request_id] = waiter
        self.send(REQUEST, request_id, payload)
        try:
            return await waiter
        except asyncio.CancelledError:
            if self._pending.pop(request_id, None) is not None and not self.gone:
                self._forsaken.add(request_id)
            raise
        finally:
            if self._going_away and not self._pending:
                self.close("the server asked to go")

    def on_open(self) -> None:
        """See who it is; nothing is sent before the server has greeted."""
        assert self.transport is not None  # noqa: S101 - just made
        try:
            self.peer = node_name(self.transport.get_extra_info("peercert"))
        except NotAllowed as error:
            self.abort(str(error))
            return
        known = self._destination
        if self.peer not in known.accepted and not is_kind(self.peer, known.accepted_kind):
            self.abort(f"the server is {self.peer}")

    def on_frame(self, frame: Frame) -> None:
        """Give a reply to its caller."""
        if not self.greeted.done():
            self.greeted.set_result(None)
        if frame.kind == REPLY:
            self._take_reply(frame)
        elif frame.kind == GOAWAY and frame.request_id == ONCE_ELSEWHERE:
            self._route.replace(self)
        elif frame.kind == GOAWAY:
            self.retire()
        elif frame.kind == REQUEST:
            raise FrameError("a server sends replies")

    def on_writable(self) -> None:
        """Requests may be sent again."""
        self._route.wake_all()

    def on_silence(self, silent_ms: float) -> None:
        """Ask whether the server lives."""
        if silent_ms > 2 * self.limits.ping_ms:
            self.abort("the server does not answer a ping")
        elif silent_ms > self.limits.ping_ms:
            self.send(PING, 0)

    def on_lost(self) -> None:
        """Nobody knows what became of the requests in flight."""
        self.gone = True
        if not self.greeted.done():
            self.greeted.set_exception(Unreachable(self.reason))
            self.greeted.exception()  # seen: an attempt that was given up does not ask
        pending, self._pending = self._pending, {}
        self._forsaken.clear()
        for waiter in pending.values():
            if not waiter.done():
                waiter.set_exception(Unavailable(f"the connection ended before the reply: {self.reason}"))
        self._route.forget(self)

    def _take_reply(self, frame: Frame) -> None:
        if not 0 < frame.request_id <= self._last_id:
            raise FrameError("a reply to no request")
        waiter = self._pending.pop(frame.request_id, None)
        if waiter is None:
            self._forsaken.discard(frame.request_id)
        elif not waiter.done():
            waiter.set_result(frame.payload)
        self._route.wake_one()
