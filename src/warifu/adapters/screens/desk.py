"""The desk: operations begun at this terminal's screens, run in the background, recorded so that none is lost.

A run that breaks leaves its work ``broken``, ``unknown`` or ``busy``; the same work is taken up again here or at any
other terminal of the municipality. Nothing here retries by itself: a person does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar, cast

import msgspec
from msgspec import Struct

from warifu.adapters.screens.seats import Ask, Batch, Seat, Seats
from warifu.adapters.screens.trail import Trail
from warifu.contract.center import AskCard, CardView
from warifu.contract.envelope import Envelope
from warifu.contract.message import Answer, Request
from warifu.contract.terminal import ChangePin, GiveUpOperation, Performed, PerformOperation
from warifu.contract.values import CardId, OperationKind, PinName
from warifu.domain.cards.errors import OperationEnded
from warifu.domain.counter import rules
from warifu.domain.counter.errors import CardNotHere, NotAsked
from warifu.domain.counter.records import Staff, Work
from warifu.kernel.errors import ConnectionExcess, NotFound, WarifuError
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid, parse_operation_id
from warifu.nodes.base import Call
from warifu.nodes.terminal import Progress, Terminal
from warifu.ports.store import Change, Find, Get, Insert, Store, Update

RUN_MS: Final = 90_000
ASK_MS: Final = 10_000
BEAT_S: Final = 4.0
"""How often a terminal says in the record that its run goes on."""
TAKE_OVER_MS: Final = 15_000
"""A run that was not heard of for so long may be taken over. Should it go on after all, the centre ends it: only the
last that took an operation up can write (``operation.taken_up_again``)."""
MAX_WORKS: Final = 200
SHOW_EVERY: Final = 8
"""Chip commands between two pictures of the progress."""

A = TypeVar("A", bound=Answer)


class Busy(Struct, frozen=True):
    """The centre had no room: where one stands, and when to come back."""

    place_in_line: int
    until_ms: int


class Live:
    """A run that is under way at this terminal."""

    def __init__(self, seat: Seat, work: Work) -> None:
        self.seat = seat
        self.work = work
        self.saving = asyncio.Lock()
        self.progress: Progress | None = None


class Desk:
    """One terminal's desk.

    Args:
        terminal: works on the cards.
        store: of schema ``counter``.
        seats: who is told of progress.
        trail: where deeds are recorded.
    """

    def __init__(self, terminal: Terminal, store: Store, seats: Seats, trail: Trail) -> None:
        self.terminal = terminal
        self.store = store
        self.seats = seats
        self.trail = trail
        self.live: dict[str, Live] = {}
        self.busy: dict[str, Busy] = {}
        self._group: asyncio.TaskGroup | None = None
        terminal.watch = self._show

    async def run(self) -> None:
        """Hold the runs, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            while True:
                await asyncio.sleep(BEAT_S)
                for live in tuple(self.live.values()):
                    await self._beat(live)

    async def _beat(self, live: Live) -> None:
        """Say that a run goes on: another terminal takes over what was not heard of."""
        async with live.saving:
            if live.work.operation_id not in self.live:
                return
            try:
                live.work = await self._save(msgspec.structs.replace(live.work, changed_ms=self.now_ms))
            except WarifuError as error:
                self.terminal.world.log.info("screens.no_beat", operation_id=live.work.operation_id, code=error.code)

    # ---- asking --------------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        return self.terminal.world.clock.now_ms()

    def new_id(self) -> str:
        """A fresh operation id."""
        world = self.terminal.world
        return new_ulid(world.clock.now_ms(), world.entropy.random_bytes(ULID_RANDOM_BYTES))

    def call(self, request: Request, staff: Staff, operation_id: str = "", remaining_ms: int = ASK_MS) -> Call:
        """A request of a person's at this terminal."""
        envelope = Envelope(
            name=request.NAME,
            operation_id=operation_id or self.new_id(),
            step=request.NAME.partition(".")[2],
            sender=self.terminal.world.name,
            remaining_ms=remaining_ms,
            actor=staff.login,
            body=b"",  # the terminal is in this process: what it is given does not travel
        )
        deadline = asyncio.get_running_loop().time() + remaining_ms / 1000
        return Call(envelope, request, self.now_ms, deadline)

    async def ask(self, request: Request, answer: type[A], staff: Staff, operation_id: str = "") -> A:
        """Ask the centre for a person."""
        return await self.terminal.inquire(self.call(request, staff, operation_id), request, answer)

    # ---- work ----------------------------------------------------------------------------------------------------

    async def find(self, operation_id: str, staff: Staff) -> Work:
        """A piece of work of the person's municipality. ``NotFound`` for any other, ``Malformed`` for no number."""
        work = (await self.store.read(Get(Work, (parse_operation_id(operation_id),)))).one(0, Work)
        if work is None or work.municipality != staff.municipality:
            raise NotFound("work")
        return work

    async def open_works(self, municipality: str) -> tuple[Work, ...]:
        """Work that is not over, oldest first."""
        reads = [Find(Work, {"municipality": municipality, "state": state}, MAX_WORKS) for state in rules.OPEN_STATES]
        snapshot = await self.store.read(*reads)
        found = [work for number in range(len(reads)) for work in snapshot.all(number, Work)]
        return tuple(sorted(found, key=lambda work: work.operation_id))

    async def works_of(self, municipality: str, card_id: str) -> tuple[Work, ...]:
        """Work that is not over on a card."""
        snapshot = await self.store.read(Find(Work, {"municipality": municipality, "card_id": card_id}, MAX_WORKS))
        return tuple(work for work in snapshot.all(0, Work) if work.state in rules.OPEN_STATES)

    def is_running(self, work: Work) -> bool:
        """Whether a run is under way: here, or (as far as is known) at another terminal."""
        if work.state != "running":
            return False
        if work.terminal == self.terminal.world.name:
            return work.operation_id in self.live
        return self.now_ms < work.changed_ms + TAKE_OVER_MS

    async def begin(
        self,
        seat: Seat,
        staff: Staff,
        kind: OperationKind,
        card_id: CardId,
        *,
        checks: frozenset[str] = frozenset(),
        reset_pins: tuple[PinName, ...] = (),
    ) -> Work:
        """Record a piece of work and start on it.

        Raises:
            ChecksMissing: the documents were not all checked.
            CardNotHere: the card is not on the reader.
        """
        checked = rules.require_checked(kind, checks)
        self._require_here(seat, card_id)
        work = Work(
            operation_id=self.new_id(),
            municipality=staff.municipality,
            kind=kind,
            card_id=card_id,
            reset_pins=reset_pins,
            checks=checked,
            state=rules.first_state(kind),
            staff=staff.login,
            terminal=self.terminal.world.name,
            began_ms=self.now_ms,
            changed_ms=self.now_ms,
        )
        purpose = f"operation.{kind}"
        trace = self.trail.trace(
            staff, work.terminal, "work.begin", card_id, purpose=purpose, operation_id=work.operation_id
        )
        await self.store.commit(trace.with_writes(Insert(work)))
        work = msgspec.structs.replace(work, version=1)
        self._go_on(seat, staff, work)
        return work

    async def resume(self, seat: Seat, staff: Staff, work: Work) -> Work:
        """Take work up again, whoever began it, at whichever terminal."""
        if work.state not in rules.OPEN_STATES or self.is_running(work):
            return work
        self._require_here(seat, work.card_id)
        proving = rules.kind_of(work) in rules.PROVES
        state = "proof" if proving else "running"
        taken = await self._save(self._mine(work, staff, state))
        self._go_on(seat, staff, taken)
        return taken

    def _mine(self, work: Work, staff: Staff, state: str) -> Work:
        here = self.terminal.world.name
        return msgspec.structs.replace(work, state=state, staff=staff.login, terminal=here, changed_ms=self.now_ms)

    def _go_on(self, seat: Seat, staff: Staff, work: Work) -> None:
        if work.state == "proof":
            self._ask_resident(seat, work, "prove", ("juki",))
        else:
            self._start(seat, staff, work)

    @staticmethod
    def _require_here(seat: Seat, card_id: str) -> None:
        if seat.card_id != card_id:
            raise CardNotHere(card_id)

    def _start(
        self,
        seat: Seat,
        staff: Staff,
        work: Work,
        *,
        new_pins: dict[PinName, str] | None = None,
        proof_pins: dict[PinName, str] | None = None,
    ) -> None:
        """Run in the background. PINs live in the run's own request and go with it."""
        request = PerformOperation(
            kind=rules.kind_of(work),
            card_id=work.card_id,
            reset_pins=cast("tuple[PinName, ...]", work.reset_pins),
            new_pins=new_pins or {},
            proof_pins=proof_pins or {},
        )
        call = self.call(request, staff, work.operation_id, RUN_MS)
        self._spawn(seat, work, lambda: self.terminal.perform(call), staff)

    def _spawn(self, seat: Seat, work: Work, run: Callable[[], Awaitable[Performed]], staff: Staff) -> None:
        if self._group is None or work.operation_id in self.live:
            return
        self.live[work.operation_id] = Live(seat, work)
        self._group.create_task(self._run(seat, work, run, staff))

    async def _run(self, seat: Seat, work: Work, run: Callable[[], Awaitable[Performed]], staff: Staff) -> None:
        live = self.live[work.operation_id]
        try:
            after = await self._outcome(seat, work, run, staff)
            async with live.saving:
                await self._save(msgspec.structs.replace(after, version=live.work.version))
        except WarifuError as error:  # the store, or another terminal that was faster: the record says what is so
            self.terminal.world.log.trouble("screens.not_saved", operation_id=work.operation_id, code=error.code)
            after = work
        finally:
            del self.live[work.operation_id]
        live.seat.tell({"kind": "work", "operation": work.operation_id, "state": after.state})

    async def _outcome(self, seat: Seat, work: Work, run: Callable[[], Awaitable[Performed]], staff: Staff) -> Work:
        self.busy.pop(work.operation_id, None)
        try:
            async with asyncio.timeout(RUN_MS / 1000 + 5):
                after = rules.after_run(work, await run(), self.now_ms)
        except OperationEnded:
            return await self._ended(work, staff)
        except WarifuError as error:
            after = self._broken(work, error)
        if after.state == "pins":
            self._ask_resident(seat, after, "set", cast("tuple[PinName, ...]", after.waiting_pins))
        elif after.state == "proof":
            self._ask_resident(seat, after, "prove", ("juki",), message=after.trouble)
        return after

    def _broken(self, work: Work, error: WarifuError) -> Work:
        if isinstance(error, ConnectionExcess):
            self.busy[work.operation_id] = Busy(error.place_in_line, self.now_ms + error.retry_after_ms)
        progress = self.live[work.operation_id].progress
        opened = bool(work.card_state) or (progress is not None and progress.opened)
        self.terminal.world.log.info("screens.work_broken", operation_id=work.operation_id, code=error.code)
        return rules.after_trouble(work, error, self.now_ms, opened=opened)

    async def _ended(self, work: Work, staff: Staff) -> Work:
        """The operation was closed and nobody here heard of it: the record says how the card stands."""
        try:
            view = await self.ask(AskCard(card_id=work.card_id), CardView, staff, work.operation_id)
        except WarifuError as error:
            return self._broken(work, error)
        return rules.after_run(work, Performed(outcome="done", card_state=view.state), self.now_ms)

    async def _save(self, work: Work) -> Work:
        await self.store.commit(Change(now_ms=self.now_ms, writes=(Update(work),)))
        return msgspec.structs.replace(work, version=work.version + 1)

    async def give_up(self, seat: Seat, staff: Staff, work: Work) -> Work:
        """Give work up: what its card writes did stays done. Needs the card once the centre has the operation open."""
        if work.state not in rules.OPEN_STATES or self.is_running(work):
            return work
        self._forget_ask(seat, work)
        if work.state == "proof" and not work.card_state and not work.trouble:
            over = msgspec.structs.replace(work, state="abandoned", changed_ms=self.now_ms)
            return await self._save(over)
        self._require_here(seat, work.card_id)
        pins = cast("tuple[PinName, ...]", work.reset_pins)
        request = GiveUpOperation(kind=rules.kind_of(work), card_id=work.card_id, reset_pins=pins)
        call = self.call(request, staff, work.operation_id, RUN_MS)
        taken = await self._save(self._mine(work, staff, "running"))
        self._spawn(seat, taken, lambda: self.terminal.abandon(call), staff)
        return taken

    # ---- a tray of cards in a row --------------------------------------------------------------------------------

    def set_up_all(self, seat: Seat, staff: Staff, cards: tuple[CardId, ...]) -> None:
        """Set a tray of cards up, one after the other. Nothing is begun before its turn, so nothing is lost with it."""
        if self._group is None or (seat.batch is not None and not seat.batch.ended):
            return
        seat.batch = Batch(cards)
        self._group.create_task(self._set_up_all(seat, staff, seat.batch))

    async def _set_up_all(self, seat: Seat, staff: Staff, batch: Batch) -> None:
        try:
            for card_id in batch.cards:
                seat.card_id = card_id  # the tray's feeder lays the next card on the reader
                work = await self._begin_or_take_up(seat, staff, card_id)
                batch.operations[card_id] = work.operation_id
                await self._until_over(seat, work)
        except WarifuError as error:
            self.terminal.world.log.info("screens.batch_broken", code=error.code)
        finally:
            seat.card_id = ""
            batch.ended = True
            seat.tell({"kind": "batch", "state": "ended"})

    async def _begin_or_take_up(self, seat: Seat, staff: Staff, card_id: CardId) -> Work:
        for work in await self.works_of(staff.municipality, card_id):
            if work.kind == "setup":
                return await self.resume(seat, staff, work)
        return await self.begin(seat, staff, "setup", card_id)

    async def _until_over(self, seat: Seat, work: Work) -> None:
        with seat.listening() as events:
            while work.operation_id in self.live:
                await events.get()

    # ---- the resident --------------------------------------------------------------------------------------------

    def _ask_resident(
        self, seat: Seat, work: Work, purpose: Literal["set", "prove"], pins: tuple[PinName, ...], message: str = ""
    ) -> None:
        seat.ask = Ask(purpose, work.card_id, pins, work.operation_id, message)
        seat.told = ""
        seat.tell({"kind": "resident"})

    def ask_change(self, seat: Seat, card_id: CardId, pin: PinName) -> None:
        """Let the resident change a PIN they know. ``CardNotHere`` when the card is not on the reader."""
        self._require_here(seat, card_id)
        seat.ask = Ask("change", card_id, (pin,))
        seat.told = ""
        seat.tell({"kind": "resident"})

    @staticmethod
    def _forget_ask(seat: Seat, work: Work) -> None:
        if seat.ask is not None and seat.ask.operation_id == work.operation_id:
            seat.ask = None
            seat.tell({"kind": "resident"})

    async def entered(self, seat: Seat, staff: Staff, values: dict[PinName, str]) -> None:
        """The resident entered PINs: on with the work. ``NotAsked`` when nothing was asked for."""
        ask = seat.ask
        if ask is None or ask.purpose == "change":
            raise NotAsked("no PIN was asked for")
        work = (await self.store.read(Get(Work, (ask.operation_id,)))).one(0, Work)
        if work is None or work.state not in {"pins", "proof"}:
            raise NotAsked("the work does not wait for a PIN")
        taken = await self._save(self._mine(work, staff, "running"))
        seat.ask, seat.told = None, "entered"
        if ask.purpose == "set":
            self._start(seat, staff, taken, new_pins=values)
        else:
            self._start(seat, staff, taken, proof_pins=values)
        seat.tell({"kind": "work", "operation": work.operation_id, "state": "running"})

    async def change(self, seat: Seat, staff: Staff, old: str, new: str) -> bool:
        """The resident changes a PIN: between them and the chip alone. Whether the old one was right."""
        ask = seat.ask
        if ask is None or ask.purpose != "change":
            raise NotAsked("no change of a PIN was asked for")
        self._require_here(seat, ask.card_id)
        request = ChangePin(card_id=ask.card_id, pin=ask.pins[0], old=old, new=new)
        changed = await self.terminal.change_pin(self.call(request, staff))
        ask.message = "" if changed.changed else "card.wrong_pin"
        if changed.changed:
            seat.ask, seat.told = None, "changed"
        seat.tell({"kind": "card"})
        return changed.changed

    # ---- showing -------------------------------------------------------------------------------------------------

    def _show(self, progress: Progress) -> None:
        """A run's progress, to the pages of its seat."""
        live = self.live.get(progress.operation_id)
        if live is None:
            return
        live.progress = progress
        if progress.stage == "chip" and progress.commands % SHOW_EVERY:
            return
        live.seat.tell({"kind": "progress", "operation": progress.operation_id} | msgspec.structs.asdict(progress))
