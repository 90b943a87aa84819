"""The way from a terminal to the centre: CS lanes and retries, relays that decrypt and encrypt in their HSMs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from nodes_house import House
from nodes_parts import EngineFactory, ListLog, LoopClock, MemoryDevice, run

from warifu.adapters.backlog import MemoryBacklog
from warifu.adapters.net.handling import Peer
from warifu.adapters.net.local import LocalTransport
from warifu.contract.center import AskCard, CardsReceived, CardView, ConfirmWrite, OpenOperation, OrderCard
from warifu.contract.codec import decode, encode
from warifu.contract.envelope import Envelope, Reply, ServiceClass
from warifu.contract.errors import error_body, open_reply
from warifu.contract.health import Health, Part
from warifu.contract.message import Done, Request
from warifu.contract.relay import AskRelayKey, Forward, Forwarded, RelayKey
from warifu.contract.values import ChipStatus
from warifu.domain.admission.leases import Leases
from warifu.domain.admission.retry import FULL
from warifu.domain.admission.rules import Limits
from warifu.domain.messages import SESSION_INFO, context, nonce
from warifu.kernel.errors import (
    ConnectionExcess,
    DeadlinePassed,
    DiskFull,
    NotAllowed,
    Refused,
    Unavailable,
    WarifuError,
)
from warifu.kernel.ids import new_ulid
from warifu.lab.simulation.keys import Deal, FixtureCrypto, SeededEntropy
from warifu.nodes.base import World
from warifu.nodes.cs import MAX_WAITING, CommunicationServer, MessageSession
from warifu.nodes.hsm_answers import HsmRejected
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.relay import MESSAGE_KEY, NotCarried, Relay

HERE = "131016"
CARD, OTHER_CARD = "WRF000000000001", "WRF000000000002"
OK = Reply(body=encode(Done()))
Center = Callable[[Envelope], Awaitable[Reply]]


class Path:
    """A CS, two relays, and a centre that does what a test says."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.clock, self.log, self.entropy = LoopClock(), ListLog(), SeededEntropy(3, "path")
        self.deal = Deal()
        self.device = EngineFactory(MemoryDevice(self.deal))
        self.device.create(MESSAGE_KEY, "agree")
        self.seen: list[Envelope] = []
        self.forwarded: list[Envelope] = []
        self.center: Center = answer_ok
        self.limits = limits or Limits()
        self.crypto = FixtureCrypto(self.entropy, self.deal)
        self.backlog = MemoryBacklog()
        self.cs = CommunicationServer(self.world(f"cs-{HERE}"), self.crypto, HERE, self.backlog)
        self.relays = {name: self.relay(name) for name in ("relay-1", "relay-2")}
        self.turn = 0

    def world(self, name: str) -> World:
        transport = LocalTransport({"relay": self._to_relay, "center": self._to_center}, name, self.log)
        return World(name, transport, self.clock, self.entropy, self.log)

    def relay(self, name: str) -> Relay:
        return Relay(self.world(name), HsmPool(self.device, f"{name}/hsm", 1), self.limits)

    async def _to_relay(self, envelope: Envelope, _peer: Peer) -> Reply:
        self.turn += 1
        self.forwarded.append(envelope)
        return await list(self.relays.values())[self.turn % len(self.relays)].handle(envelope)

    async def _to_center(self, envelope: Envelope, _peer: Peer) -> Reply:
        self.seen.append(envelope)
        return await self.center(envelope)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Path"]:
        async with asyncio.TaskGroup() as group:
            timers = [group.create_task(node.run()) for node in (self.cs, *self.relays.values())]
            try:
                yield self
            finally:
                for timer in timers:
                    timer.cancel()

    def envelope(self, request: Request | None = None, *, key: str = CARD, step: str = "s") -> Envelope:
        request = request or AskCard(card_id=CARD)
        return Envelope(
            name=request.NAME,
            operation_id=new_ulid(self.clock.now_ms(), self.entropy.random_bytes(10)),
            step=step,
            sender=f"terminal-{HERE}",
            ordering_key=key,
            municipality="999999",
            actor="clerk",
            remaining_ms=10_000,
            body=encode(request),
        )


async def answer_ok(_envelope: Envelope) -> Reply:
    return OK


def failing(*errors: WarifuError) -> Center:
    """These errors, then answers."""
    left = list(errors)

    async def center(_envelope: Envelope) -> Reply:
        return Reply(error=error_body(left.pop(0))) if left else OK

    return center


def with_path(test: Callable[[Path], Awaitable[None]], limits: Limits | None = None) -> None:
    async def main() -> None:
        async with Path(limits).running() as path:
            await test(path)

    run(main())


# ---- lanes -------------------------------------------------------------------------------------------------------


class Gate:
    """A centre that holds messages of one step until it is opened."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, envelope: Envelope) -> Reply:
        if envelope.step == self.step:
            self.reached.set()
            await self.opened.wait()
        return OK


def test_messages_of_one_card_wait_their_turn_and_others_pass() -> None:
    async def lanes(path: Path) -> None:
        gate = path.center = Gate("first")
        async with asyncio.TaskGroup() as group:
            for step in ("first", "second", "third"):
                group.create_task(path.cs.handle(path.envelope(step=step)))
            await gate.reached.wait()
            await path.cs.handle(path.envelope(step="other", key=OTHER_CARD))
            await path.cs.handle(path.envelope(step="unordered", key=""))
            assert [envelope.step for envelope in path.seen] == ["first", "other", "unordered"]
            gate.opened.set()
        assert [envelope.step for envelope in path.seen][3:] == ["second", "third"]
        assert (path.cs._lanes, path.cs.waiting) == ({}, 0)

    with_path(lanes)


def test_a_message_given_up_in_its_lane_leaves_the_lane_usable() -> None:
    async def given_up(path: Path) -> None:
        gate = path.center = Gate("first")
        async with asyncio.TaskGroup() as group:
            group.create_task(path.cs.handle(path.envelope(step="first")))
            await gate.reached.wait()
            late = path.cs.handle(msgspec.structs.replace(path.envelope(step="late"), remaining_ms=100))
            with pytest.raises(DeadlinePassed):
                await late
            gate.opened.set()
        await path.cs.handle(path.envelope(step="after"))
        assert [envelope.step for envelope in path.seen] == ["first", "after"]
        assert (path.cs._lanes, path.cs.waiting) == ({}, 0)

    with_path(given_up)


def test_a_full_cs_says_when_to_come_back_and_does_not_block_itself() -> None:
    async def full(path: Path) -> None:
        path.cs.waiting = MAX_WAITING
        with pytest.raises(ConnectionExcess) as refused:
            await path.cs.handle(path.envelope())
        assert refused.value.retry_after_ms > 0
        path.cs.waiting = 0
        assert await path.cs.handle(path.envelope()) == OK

    with_path(full)


# ---- retries -----------------------------------------------------------------------------------------------------


def test_what_may_be_tried_again_is_and_each_sending_has_a_counter_of_its_own() -> None:
    async def retried(path: Path) -> None:
        path.center = failing(Unavailable("db"), ConnectionExcess(retry_after_ms=500), Unavailable("db"))
        assert await path.cs.handle(path.envelope()) == OK
        sent = [decode(Forward, each.body) for each in path.forwarded if each.name == Forward.NAME]
        assert [forward.counter for forward in sent] == [1, 2, 3, 4]
        assert len({forward.ciphertext for forward in sent}) == 4
        inner = {(each.operation_id, each.step, each.digest()) for each in path.seen}
        assert len(inner) == 1

    with_path(retried)


def test_a_refusal_is_brought_back_at_once() -> None:
    async def refused(path: Path) -> None:
        path.center = failing(NotAllowed("no"))
        with pytest.raises(NotAllowed):
            open_reply(await path.cs.handle(path.envelope()), CardView)
        assert len(path.seen) == 1

    with_path(refused)


def test_retries_end_with_the_budget_and_successes_earn_it_back() -> None:
    async def spent(path: Path) -> None:
        path.center = failing(*[Unavailable("down")] * 100)
        with pytest.raises(Unavailable):
            await path.cs.handle(msgspec.structs.replace(path.envelope(), remaining_ms=600_000))
        assert len(path.seen) == 1 + FULL
        with pytest.raises(Unavailable):
            await path.cs.handle(path.envelope())
        assert len(path.seen) == 2 + FULL
        path.center = answer_ok
        for _ in range(11):
            await path.cs.handle(path.envelope())
        path.center = failing(Unavailable("once"))
        assert await path.cs.handle(path.envelope()) == OK

    with_path(spent)


def test_no_retry_outlives_the_time_the_caller_left() -> None:
    async def late(path: Path) -> None:
        path.center = failing(*[Unavailable("down")] * 100)
        started = asyncio.get_running_loop().time()
        with pytest.raises((Unavailable, DeadlinePassed)):
            await path.cs.handle(msgspec.structs.replace(path.envelope(), remaining_ms=700))
        assert asyncio.get_running_loop().time() - started <= 0.7
        assert all(envelope.remaining_ms <= 700 for envelope in path.seen)

    with_path(late)


@pytest.mark.parametrize(("kind", "within_s"), [("setup", 1.5), ("bulk", 1.5), ("delivery", 3.0)])
def test_what_finds_no_room_soon_is_told_when_to_come_back_and_its_place_in_line(
    kind: ServiceClass, within_s: float
) -> None:
    async def full(path: Path) -> None:
        path.center = failing(*[ConnectionExcess("full", retry_after_ms=900, place_in_line=4)] * 100)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionExcess) as refused:
            await path.cs.handle(msgspec.structs.replace(path.envelope(), service_class=kind, remaining_ms=60_000))
        assert asyncio.get_running_loop().time() - began <= within_s
        assert (refused.value.retry_after_ms, refused.value.place_in_line) == (900, 4)
        assert len(path.seen) > 1  # it did ask again

    with_path(full)


def test_who_must_come_back_late_is_told_at_once_and_costs_no_retry() -> None:
    async def late(path: Path) -> None:
        path.center = failing(ConnectionExcess("full", retry_after_ms=9_000, place_in_line=80))
        with pytest.raises(ConnectionExcess):
            await path.cs.handle(path.envelope())
        assert (len(path.seen), path.cs.budget.tokens) == (1, FULL)

    with_path(late)


# ---- who and what is carried -------------------------------------------------------------------------------------


def test_the_cs_says_whose_counter_asks_not_the_terminal() -> None:
    async def stamped(path: Path) -> None:
        await path.cs.handle(path.envelope())
        (seen,) = path.seen
        assert (seen.municipality, seen.actor) == (HERE, f"clerk@terminal-{HERE}")
        assert seen.sender in {"relay-1", "relay-2"}

    with_path(stamped)


def test_a_cs_carries_counter_messages_of_terminals_only() -> None:
    async def others(path: Path) -> None:
        order = OrderCard(
            application_id="1" * 23, resident_id="0" * 26, wants_signature=True, wants_authentication=True
        )
        with pytest.raises(NotAllowed):
            await path.cs.handle(path.envelope(order))
        for stranger in ("driver", "terminal-999999", f"terminal-{HERE}9", "terminal", f"cs-{HERE}"):
            with pytest.raises(NotAllowed):
                await path.cs.handle(msgspec.structs.replace(path.envelope(), sender=stranger))
        assert path.forwarded == []
        await path.cs.handle(msgspec.structs.replace(path.envelope(), sender=f"terminal-{HERE}-2"))

    with_path(others)


# ---- relays ------------------------------------------------------------------------------------------------------


async def session(path: Path) -> MessageSession:
    await path.cs.handle(path.envelope())
    assert path.cs._session is not None
    path.seen.clear()
    return path.cs._session


def outer(path: Path, mine: MessageSession, inner: Envelope, *, counter: int = 99, place: str = HERE) -> Envelope:
    inner = msgspec.structs.replace(inner, municipality=place)
    sealed = mine.cipher.encrypt(nonce(0, counter), encode(inner), context(mine.session, counter))
    forward = Forward(session=mine.session, encapsulation=mine.encapsulation, counter=counter, ciphertext=sealed)
    return msgspec.structs.replace(
        inner, name=Forward.NAME, sender=path.cs.world.name, body=encode(forward), ordering_key=""
    )


def opened(mine: MessageSession, reply: Reply, counter: int = 99) -> Reply:
    sealed = decode(Forwarded, reply.body or b"").ciphertext
    return decode(Reply, mine.cipher.decrypt(nonce(1, counter), sealed, context(mine.session, counter)))


def test_any_relay_takes_any_message_and_a_new_pool_too() -> None:
    async def any_relay(path: Path) -> None:
        mine = await session(path)
        for relay in path.relays.values():
            message = outer(path, mine, path.envelope())
            assert opened(mine, await relay.handle(message)) == OK
        fresh = path.relay("relay-1")
        async with asyncio.TaskGroup() as group:
            pool = group.create_task(fresh.run())
            assert opened(mine, await fresh.handle(outer(path, mine, path.envelope()))) == OK
            pool.cancel()
        assert len(path.seen) == 3

    with_path(any_relay)


def test_every_message_is_decrypted_and_encrypted_in_the_hsm_by_one_command_each() -> None:
    async def counted(path: Path) -> None:
        await session(path)
        path.device.commands.clear()
        for _ in range(4):
            await path.cs.handle(path.envelope())
        kinds = [type(command).__name__ for command in path.device.commands]
        assert (kinds.count("DecryptMessage"), kinds.count("EncryptMessage")) in {(4, 4), (5, 4)}
        assert kinds.count("OpenMessageSession") <= 1

    with_path(counted)


def test_a_changed_message_reaches_nobody() -> None:
    async def changed(path: Path) -> None:
        mine = await session(path)
        message = outer(path, mine, path.envelope())
        forward = decode(Forward, message.body)
        flipped = bytes((forward.ciphertext[0] ^ 1,)) + forward.ciphertext[1:]
        for other in (
            msgspec.structs.replace(forward, ciphertext=flipped),
            msgspec.structs.replace(forward, counter=forward.counter + 1),
        ):
            with pytest.raises(HsmRejected):
                await path.relays["relay-1"].handle(msgspec.structs.replace(message, body=encode(other)))
        assert path.seen == []

    with_path(changed)


def change_key(path: Path) -> None:
    """The relays' devices get another key, and workers that know no session."""
    del path.device.device.keys[MESSAGE_KEY]
    path.device.create(MESSAGE_KEY, "agree")
    for worker in path.device.workers:
        worker.dead = True


def test_a_session_that_the_hsm_does_not_open_is_agreed_anew_and_nobody_notices() -> None:
    async def changed(path: Path) -> None:
        old = await session(path)
        change_key(path)
        replies = await asyncio.gather(*(path.cs.handle(path.envelope(key=f"{n}")) for n in range(5)))
        assert replies == [OK] * 5
        assert path.cs._session is not None
        assert path.cs._session.session != old.session
        keys = [envelope for envelope in path.forwarded if envelope.name == AskRelayKey.NAME]
        assert len(keys) == 2, "one new session for all"

    with_path(changed)


def test_the_health_of_a_cs_is_a_message_that_the_relays_hsm_opens() -> None:
    async def sealed(path: Path) -> None:
        for _ in range(3):
            assert (await path.cs.health()).ok
        assert path.seen == [], "the relay answers itself"
        change_key(path)
        sick = await path.cs.health()
        assert (sick.ok, "hsm.rejected" in sick.parts["path"].detail) == (False, True)
        assert (await path.cs.health()).ok
        assert path.cs.budget.tokens == FULL

    with_path(sealed)


def test_a_relay_is_as_well_as_the_centre_warnings_aside() -> None:
    async def asked(path: Path) -> None:
        relay = path.relays["relay-1"]
        part, warned = Part(ok=False, detail="away"), Part(ok=False, detail="one waits", warning=True)
        health = Health(ok=False, parts={"store": part, "outbox": warned, "hsm": Part(ok=True)})

        async def center(_envelope: Envelope) -> Reply:
            return Reply(body=encode(health))

        path.center = center
        assert (await relay.health()).parts["path"].detail == "part.unavailable: the centre: store"
        health = Health(ok=True, parts={"outbox": warned})
        assert (await relay.health()).ok

    with_path(asked)


def test_a_cs_whose_relays_do_not_reach_the_centre_says_so_and_takes_it_back() -> None:
    """Counters show what their CS says; without a balancer nobody takes such relays away from it."""

    async def away(path: Path) -> None:
        health = Health(ok=True)

        async def center(_envelope: Envelope) -> Reply:
            return Reply(body=encode(health))

        path.center = center
        for wanted in (True, False, True):
            health = Health(ok=wanted, parts={"store": Part(ok=wanted)})
            for relay in path.relays.values():
                assert (await relay.health()).ok == wanted
            assert (await path.cs.health()).ok == wanted
        path.center = failing(Unavailable("no centre"), Unavailable("no centre"))
        for relay in path.relays.values():
            await relay.health()
        assert (await path.cs.health()).parts["path"].detail == "part.unavailable: the relay does not reach a centre"

    with_path(away)


def test_what_a_relay_does_not_carry_is_refused_inside_the_encryption() -> None:
    async def inside(path: Path) -> None:
        mine = await session(path)
        order = OrderCard(
            application_id="1" * 23, resident_id="0" * 26, wants_signature=True, wants_authentication=True
        )
        other = msgspec.structs.replace(outer(path, mine, path.envelope()), operation_id="7" * 26)
        elsewhere, nowhere = (outer(path, mine, path.envelope(), place=place) for place in ("132217", ""))
        nameless = msgspec.structs.replace(nowhere, sender="cs")
        for message in (outer(path, mine, path.envelope(order)), other, elsewhere, nowhere, nameless):
            reply = opened(mine, await path.relays["relay-1"].handle(message))
            with pytest.raises(NotCarried):
                open_reply(reply, Done)
        assert path.seen == []

    with_path(inside)


def test_the_centres_errors_travel_encrypted_too() -> None:
    async def error(path: Path) -> None:
        mine = await session(path)
        path.center = failing(ConnectionExcess("full", retry_after_ms=321, place_in_line=5))
        reply = opened(mine, await path.relays["relay-1"].handle(outer(path, mine, path.envelope())))
        assert reply.error is not None
        assert (reply.error.code, reply.error.retry_after_ms, reply.error.place_in_line) == (
            "connection_excess",
            321,
            5,
        )

    with_path(error)


def test_an_opening_beyond_the_limit_is_refused_and_a_step_never() -> None:
    async def full(path: Path) -> None:
        mine = await session(path)
        gate = path.center = Gate("held")
        relay = path.relays["relay-1"]
        opening = CardsReceived(batch_id="0" * 26, card_ids=(CARD,))
        async with asyncio.TaskGroup() as group:
            held = group.create_task(relay.handle(outer(path, mine, path.envelope(opening, step="held"), counter=1)))
            await gate.reached.wait()
            refused = await relay.handle(outer(path, mine, path.envelope(opening, step="more"), counter=2))
            with pytest.raises(ConnectionExcess) as excess:
                open_reply(opened(mine, refused, 2), Done)
            assert 1000 <= excess.value.retry_after_ms <= 2000
            assert excess.value.place_in_line == 1
            step = await relay.handle(outer(path, mine, path.envelope(step="step"), counter=3))
            assert opened(mine, step, 3) == OK
            gate.opened.set()
        assert opened(mine, held.result(), 1) == OK
        assert set(relay.under_way.values()) == {0}

    with_path(full, Limits(total=1, setup_and_bulk=1, change_reserve=1))


def test_people_are_told_before_they_call_when_a_limit_is_passed() -> None:
    async def told(path: Path) -> None:
        relay = path.relays["relay-1"]
        mine = await session(path)
        opening = CardsReceived(batch_id="0" * 26, card_ids=(CARD,))
        assert relay.parts()["admission"] is not None
        gate = path.center = Gate("held")
        async with asyncio.TaskGroup() as group:
            group.create_task(relay.handle(outer(path, mine, path.envelope(opening, step="held"), counter=1)))
            await gate.reached.wait()
            for counter in (2, 3):
                await relay.handle(outer(path, mine, path.envelope(opening, step="more"), counter=counter))
            health = await relay.health()
            gate.opened.set()
        assert health.parts["admission"].detail.startswith("relay.limit_passed: 1 operations of 1, 2 in line")
        assert health.parts["admission"].warning
        alarms = [fields for event, fields in path.log.troubles if event == "relay.limit_passed"]
        assert alarms == [{"held": 1, "limit": 1, "line": 1, "refused": 1}]
        assert len(relay.leases) == 0

    with_path(told, Limits(total=1, setup_and_bulk=1, change_reserve=1))


def test_an_operation_taken_up_again_after_a_break_needs_no_new_place() -> None:
    async def again(path: Path) -> None:
        (relay,) = path.relays.values()
        first = path.envelope(OPENING, step="open")
        await path.cs.handle(first)
        relay.leases = Leases(Limits(total=1, setup_and_bulk=1, change_reserve=0))  # it was restarted,
        await path.cs.handle(path.envelope(OPENING, step="open"))  # and another came first
        with pytest.raises(ConnectionExcess):
            open_reply(await path.cs.handle(short(path.envelope(OPENING, step="open"))), Done)
        taken_up = msgspec.structs.replace(first, step="open.2")
        assert await path.cs.handle(taken_up) == OK
        assert [decode(Forward, each.body).admitted for each in path.forwarded if each.name == Forward.NAME][-1]

    async def main() -> None:
        path = Path()
        del path.relays["relay-2"]
        async with path.running():
            await again(path)

    run(main())


OPENING = OpenOperation(
    kind="delivery",
    card_id=CARD,
    chip=ChipStatus(card_id=CARD, life_state="set_up"),
)


def short(envelope: Envelope) -> Envelope:
    """With no time for a retry."""
    return msgspec.structs.replace(envelope, remaining_ms=300)


def test_a_relay_tells_its_key_and_its_health_is_its_hsm() -> None:
    async def key(path: Path) -> None:
        relay = path.relays["relay-1"]
        ask = msgspec.structs.replace(
            path.envelope(), name=AskRelayKey.NAME, sender=path.cs.world.name, body=encode(AskRelayKey())
        )
        told = decode(RelayKey, (await relay.handle(ask)).body or b"")
        assert told.public_key == path.device.device.public_key(MESSAGE_KEY)
        assert (await relay.health()).parts["hsm"].ok
        with pytest.raises(Refused):
            await relay.handle(msgspec.structs.replace(ask, sender="driver"))
        assert path.crypto.agree(told.public_key, SESSION_INFO).key

    with_path(key)


def test_one_identifier_ties_the_logs_together() -> None:
    async def story() -> None:
        async with House().running() as house:
            await house.apply(await house.register())
            (card,) = await house.receive(await house.produce())
            operation = house.new_id()
            await house.perform("setup", card, operation_id=operation)
            told = [(event, fields) for event, fields in house.log.records if fields.get("operation_id") == operation]
            events = {event for event, _ in told}
            assert {"cs.carried", "relay.passed"} <= events
            assert all(len(str(fields)) < 400 for _, fields in told)

    run(story())


# ---- the CS's own outbox -----------------------------------------------------------------------------------------

CONFIRM = ConfirmWrite(card_id=CARD, write_id="0" * 26, chip=None)


def test_what_has_an_effect_is_recorded_until_it_is_answered() -> None:
    async def recorded(path: Path) -> None:
        gate = path.center = Gate("effect")
        async with asyncio.TaskGroup() as group:
            group.create_task(path.cs.handle(path.envelope(OPENING, step="effect")))
            await gate.reached.wait()
            ((_, entry),) = path.backlog.unsettled()
            assert decode(Envelope, entry).step == "effect"
            await path.cs.handle(path.envelope(step="look", key=OTHER_CARD))
            assert len(path.backlog.unsettled()) == 1
            gate.opened.set()
        assert path.backlog.unsettled() == ()

    with_path(recorded)


def test_what_cannot_be_recorded_is_refused_unsent_and_looks_go_on() -> None:
    """A full disk: the code says so to the terminal, the health to whoever watches, until a message is recorded."""

    async def full(path: Path) -> None:
        keep = path.backlog.keep

        async def refuse(entry: bytes) -> int:
            del entry
            raise DiskFull("no space left")

        path.backlog.keep = refuse  # type: ignore[method-assign]
        with pytest.raises(DiskFull):
            await path.cs.handle(path.envelope(OPENING, step="effect"))
        assert path.seen == []
        assert await path.cs.handle(path.envelope(step="look")) == OK
        part = (await path.cs.health()).parts["backlog"]
        assert (part.ok, part.warning, part.detail) == (False, True, "disk.full: no space left")
        path.backlog.keep = keep  # type: ignore[method-assign]
        assert await path.cs.handle(path.envelope(OPENING, step="again")) == OK
        assert (await path.cs.health()).parts["backlog"].ok

    with_path(full)


def test_after_a_kill_what_was_under_way_is_delivered_before_what_comes_later() -> None:
    async def main() -> None:
        before = Path()
        lost = before.envelope(OPENING, step="lost")
        await before.backlog.keep(encode(msgspec.structs.replace(lost, municipality=HERE, actor="clerk")))
        after = Path()
        after.backlog = before.backlog
        after.cs = CommunicationServer(after.world(f"cs-{HERE}"), after.crypto, HERE, after.backlog)
        async with after.running():
            await after.cs.handle(after.envelope(step="later"))
            assert [envelope.step for envelope in after.seen] == ["lost", "later"]
            assert after.backlog.unsettled() == ()
            assert (await after.cs.health()).parts["backlog"].ok

    run(main())


def test_what_a_chip_did_reaches_the_centre_after_the_caller_has_gone() -> None:
    async def away(path: Path) -> None:
        path.center = failing(*[Unavailable("away")] * 5)
        with pytest.raises((Unavailable, DeadlinePassed)):
            await path.cs.handle(short(path.envelope(CONFIRM, step="fact")))
        assert len(path.backlog.unsettled()) == 1
        part = (await path.cs.health()).parts["backlog"]
        assert (part.ok, part.warning) == (False, True)
        reply = await path.cs.handle(path.envelope(step="later"))
        assert reply == OK
        assert [envelope.step for envelope in path.seen][-2:] == ["fact", "later"]
        assert path.backlog.unsettled() == ()

    with_path(away)


def test_what_a_caller_was_told_is_unknown_is_the_callers_to_take_up_again() -> None:
    async def told(path: Path) -> None:
        path.center = failing(*[Unavailable("away")] * 50)
        with pytest.raises((Unavailable, DeadlinePassed)):
            await path.cs.handle(short(path.envelope(OPENING, step="open")))
        assert path.backlog.unsettled() == ()

    with_path(told)


def test_one_cards_leftovers_hold_up_no_other_card() -> None:
    async def others(path: Path) -> None:
        async def center(envelope: Envelope) -> Reply:
            return Reply(error=error_body(Unavailable("just this"))) if envelope.ordering_key == CARD else OK

        path.center = center
        with pytest.raises((Unavailable, DeadlinePassed)):
            await path.cs.handle(short(path.envelope(CONFIRM, step="fact")))
        assert await path.cs.handle(path.envelope(step="other", key=OTHER_CARD)) == OK
        with pytest.raises(DeadlinePassed):
            await path.cs.handle(short(path.envelope(step="same")))
        path.center = answer_ok
        assert await path.cs.handle(path.envelope(step="after")) == OK

    with_path(others)
