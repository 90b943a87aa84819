"""The ``signing`` scenario: signatures that wait together, alone, for two keys, while some who asked go away.

In the HSM pool's place stands a judge: each command has as many texts as it may and no more, first come, first served;
nobody waits beside a worker that is free; everybody gets the signature of his own text.
"""

import asyncio
from functools import partial
from typing import Final

from warifu.kernel.errors import Unavailable
from warifu.lab.scenarios.small import small
from warifu.lab.simulation.world import World
from warifu.nodes import signing_together
from warifu.nodes.signing_together import SigningTogether
from warifu.ports.hsm import HsmCommand, HsmReply, ManyBytes, SignMany

ASKERS: Final = 80
LABELS: Final = ("one", "two")
LASTS_MS: Final = (30, 120)
WORK_MS: Final = (1, 12)
GOING: Final = 7
"""One asker in so many goes away."""
FAILS: Final = 15
"""One command in so many."""
DEADLINE_MS: Final = 10_000
ENDS_MS: Final = 1_000


class _Pool:
    """In the place of ``HsmPool``."""

    def __init__(self, world: World) -> None:
        self.size = 1 + world.pick(3)
        self.at_once = (1, 3, 8)[world.pick(3)]
        self.room = (3, 1_000)[world.pick(2)]
        self.came: dict[bytes, int] = {}
        """The texts, in the order in which they came."""
        self.busy = 0
        self._taken = -1
        self._world = world

    async def call(self, command: HsmCommand, deadline_ms: int) -> HsmReply:
        """As the pool's."""
        if not isinstance(command, SignMany) or deadline_ms != DEADLINE_MS:
            raise AssertionError("only signatures are asked for")
        self._judge(command)
        self.busy += 1
        try:
            await asyncio.sleep(self._world.delay_ms(*WORK_MS) / 1000)
        finally:
            self.busy -= 1
        if not self._world.pick(FAILS):
            raise Unavailable("the command failed")
        return ManyBytes(tuple([command.label.encode() + text for text in command.data]))

    def _judge(self, command: SignMany) -> None:
        turns = [self.came[text] for text in command.data]
        if turns != sorted(turns) or turns[0] <= self._taken:
            self._bad("first come, first served", f"{turns} after {self._taken}")
        self._taken = turns[-1]
        if len(turns) > self.at_once:
            self._bad("bounded queues", f"{len(turns)} texts in a command, not {self.at_once}")
        if self.busy >= self.size:
            self._bad("bounded queues", f"{self.busy + 1} commands beside each other")

    def look(self, signing: SigningTogether) -> None:
        """At a quiet instant: who waits does so because all workers are busy."""
        waiting = len(signing._waiting)  # noqa: SLF001 - told nowhere else
        if waiting and self.busy < self.size:
            self._bad("nobody waits beside a free worker", f"{waiting} wait, {self.busy} of {self.size} work")

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, text)


async def drive(world: World, size: int) -> None:
    """Askers of two keys within some milliseconds; then the node ends, and whoever waits is told."""
    pool = _Pool(world)
    signing_together.AT_ONCE = pool.at_once  # type: ignore[misc]  # a run's own limits: small_limits puts them back
    signing_together.WAITING = pool.room  # type: ignore[misc]
    signing = SigningTogether(pool, DEADLINE_MS)  # type: ignore[arg-type]  # it has what is used of a pool
    running = asyncio.create_task(signing.run())
    lasts_ms = LASTS_MS[world.pick(len(LASTS_MS))]
    asking = [asyncio.create_task(_one(world, pool, signing, number, lasts_ms)) for number in range(size)]
    world.look = partial(pool.look, signing)
    await asyncio.sleep(lasts_ms * (1 + world.pick(2)) / 1000)
    world.look = None
    running.cancel()
    await asyncio.wait({running})
    _, waiting = await asyncio.wait(asking, timeout=ENDS_MS / 1000)
    if waiting:
        world.violated("who waits for a part that ends is told", f"{len(waiting)} wait {ENDS_MS} ms later")


async def _one(world: World, pool: _Pool, signing: SigningTogether, number: int, lasts_ms: int) -> None:
    await asyncio.sleep(world.delay_ms(0, lasts_ms) / 1000)
    label, text = LABELS[world.pick(len(LABELS))], b"text %d" % number
    asked = asyncio.create_task(_asked(world, pool, signing, label, text))
    if not world.pick(GOING):
        await asyncio.wait({asked}, timeout=world.delay_ms(0, WORK_MS[1]) / 1000)
        asked.cancel()
    await asyncio.wait({asked})


async def _asked(world: World, pool: _Pool, signing: SigningTogether, label: str, text: bytes) -> None:
    waiting = len(signing._waiting)  # noqa: SLF001 - told nowhere else
    pool.came[text] = len(pool.came)
    try:
        signature = await signing.sign(label, text)
    except Unavailable as error:
        if str(error).startswith("too many") and waiting < pool.room:
            world.violated("bounded queues", f"{waiting} wait, {pool.room} may, and one more is refused")
        return
    if waiting >= pool.room:
        world.violated("bounded queues", f"one more than {pool.room} waits")
    if signature != label.encode() + text:
        world.violated("no answer reaches another caller", f"{signature!r} for {text!r}")


SIGNING: Final = small("signing", drive, ASKERS)
