"""A chain of real nodes, and counters that ask it; shared by the tests of relays that come and go."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from warifu.adapters.net.client import NetTransport
from warifu.contract.center import OpenOperation
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.values import ChipStatus
from warifu.kernel.ids import card_id, new_ulid
from warifu.stack import config, control, links
from warifu.stack.home import Home
from warifu.stack.orders import Done, Order, give

PLACE = "131016"
CHAIN = f"""
name = "chain"
database = {{ max_connections = 40, shared_buffers_mb = 16 }}
supervision = {{ probe_every_s = 0.1 }}
balancer = {{ kind = "BALANCER" }}
node = [
  {{ name = "center", kind = "center", hsm = {{ workers = 1 }} }},
  {{ name = "relay-1", kind = "relay", service = "relay", hsm = {{ workers = 1 }} }},
  {{ name = "relay-2", kind = "relay", service = "relay", hsm = {{ workers = 1 }} }},
  {{ name = "cs-{PLACE}", kind = "cs", municipality = "{PLACE}", count = 2 }},
  {{ name = "terminal-{PLACE}", kind = "terminal", municipality = "{PLACE}" }},
]
"""
CALLERS = 8


@contextmanager
def running(home: Home, balancer: str) -> Iterator[None]:
    file = home.root / "chain.toml"
    file.write_text(CHAIN.replace("BALANCER", balancer), "utf-8")
    supervisor = control.start(home, str(file), leashed=True)
    try:
        yield
    finally:
        control.stop(home)
        assert supervisor.wait(20) == 0


class Counters:
    """Terminals that open deliveries of cards nobody has; each must come back with just that answer."""

    def __init__(self, home: Home, *, patient: bool) -> None:
        self._patient = patient
        """Asks again, under its key, when a CS whose budget of retries is used up says so; relays were killed."""
        own = config.read(home, f"terminal-{PLACE}")
        self._name = own.name
        self._transport = NetTransport(links.destinations(own.topology, own.book), links.tls_of(home, own.name))
        self.answers: Counter[str] = Counter()
        self._open = True

    async def during(self, story: Awaitable[None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(CALLERS):
                    group.create_task(self._ask_on(number))
                try:
                    await story
                finally:
                    self._open = False
        finally:
            await self._transport.aclose()

    async def until_more(self, many: int = 50, within_s: float = 30.0) -> None:
        """Until so many more have been answered."""
        enough = self.answers.total() + many
        async with asyncio.timeout(within_s):
            while self.answers.total() < enough:  # noqa: ASYNC110 - counted in many tasks
                await asyncio.sleep(0.01)

    async def _ask_on(self, number: int) -> None:
        for turn in itertools.count(1):
            if not self._open:
                return
            card = card_id(number * 1_000_000 + turn)
            ask = OpenOperation(kind="delivery", card_id=card, chip=ChipStatus(card_id=card, life_state="set_up"))
            envelope = Envelope(
                name=ask.NAME,
                operation_id=new_ulid(turn, number.to_bytes(10, "big")),
                step="open",
                sender=self._name,
                ordering_key=card,
                remaining_ms=30_000,
                service_class="delivery",
                body=encode(ask),
            )
            reply = await self._transport.call(f"cs-{PLACE}", envelope)
            while self._patient and reply.error is not None and reply.error.kind == "try_again":
                reply = await self._transport.call(f"cs-{PLACE}", envelope)
            self.answers[reply.error.code if reply.error else "ok"] += 1


def at_the_counters(home: Home, story: Callable[[], Awaitable[None]]) -> Counter[str]:
    """What counters were answered that asked while the story went on."""
    return _asked(Counters(home, patient=False), lambda _counters: story())


def at_patient_counters(home: Home, story: Callable[[Counters], Awaitable[None]]) -> Counter[str]:
    """The same where relays die or are sick meanwhile; the story may look at the answers."""
    return _asked(Counters(home, patient=True), story)


def _asked(counters: Counters, story: Callable[[Counters], Awaitable[None]]) -> Counter[str]:
    async def main() -> Counter[str]:
        await counters.during(story(counters))
        return counters.answers

    return asyncio.run(main())


async def order(home: Home, verb: str, name: str = "") -> Done:
    return await give(home, Order(verb, name), lambda _text: None)  # type: ignore[arg-type]  # one of three
