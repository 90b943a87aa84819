"""Who asks: a counter that sends a request again, under the same key, until it is answered."""

import asyncio
from typing import TYPE_CHECKING, TypeVar

import msgspec

from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope, ServiceClass
from warifu.contract.errors import open_reply
from warifu.contract.message import Answer, Request
from warifu.kernel.errors import Refused, TryAgain
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.lab.simulation.keys import EPOCH_MS, SeededEntropy

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

A = TypeVar("A", bound=Answer)
PATIENCE_MS = (60, 400, 5000)
BACKOFF_MS = (1, 400)


class Driver:
    """One counter. It cannot be killed; it can be cut off.

    Args:
        name: as sender, e.g. ``registry-1``; its kind must be one that may ask.
        patience_ms: how long it waits for an answer before it asks again; drawn when 0.
        calm_ms: the same once the storm is over; as before when 0.
    """

    def __init__(self, world: "World", name: str, patience_ms: int = 0, calm_ms: int = 0) -> None:
        self._world = world
        self._name = name
        self._entropy = SeededEntropy(world.plan.seed, name)
        self._patience_ms = patience_ms or PATIENCE_MS[world.pick(len(PATIENCE_MS))]
        self._calm_ms = calm_ms or self._patience_ms
        world.network.join(name)

    def operation_id(self) -> str:
        """A fresh one."""
        return new_ulid(EPOCH_MS + self._world.loop.now_ms, self._entropy.random_bytes(ULID_RANDOM_BYTES))

    async def ask(
        self,
        destination: str,
        request: Request,
        answer: type[A],
        *,
        operation_id: str,
        step: str,
        order: str = "",
        service_class: ServiceClass = "delivery",
    ) -> A | Refused:
        """Send until answered, coming back when one is told to. A refusal is an answer too."""
        envelope = Envelope(
            name=request.NAME,
            operation_id=operation_id,
            step=step,
            sender=self._name,
            ordering_key=order,
            service_class=service_class,
            remaining_ms=self._patience_ms,
            body=encode(request),
        )
        self._record("invoke", destination, envelope, "")
        while True:
            patience_ms = self._calm_ms if self._world.dice.calm else self._patience_ms
            envelope = msgspec.structs.replace(envelope, remaining_ms=patience_ms)
            try:
                reply = await self._world.network.call(self._name, destination, envelope)
                result = open_reply(reply, answer)
            except TryAgain as error:
                told_ms: int = getattr(error, "retry_after_ms", 0)
                await asyncio.sleep((told_ms + self._world.delay_ms(*BACKOFF_MS)) / 1000)
            except Refused as refusal:
                self._record("answer", destination, envelope, refusal.code)
                return refusal
            else:
                self._record("answer", destination, envelope, "ok", getattr(result, "outcome", ""))
                return result

    def _record(self, kind: str, destination: str, envelope: Envelope, outcome: str, detail: str = "") -> None:
        self._world.record(
            "invoke" if kind == "invoke" else "answer",
            self._name,
            peer=destination,
            operation_id=envelope.operation_id,
            step=envelope.step,
            name=envelope.name,
            ordering_key=envelope.ordering_key,
            outcome=outcome,
            detail=detail,
        )
