"""The core of a card write (F6): the real centre over the memory twin, a chip of three fields, and two runs.

The first terminal holds the card; in the middle of its work the card is put into another reader, where the same
operation is taken up again. Every request comes twice, and an opening from before arrives late. Scripts are made by a
stand-in: only who wrote what counts.
"""

import asyncio
import datetime
import hashlib
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import msgspec

from warifu.adapters.store.memory import MemoryStore
from warifu.contract.center import Confirmed, ConfirmWrite, Opened, OpenOperation, PrepareWrite, Script
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.errors import open_reply
from warifu.contract.message import Answer, Request
from warifu.contract.registry import Identity
from warifu.contract.values import ChipStatus, Person
from warifu.domain.cards.records import Card, CardWrite
from warifu.kernel.errors import Refused, TryAgain, Unavailable, WarifuError
from warifu.kernel.ids import card_id, new_ulid
from warifu.lab.scenarios.core import envelope, injected
from warifu.lab.simulation.cards import Drawings
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.lab.simulation.world import World
from warifu.nodes.center.node import RECORDS, Center
from warifu.nodes.center.scripts import Job, MadeScript
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.hsm import HsmWorker
from warifu.ports.reader import CardGone
from warifu.ports.store import Change, Insert

A = TypeVar("A", bound=Answer)

PLACE: Final = "131016"
CARD: Final = card_id(1)
VARIANTS: Final = 15
"""The card is put into the other reader at the second, third ... millisecond; copies are late by 1, 3 or 5."""
LATE: Final = 3
TURNS: Final = 6
WAY_MS: Final = 1
"""How long a message is on its way."""
_PERSON: Final = Person(
    name="割符　一子",
    kana="ワリフ　カズコ",
    birth_date=datetime.date(1980, 2, 17),
    sex="female",
    address="東京都千代田区丸の内１－２",
    municipality=PLACE,
)


class Chip:
    """A chip in one reader at a time: the last commit, and the challenge of the channel that was begun last."""

    def __init__(self) -> None:
        self.holder = 0
        self.challenge = b""
        self.life: str = "made"
        self.write_id = ""
        self.digest = b""
        self.commits: list[str] = []

    def require(self, holder: int) -> None:
        """``CardGone`` when it is in another reader."""
        if self.holder != holder:
            raise CardGone("the card is in another reader")

    def status(self, holder: int) -> ChipStatus:
        """What it says of itself."""
        self.require(holder)
        return ChipStatus(
            card_id=CARD,
            life_state="set_up" if self.write_id else "made",
            write_id=self.write_id or None,
            write_digest=self.digest,
        )

    def begin(self, holder: int, challenge: bytes) -> None:
        """A channel."""
        self.require(holder)
        self.challenge = challenge

    def commit(self, holder: int, script: Script, challenge: bytes) -> None:
        """A script of another channel is not understood and changes nothing."""
        self.require(holder)
        if self.challenge == challenge:
            self.write_id, self.digest = script.write_id, script.digest
            self.commits.append(script.write_id)


class Scripts:
    """In the place of the script maker: each script has its digest, and is for one channel."""

    async def identity(self, job: Job, purpose: str) -> Identity:
        """As the script maker's."""
        del purpose
        code = "12345678901"
        return Identity(
            resident_id=job.card.resident_id, resident_code=code, person=_PERSON, registered=True, resident_version=1
        )

    async def at_counter(self, job: Job) -> MadeScript:
        """As the script maker's."""
        return MadeScript((), _digest(job.write_id, job.host_challenge))


def _digest(write_id: str, challenge: bytes) -> bytes:
    return hashlib.sha256(write_id.encode() + challenge).digest()


class NoWorkers:
    """Nobody asks an HSM here."""

    async def spawn(self, name: str) -> HsmWorker:
        """See ``HsmFactory``."""
        raise Unavailable(name)


class Run:
    """One terminal's run over the operation."""

    def __init__(
        self, world: World, center: Center, chip: Chip, number: int, variant: int, *, strict: bool = True
    ) -> None:
        self._world = world
        self._strict = strict
        self._variant = variant
        self._center = center
        self._chip = chip
        self._number = number
        self._copies: list[asyncio.Task[Reply]] = []

    async def work(self) -> bool:
        """Until the write is finished (True), or the card is gone, or another run overtook this one."""
        for turn in range(TURNS):
            try:
                return await self._once(turn)
            except TryAgain:
                if self._chip.holder != self._number:
                    return False
            except Refused as refusal:
                if self._strict and self._chip.holder == self._number and turn == TURNS - 1:
                    self._world.violated("no card ever needs reissue", f"{refusal.code}: {refusal}")
            await asyncio.sleep(WAY_MS / 1000)
        return False

    async def _once(self, turn: int) -> bool:
        chip, number = self._chip, self._number
        opening = OpenOperation(kind="setup", card_id=CARD, pins=(), chip=chip.status(number))
        opened = await self._tell(opening, Opened, f"open.{turn}")
        challenge, position = opened.host_challenge, opened.next_step
        if opened.pending_write:
            settled = await self._confirm(opened.pending_write, chip.status(number), f"pending.{turn}")
            challenge, position = settled.host_challenge, settled.next_step
        if position == len(opened.plan):
            return True
        chip.begin(number, challenge)
        prepare = PrepareWrite(
            card_id=CARD,
            step_name=opened.plan[position].name,
            chip=chip.status(number),
            issuer_update=b"update",
            host_challenge=challenge,
        )
        script = await self._tell(prepare, Script, f"write.{turn}")
        await asyncio.sleep(WAY_MS / 1000)
        if script.digest != _digest(script.write_id, challenge):
            self._world.violated("a script is for the channel it was asked for", script.write_id)
        chip.commit(number, script, challenge)
        if turn == 0 and number == 1:
            await self._lied(script.write_id, chip.status(number))
        confirmed = await self._confirm(script.write_id, chip.status(number), f"confirm.{turn}")
        return confirmed.result == "finished"

    async def _lied(self, write_id: str, status: ChipStatus) -> None:
        """A chip that says it has the write, but committed something else, is not believed."""
        lie = msgspec.structs.replace(status, write_id=write_id, write_digest=bytes(32))
        request = ConfirmWrite(card_id=CARD, write_id=write_id, chip=lie)
        asked = envelope(
            request.NAME, encode(request), number=1, step=f"{self._number}.lie", sender="relay-1", municipality=PLACE
        )
        with suppress(Refused, TryAgain):
            await self._center.handle(asked)
            self._world.violated("a script's digest is the journal's", write_id)

    async def _confirm(self, write_id: str, status: ChipStatus, part: str) -> Confirmed:
        return await self._tell(ConfirmWrite(card_id=CARD, write_id=write_id, chip=status), Confirmed, part)

    async def _tell(self, request: Request, answer: type[A], part: str) -> A:
        """Twice; the first answer counts, and the second is the same or says that it came too late."""
        asked = envelope(
            request.NAME, encode(request), number=1, step=f"{self._number}.{part}", sender="relay-1", municipality=PLACE
        )
        second = asyncio.create_task(self._copy(asked))
        await asyncio.sleep(WAY_MS / 1000)
        try:
            first = await self._center.handle(asked)
        except WarifuError:
            self._copies.append(second)
            raise
        self._copies.append(second)
        second.add_done_callback(partial(self._compare, first, part))
        return open_reply(first, answer)

    async def _copy(self, asked: Envelope) -> Reply:
        """The same message, that lay longer on its way."""
        await asyncio.sleep((WAY_MS + 1 + 2 * (self._variant % LATE)) / 1000)
        return await self._center.handle(asked)

    def _compare(self, first: Reply, part: str, second: asyncio.Task[Reply]) -> None:
        error = second.exception()
        if error is None and second.result() != first:
            self._world.violated("same answer for the same key", part)
        elif error is not None and not isinstance(error, WarifuError):
            self._world.violated("no fault", f"{part}: {error}")

    async def over(self) -> None:
        """What was on its way has arrived."""
        if self._copies:
            await asyncio.wait(self._copies)
        for copy in self._copies:
            copy.exception()  # looked at: a copy may be told that it came too late


async def card_write(world: World, variant: int) -> None:
    """See the module."""
    store = MemoryStore(RECORDS)
    await store.commit(Change(now_ms=EPOCH_MS, writes=(Insert(received()),)))
    center = Center(injected(world, "center-1"), store, HsmPool(NoWorkers(), "center-1/hsm", 0), Drawings())
    center.scripts = Scripts()  # type: ignore[assignment]  # what is looked at does not depend on what it makes
    chip = Chip()
    chip.holder = 1

    taken_ms = 1 + variant // LATE
    runs = [Run(world, center, chip, number, variant) for number in (1, 2)]

    async def second() -> bool:
        await asyncio.sleep(taken_ms / 1000)
        chip.holder = 2
        return await runs[1].work()

    async with asyncio.TaskGroup() as group:
        group.create_task(_stray(center, chip.status(1), taken_ms + 1 + 2 * (variant % LATE)))
        group.create_task(runs[0].work())
        done = group.create_task(second())
    for run in runs:
        await run.over()
    _judge(world, store, chip, done=done.result())


async def _stray(center: Center, before: ChipStatus, at_ms: int) -> None:
    """An opening that a run before these sent, and gave up: it says how the chip was then, and arrives only now."""
    opening = OpenOperation(kind="setup", card_id=CARD, pins=(), chip=before)
    asked = envelope(opening.NAME, encode(opening), number=1, step="0.open", sender="relay-1", municipality=PLACE)
    await asyncio.sleep(at_ms / 1000)
    with suppress(Refused, TryAgain):
        await center.handle(asked)


def received() -> Card:
    """A card that lies at its counter."""
    resident = new_ulid(EPOCH_MS, bytes([7] * 10))
    return Card(
        card_id=CARD,
        application_id="1" * 23,
        resident_id=resident,
        live_resident_id=resident,
        municipality=PLACE,
        state="received",
        wants_signature=True,
        wants_authentication=True,
        has_signature=True,
        has_authentication=True,
        issued_on=datetime.date(2026, 4, 1),
        expires_on=datetime.date(2036, 2, 17),
        changed_ms=EPOCH_MS,
    )


def _judge(world: World, store: MemoryStore, chip: Chip, *, done: bool) -> None:
    card = next(row for row in store.records(Card) if isinstance(row, Card))
    writes = [row for row in store.records(CardWrite) if isinstance(row, CardWrite)]
    finished = [write.write_id for write in writes if write.state == "finished"]
    if not done:
        world.violated("no card ever needs reissue", f"the second run did not come to its end: {chip.commits}")
    if any(write.state == "intent" for write in writes):
        world.violated("every card write is settled", str([write.state for write in writes]))
    if card.write_id != chip.write_id or card.state != "set_up":
        world.violated("chip equals record", f"record {card.write_id} {card.state}, chip {chip.write_id}")
    if finished != [chip.write_id] or len(chip.commits) != 1:
        world.violated("exactly one effect per request", f"{len(finished)} finished, {len(chip.commits)} commits")
