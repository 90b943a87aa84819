"""Communication server (市町村CS): one municipality's way to the centre.

* Order: first in, first out per resident's card, in lanes; others pass (F4: no lane ever stops another, and nothing
  here ever blocks itself).
* Retries happen here and nowhere else, from a budget, with jitter, within the time the caller left. What finds no room
  waits here for a moment at most: then the clerk is told when to come back, and may do something else meanwhile.
* What has an effect is recorded before it is sent (``ports.backlog``): after a kill it is delivered, in its card's
  order; and what a chip has done is told to the centre even if that was away too long for the caller.
* Every message is encrypted for the relays' HSMs under a session of this CS; every sending has a counter of its own.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from warifu.contract.codec import REQUESTS, decode, encode
from warifu.contract.envelope import Envelope, Reply, ServiceClass
from warifu.contract.errors import open_reply
from warifu.contract.health import AskHealth, Health
from warifu.contract.relay import AskRelayKey, Forward, Forwarded, RelayKey
from warifu.domain.admission.places import place_of
from warifu.domain.admission.retry import RetryBudget, delay_ms, may_queue
from warifu.domain.admission.rules import OPENING
from warifu.domain.messages import SESSION_INFO, context, nonce
from warifu.kernel.errors import (
    ConnectionExcess,
    DeadlinePassed,
    Fault,
    NotAllowed,
    TryAgain,
    Unavailable,
    WarifuError,
)
from warifu.kernel.ids import new_ulid
from warifu.nodes.base import PATH_MS, Node, Probe, World
from warifu.nodes.hsm_answers import HsmRejected, NoSuchKey, UnknownSession
from warifu.nodes.leftovers import Leftover, Leftovers
from warifu.ports.backlog import Backlog
from warifu.ports.crypto import Crypto

RELAY: Final = "relay"
COUNTER: Final = frozenset(
    {
        "center.receive",
        "center.open",
        "center.write",
        "center.confirm",
        "center.close",
        "center.abandon",
        "center.card",
        "center.cards",
        "center.unsettled",
        "center.holder",
        "center.face",
        "center.search",
        "center.new_form",
        "center.suspend",
        "center.abolish",
        "center.revoke_certificates",
    }
)
"""What a terminal may send to the centre."""
EFFECTS: Final = frozenset(name for name in COUNTER if REQUESTS[name].CHANGES)
"""Of these, what has an effect."""
FACTS: Final = frozenset({"center.confirm"})
"""Says what a chip has done: to be told to the centre whatever becomes of who asked."""
ENDING: Final = frozenset({"center.close", "center.abandon"})
MAX_WAITING: Final = 512
"""Messages in this CS at once, unless it is told otherwise; one more is refused with when to come back."""
MAX_KNOWN: Final = 10_000
"""Operations under way that this CS remembers to have had admitted."""
KEY_MS: Final = 5_000
SESSION_REFUSED: Final = frozenset({HsmRejected.code, NoSuchKey.code, UnknownSession.code})
"""What a relay's HSM says when it does not open a message: its key is another one by now, or it lost the session."""
RESERVE_MS: Final = 50
"""Kept back from the time left, so that the answer still arrives."""


class MessageSession(Struct):
    """One session with the relays' HSMs: the key both sides have, and how many messages were sent under it."""

    session: bytes
    encapsulation: bytes
    cipher: AESGCM
    counter: int = 0

    def next_counter(self) -> int:
        """A counter no other sending has."""
        self.counter += 1
        return self.counter


class Waiting(Struct):
    """How long one message has been tried. Times are the loop's, in seconds."""

    kind: ServiceClass
    since: float
    deadline: float
    attempt: int = 0


class CommunicationServer(Node):
    """The CS of one municipality."""

    KIND: ClassVar[str] = "cs"
    WARNINGS = frozenset({"backlog"})
    """What waits for the centre is shown; that it waits is not the CS's own trouble."""

    def __init__(self, world: World, crypto: Crypto, municipality: str, backlog: Backlog) -> None:
        super().__init__(world)
        self.crypto = crypto
        self.backlog = backlog
        self.leftovers = Leftovers(backlog, world.log)
        self.municipality = municipality
        self.budget = RetryBudget()
        self.max_waiting = MAX_WAITING
        self.waiting = 0
        self._lanes: dict[str, tuple[asyncio.Lock, int]] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._unrecorded: Unavailable | None = None
        """Why the last message with an effect could not be recorded, and so was not sent."""
        self._session: MessageSession | None = None
        self._agreeing = asyncio.Lock()

    async def handle(self, envelope: Envelope) -> Reply:
        """Take a terminal's message to the centre and bring the answer back."""
        if envelope.name == AskHealth.NAME:
            return await super().handle(envelope)
        if envelope.name not in COUNTER:
            raise NotAllowed(f"a CS does not carry {envelope.name}")
        if not envelope.sender.startswith("terminal-") or place_of(envelope.sender) != self.municipality:
            raise NotAllowed(f"{envelope.sender} is no terminal of {self.municipality}")
        if self.waiting >= self.max_waiting:
            raise ConnectionExcess("the CS is full", retry_after_ms=1000, place_in_line=self.waiting)
        self.waiting += 1
        began = _now()
        deadline = began + envelope.remaining_ms / 1000
        code = DeadlinePassed.code
        try:
            async with asyncio.timeout_at(deadline), self.lane(envelope.ordering_key):
                await self.leftovers.gone(envelope.ordering_key)
                reply = await self._recorded(self._stamped(envelope), deadline)
                code = reply.error.code if reply.error else "ok"
                return reply
        except TimeoutError:
            raise DeadlinePassed(envelope.name) from None
        except WarifuError as error:
            code = error.code
            raise
        finally:
            self.waiting -= 1
            self._tell(envelope, code, _now() - began)

    def _tell(self, envelope: Envelope, code: str, took_s: float) -> None:
        """One record of constant size for each message, under the identifier that ties all logs together (F10)."""
        self.world.log.info(
            "cs.carried",
            operation_id=envelope.operation_id,
            step=envelope.step,
            message=envelope.name,
            code=code,
            took_ms=round(took_s * 1000),
        )

    def _stamped(self, envelope: Envelope) -> Envelope:
        """The terminal's word on who and where is not taken: its certificate and this CS's place are."""
        actor = f"{envelope.actor}@{envelope.sender}"[:60]
        return msgspec.structs.replace(envelope, municipality=self.municipality, actor=actor)

    @asynccontextmanager
    async def lane(self, key: str) -> AsyncIterator[None]:
        """Wait for one's turn behind earlier messages with the same key; no key, no waiting."""
        if not key:
            yield
            return
        lock, users = self._lanes.get(key, (None, 0))
        lock = lock or asyncio.Lock()
        self._lanes[key] = (lock, users + 1)
        try:
            async with lock:  # asyncio's lock is first in, first out
                yield
        finally:
            _, users = self._lanes[key]
            if users == 1:
                del self._lanes[key]
            else:
                self._lanes[key] = (lock, users - 1)

    async def _recorded(self, envelope: Envelope, deadline: float) -> Reply:
        """Record what has an effect before it is sent, and settle it when whoever asked is told how it ended."""
        if envelope.name not in EFFECTS:
            return await self._carry(envelope, deadline)
        try:
            number = await self.backlog.keep(encode(envelope))
        except Unavailable as error:
            self._unrecorded = error
            raise
        self._unrecorded, known = None, False
        try:
            reply = await self._carry(envelope, deadline)
        except WarifuError as error:
            known = not isinstance(error, TryAgain) or isinstance(error, ConnectionExcess)
            raise
        else:
            known = True
            return reply
        finally:
            self._ended(number, envelope, known=known or envelope.name not in FACTS)

    def _ended(self, number: int, envelope: Envelope, *, known: bool) -> None:
        """Settled: or left over, when nobody knows whether the centre was told what a chip has done."""
        if known:
            self.backlog.settle(number)
        else:
            self.leftovers.add(Leftover(number, envelope))

    async def run(self) -> None:
        """Deliver what was left over, beside the node's other timers."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self.leftovers.deliver(self._deliver))

    async def _deliver(self, envelope: Envelope) -> Reply:
        """One try for a leftover; ``TryAgain`` when it is not over."""
        reply = await self._send(envelope, _now() + envelope.remaining_ms / 1000)
        if reply.error is not None and reply.error.kind == "try_again":
            raise _as_error(reply)
        self._remember(envelope, reply)
        return reply

    async def _carry(self, envelope: Envelope, deadline: float) -> Reply:
        waiting = Waiting(envelope.service_class, _now(), deadline)
        while True:
            try:
                reply = await self._send(envelope, deadline)
            except TryAgain as error:
                await self._before_retry(error, waiting)
                continue
            if reply.error is not None and reply.error.kind == "try_again":
                await self._before_retry(_as_error(reply), waiting)
                continue
            self.budget = self.budget.earn()
            self._remember(envelope, reply)
            return reply

    def _remember(self, envelope: Envelope, reply: Reply) -> None:
        """Which operations the centre has opened: taken up again after a break, they need no new place."""
        if reply.error is not None:
            return
        if envelope.name in OPENING:
            self._known[envelope.operation_id] = None
            self._known.move_to_end(envelope.operation_id)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        elif envelope.name in ENDING:
            self._known.pop(envelope.operation_id, None)

    async def _before_retry(self, error: TryAgain, waiting: "Waiting") -> None:
        """Wait before another try; raise the error when there is no time or no budget for it."""
        waiting.attempt += 1
        jitter = self.world.entropy.random_bytes(1)[0]
        wait_ms = delay_ms(waiting.attempt, getattr(error, "retry_after_ms", 0), jitter)
        if isinstance(error, ConnectionExcess):
            waited_ms = int((_now() - waiting.since) * 1000)
            if not may_queue(waiting.kind, waited_ms, wait_ms):
                raise error
        budget = self.budget.spend()
        if budget is None or _now() + (wait_ms + RESERVE_MS) / 1000 >= waiting.deadline:
            raise error
        self.budget = budget
        await asyncio.sleep(wait_ms / 1000)

    async def _send(self, envelope: Envelope, deadline: float) -> Reply:
        session = await self._agreed()
        left = int((deadline - _now()) * 1000) - RESERVE_MS
        if left <= 0:
            raise DeadlinePassed(envelope.name)
        counter = session.next_counter()
        inner = encode(msgspec.structs.replace(envelope, remaining_ms=left))
        request = Forward(
            session=session.session,
            encapsulation=session.encapsulation,
            counter=counter,
            ciphertext=session.cipher.encrypt(nonce(0, counter), inner, context(session.session, counter)),
            admitted=envelope.operation_id in self._known,
        )
        outer = msgspec.structs.replace(
            envelope, name=Forward.NAME, sender=self.world.name, remaining_ms=left, body=encode(request)
        )
        with self._refused_session(session):
            forwarded = await self.exchange(RELAY, outer, Forwarded)
        return self._opened(session, counter, forwarded.ciphertext)

    def _opened(self, session: MessageSession, counter: int, ciphertext: bytes) -> Reply:
        try:
            plain = session.cipher.decrypt(nonce(1, counter), ciphertext, context(session.session, counter))
        except InvalidTag:
            self._drop(session)
            raise Unavailable("the relay's answer does not open: a new session is agreed") from None
        return decode(Reply, plain)

    @contextmanager
    def _refused_session(self, session: MessageSession | None = None) -> Iterator[None]:
        """No message is refused because a relay's HSM does not open it: it is sealed anew under a new session."""
        try:
            yield
        except WarifuError as error:
            if error.code not in SESSION_REFUSED:
                raise
            self._drop(session)
            raise Unavailable(f"the relay's HSM says {error.code}: a new session is agreed") from None

    def _drop(self, session: MessageSession | None) -> None:
        """Not to be used again; one that was agreed meanwhile stays."""
        if self._session is session:
            self._session = None

    async def _agreed(self) -> MessageSession:
        """The session; key material is read once, not for each message."""
        async with self._agreeing:
            if self._session is None:
                key = await self._relay_key()
                session_id = self.world.entropy.random_bytes(16)
                shared = self.crypto.agree(key, SESSION_INFO + session_id)
                self._session = MessageSession(session_id, shared.encapsulation, AESGCM(shared.key))
            return self._session

    async def _relay_key(self) -> bytes:
        envelope = self._own_envelope(AskRelayKey.NAME, encode(AskRelayKey()), "cs")
        with self._refused_session():
            return (await self.exchange(RELAY, envelope, RelayKey)).public_key

    def _own_envelope(self, name: str, body: bytes, step: str) -> Envelope:
        return Envelope(
            name=name,
            operation_id=new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(10)),
            step=step,
            sender=self.world.name,
            municipality=self.municipality,
            remaining_ms=KEY_MS,
            body=body,
        )

    def parts(self) -> dict[str, Probe]:
        """The path: a relay whose HSM opens this CS's messages."""
        return super().parts() | {"path": self._probe_path, "backlog": self._probe_backlog}

    async def _probe_backlog(self) -> None:
        if self._unrecorded is not None:
            raise type(self._unrecorded)(str(self._unrecorded))
        if self.leftovers:
            raise Unavailable(f"{len(self.leftovers)} messages wait to be told to the centre")

    async def _probe_path(self) -> None:
        """One sealed message, which the relay answers itself; it says whether it reaches a centre."""
        envelope = self._own_envelope(AskHealth.NAME, encode(AskHealth()), "health")
        if not open_reply(await self._send(envelope, _now() + PATH_MS / 1000), Health).ok:
            raise Unavailable("the relay does not reach a centre")


def _now() -> float:
    """The loop's clock: deadlines do not move when the wall clock does."""
    return asyncio.get_running_loop().time()


def _as_error(reply: Reply) -> TryAgain:
    try:
        open_reply(reply, RelayKey)
    except TryAgain as error:
        return error
    raise Fault("a reply that asks to try again holds no such error")
