"""Juki-net relay server (住基ネット中継サーバ): every message is decrypted and encrypted inside the HSM.

It keeps nothing that a message needs: a message carries its session's encapsulated key, so any relay and any HSM worker
can take it. What it counts (its leases: ``domain.admission``) may be lost with it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final, Protocol

import msgspec
from msgspec import Struct

from warifu.contract.center import AbandonOperation, CardsReceived, CloseOperation, Confirmed, ConfirmWrite
from warifu.contract.codec import decode, encode
from warifu.contract.envelope import Envelope, Reply, ServiceClass
from warifu.contract.errors import error_body, error_from
from warifu.contract.health import AskHealth, Health, Work
from warifu.contract.relay import AskedToGo, AskRelayKey, Forward, Forwarded, LetGo, RelayKey
from warifu.domain.admission.leases import Asking, Lease, Leases
from warifu.domain.admission.places import place_of
from warifu.domain.admission.rules import OPENING, Limits
from warifu.domain.cards.errors import OperationEnded
from warifu.domain.messages import SESSION_INFO, context, nonce
from warifu.kernel.errors import ConnectionExcess, DeadlinePassed, Fault, Refused, TryAgain, Unavailable, WarifuError
from warifu.nodes.base import Call, Probe, World, expect
from warifu.nodes.cs import COUNTER
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.hsm import DecryptMessage, EncryptMessage, PublicKey

CENTER: Final = "center"
MESSAGE_KEY: Final = "relay-message"
ALARM_EVERY_MS: Final = 10_000
"""As long as openings are refused, people are told so often; and ``status`` shows it for so long afterwards."""
_ENDING: Final = frozenset({CloseOperation.NAME, AbandonOperation.NAME, CardsReceived.NAME})
"""Answered well, these end their operation."""


class NotCarried(Refused):
    """The message inside is not one that a relay carries, or not of the operation or municipality outside."""

    code = "relay.not_carried"


class LimitPassed(TryAgain):
    """Openings are being refused, or nearly: people should know before they are called."""

    code = "relay.limit_passed"


class Callers(Protocol):
    """The callers' connections to this node."""

    def let_go(self, most: int, sparing: str) -> int:
        """Ask so many to move to another relay, without those of one caller; how many are asked."""


class Relay(WithHsm):
    """One relay with its HSM pool."""

    KIND: ClassVar[str] = "relay"
    WARNINGS = frozenset({"admission"})
    """A full relay does its work: what is amiss is that there is too much of it."""

    def __init__(self, world: World, hsm: HsmPool, limits: Limits) -> None:
        super().__init__(world)
        self.hsm = hsm
        self.leases = Leases(limits)
        self.callers: Callers | None = None
        """Given by whoever serves the node."""
        self.under_way: dict[ServiceClass, int] = {}
        """Messages let in and not answered, by class."""
        self._work = Work()
        self._path_well = True
        """Whether the centre answered when this relay last looked."""
        self._told_ms = -ALARM_EVERY_MS
        self._told_refused = 0
        self.handlers |= {AskRelayKey.NAME: self.key, Forward.NAME: self.forward, LetGo.NAME: self.let_go}

    async def key(self, call: Call) -> RelayKey:
        """The key that sessions are agreed with."""
        return RelayKey(public_key=await self.hsm_bytes(call, PublicKey(MESSAGE_KEY)))

    async def let_go(self, call: Call) -> AskedToGo:
        """Another relay has fewer connections: some of this one's move there."""
        wanted = expect(call.request, LetGo).connections
        asked = self.callers.let_go(wanted, call.envelope.sender) if self.callers is not None else 0
        if asked:
            self.leases.moving(_now_ms())
        self.world.log.info("relay.let_go", wanted=wanted, asked=asked)
        return AskedToGo(connections=asked)

    def parts(self) -> dict[str, Probe]:
        """The HSM, and the path to a centre that does its own work (F14)."""
        return super().parts() | {"path": self._probe_path, "admission": self._probe_admission}

    def work(self) -> Work:
        """Messages passed on."""
        return self._work

    async def _probe_path(self) -> None:
        well = False
        try:
            await self.probe_node(CENTER, "the centre")
            well = True
        finally:
            self._path_well = well

    async def _probe_admission(self) -> None:
        leases = self.leases
        refusing = _now_ms() - leases.refused_ms < ALARM_EVERY_MS
        if refusing or leases.full:
            raise LimitPassed(
                f"{len(leases)} operations of {leases.limits.total}, {len(leases.line)} in line, "
                f"{leases.refused} refused since it started"
            )

    async def forward(self, call: Call) -> Forwarded:
        """Decrypt, admit, pass on to the centre, encrypt the answer."""
        began_ms = _now_ms()
        try:
            forwarded, reply = await self._forward(call)
        except WarifuError as error:
            self._work = counted(self._work, error, _now_ms() - began_ms)
            raise
        self._work = counted(self._work, error_from(reply.error) if reply.error else None, _now_ms() - began_ms)
        return forwarded

    async def _forward(self, call: Call) -> tuple[Forwarded, Reply]:
        request = expect(call.request, Forward)
        info = SESSION_INFO + request.session
        self.hsm.message_session(MESSAGE_KEY, request.session, request.encapsulation, info)
        aad = context(request.session, request.counter)
        decrypt = DecryptMessage(request.session, nonce(0, request.counter), aad, request.ciphertext)
        plain = await self.hsm_bytes(call, decrypt)
        reply = await self._passed_on(call, decode(Envelope, plain), known=request.admitted)
        encrypt = EncryptMessage(request.session, nonce(1, request.counter), aad, encode(reply))
        return Forwarded(ciphertext=await self.hsm_bytes(call, encrypt)), reply

    async def _passed_on(self, call: Call, inner: Envelope, *, known: bool) -> Reply:
        """The centre's reply; an error of ours travels inside the encrypted reply too."""
        reply = await self._answered(call, inner, known=known)
        self.world.log.info(
            "relay.passed",
            operation_id=inner.operation_id,
            step=inner.step,
            message=inner.name,
            service_class=inner.service_class,
            municipality=inner.municipality,
            code=reply.error.code if reply.error else "ok",
        )
        return reply

    async def _answered(self, call: Call, inner: Envelope, *, known: bool) -> Reply:
        try:
            _check(call, inner)
            if inner.name == AskHealth.NAME:
                # A CS tries its session: this was opened in the HSM and gets sealed there. Whether the way goes on from
                # here it is told as well: without a balancer nobody else takes it away from a relay without a centre.
                return Reply(body=encode(Health(ok=self._path_well)))
            async with self._admitted(inner, known=known) as passage:
                remaining = min(inner.remaining_ms, self.remaining_ms(call))
                outward = msgspec.structs.replace(inner, sender=self.world.name, remaining_ms=remaining)
                reply = await self.world.transport.call(CENTER, outward)
                passage.over = _is_over(inner, reply)
                return reply
        except WarifuError as error:
            return Reply(error=error_body(error))

    @asynccontextmanager
    async def _admitted(self, inner: Envelope, *, known: bool) -> AsyncIterator["Passage"]:
        """What is taken here is given back here, whatever happens in between (F2)."""
        kind, passage = inner.service_class, Passage()
        asking = Asking(inner.name, inner.operation_id, kind, inner.municipality, known)
        lease = self._lease(asking)
        self.under_way[kind] = self.under_way.get(kind, 0) + 1
        try:
            yield passage
        finally:
            self.under_way[kind] -= 1
            self.leases.leave(inner.operation_id, lease, _now_ms(), over=passage.over)

    def _lease(self, asking: Asking) -> Lease | None:
        now_ms = _now_ms()
        try:
            return self.leases.enter(asking, now_ms, self.world.entropy.random_bytes(1)[0])
        except ConnectionExcess:
            self._alarm(now_ms)
            raise

    def _alarm(self, now_ms: int) -> None:
        """Tell people, at once and then now and then: how full it is, how many were refused since the last time."""
        if now_ms - self._told_ms < ALARM_EVERY_MS:
            return
        leases = self.leases
        self.world.log.trouble(
            "relay.limit_passed",
            held=len(leases),
            limit=leases.limits.total,
            line=len(leases.line),
            refused=leases.refused - self._told_refused,
        )
        self._told_ms, self._told_refused = now_ms, leases.refused


def counted(work: Work, error: WarifuError | None, took_ms: int) -> Work:
    """With one more message. What the centre itself refuses is a message well passed on."""
    return Work(
        done=work.done + 1,
        refused=work.refused + isinstance(error, ConnectionExcess),
        failed=work.failed + isinstance(error, Fault | Unavailable | DeadlinePassed),
        busy_ms=work.busy_ms + took_ms,
    )


class Passage(Struct):
    """One message on its way through a relay."""

    over: bool = False
    """Its operation ended with it."""


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)


def _is_over(inner: Envelope, reply: Reply) -> bool:
    """Whether nothing more is to come of the operation: it ended well, or it never began."""
    if reply.error is not None or reply.body is None:
        code, kind = (reply.error.code, reply.error.kind) if reply.error else ("", "fault")
        return code == OperationEnded.code or (inner.name in OPENING and kind == "refused")
    if inner.name == ConfirmWrite.NAME:
        return decode(Confirmed, reply.body).closed
    return inner.name in _ENDING


def _check(call: Call, inner: Envelope) -> None:
    """A CS speaks in the operation outside, for the municipality its certificate names, whatever it has sealed."""
    if inner.name not in COUNTER | {AskHealth.NAME} or inner.operation_id != call.operation_id:
        raise NotCarried(inner.name)
    if inner.municipality != place_of(call.envelope.sender) or not inner.municipality:
        raise NotCarried(f"{call.envelope.sender} does not speak for {inner.municipality!r}")
