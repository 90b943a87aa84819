"""Juki-net relay server (住基ネット中継サーバ): every message is decrypted and encrypted inside the HSM.

It keeps nothing: a message carries its session's encapsulated key, so any relay and any HSM worker can take it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final

import msgspec

from warifu.contract.codec import decode, encode
from warifu.contract.envelope import Envelope, Reply, ServiceClass
from warifu.contract.errors import error_body
from warifu.contract.health import AskHealth, Health
from warifu.contract.relay import AskRelayKey, Forward, Forwarded, RelayKey
from warifu.domain.admission.places import place_of
from warifu.domain.admission.rules import Limits, admit
from warifu.domain.messages import SESSION_INFO, context, nonce
from warifu.kernel.errors import Refused, WarifuError
from warifu.nodes.base import Call, Probe, World, expect
from warifu.nodes.cs import COUNTER
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.hsm import DecryptMessage, EncryptMessage, PublicKey

CENTER: Final = "center"
MESSAGE_KEY: Final = "relay-message"


class NotCarried(Refused):
    """The message inside is not one that a relay carries, or not of the operation or municipality outside."""

    code = "relay.not_carried"


class Relay(WithHsm):
    """One relay with its HSM pool."""

    KIND: ClassVar[str] = "relay"

    def __init__(self, world: World, hsm: HsmPool, limits: Limits) -> None:
        super().__init__(world)
        self.hsm = hsm
        self.limits = limits
        self.under_way: dict[ServiceClass, int] = {}
        self.handlers |= {AskRelayKey.NAME: self.key, Forward.NAME: self.forward}

    async def key(self, call: Call) -> RelayKey:
        """The key that sessions are agreed with."""
        return RelayKey(public_key=await self.hsm_bytes(call, PublicKey(MESSAGE_KEY)))

    def parts(self) -> dict[str, Probe]:
        """The HSM, and the path to a centre that does its own work (F14)."""
        return super().parts() | {"path": self._probe_path}

    async def _probe_path(self) -> None:
        await self.probe_node(CENTER, "the centre")

    async def forward(self, call: Call) -> Forwarded:
        """Decrypt, admit, pass on to the centre, encrypt the answer."""
        request = expect(call.request, Forward)
        info = SESSION_INFO + request.session
        self.hsm.message_session(MESSAGE_KEY, request.session, request.encapsulation, info)
        aad = context(request.session, request.counter)
        decrypt = DecryptMessage(request.session, nonce(0, request.counter), aad, request.ciphertext)
        plain = await self.hsm_bytes(call, decrypt)
        reply = await self._passed_on(call, decode(Envelope, plain))
        encrypt = EncryptMessage(request.session, nonce(1, request.counter), aad, encode(reply))
        return Forwarded(ciphertext=await self.hsm_bytes(call, encrypt))

    async def _passed_on(self, call: Call, inner: Envelope) -> Reply:
        """The centre's reply; an error of ours travels inside the encrypted reply too."""
        reply = await self._answered(call, inner)
        self.world.log.info(
            "relay.passed",
            operation_id=inner.operation_id,
            step=inner.step,
            message=inner.name,
            code=reply.error.code if reply.error else "ok",
        )
        return reply

    async def _answered(self, call: Call, inner: Envelope) -> Reply:
        try:
            _check(call, inner)
            if inner.name == AskHealth.NAME:
                # A CS tries its session: it is well if this was opened in the HSM and gets sealed there.
                return Reply(body=encode(Health(ok=True)))
            async with self._admitted(inner):
                remaining = min(inner.remaining_ms, self.remaining_ms(call))
                outward = msgspec.structs.replace(inner, sender=self.world.name, remaining_ms=remaining)
                return await self.world.transport.call(CENTER, outward)
        except WarifuError as error:
            return Reply(error=error_body(error))

    @asynccontextmanager
    async def _admitted(self, inner: Envelope) -> AsyncIterator[None]:
        kind = inner.service_class
        admit(inner.name, kind, self.under_way, self.limits, self.world.entropy.random_bytes(1)[0])
        self.under_way[kind] = self.under_way.get(kind, 0) + 1
        try:
            yield
        finally:
            self.under_way[kind] -= 1


def _check(call: Call, inner: Envelope) -> None:
    """A CS speaks in the operation outside, for the municipality its certificate names, whatever it has sealed."""
    if inner.name not in COUNTER | {AskHealth.NAME} or inner.operation_id != call.operation_id:
        raise NotCarried(inner.name)
    if inner.municipality != place_of(call.envelope.sender) or not inner.municipality:
        raise NotCarried(f"{call.envelope.sender} does not speak for {inner.municipality!r}")
