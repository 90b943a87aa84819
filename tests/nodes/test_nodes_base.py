"""Every node's steps: idempotent under their key, decided again when records move, once in effect whatever breaks."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from nodes_house import MOVED, PERSON
from nodes_parts import ListLog, LoopClock, run

from warifu.adapters.net.handling import Handler, Peer
from warifu.adapters.net.local import LocalTransport
from warifu.adapters.store.memory import MemoryStore, StoreHooks
from warifu.contract.codec import UnknownMessage, decode, decode_request, encode
from warifu.contract.envelope import Envelope, Reply, Step
from warifu.contract.errors import error_body
from warifu.contract.health import AskHealth, Health
from warifu.contract.message import Done, Request
from warifu.contract.numbering import AssignNumber, RevealNumber
from warifu.contract.registry import AskIdentity, Changed, ChangeResident, Register, Registered, ResidentChanged
from warifu.domain.decision import Decision
from warifu.domain.residents.records import Resident
from warifu.kernel.errors import (
    DeadlinePassed,
    KeyReused,
    Malformed,
    NotAllowed,
    Stale,
    Unavailable,
    WarifuError,
)
from warifu.kernel.ids import new_ulid
from warifu.lab.simulation.keys import SeededEntropy
from warifu.nodes.base import MAX_DECISIONS, OUTBOX_BATCH, PURGE_EVERY_S, Call, World, step_of
from warifu.nodes.registry import RECORDS, Registry
from warifu.nodes.under_way import OUTBOX_AT_ONCE
from warifu.ports.store import Change, Snapshot, Update

DAY = PERSON.birth_date.replace(year=2026)


class Failing(StoreHooks):
    """Raises the next of its errors before or after a commit of a step."""

    def __init__(self) -> None:
        self.before: list[WarifuError] = []
        self.after: list[WarifuError] = []

    async def before_commit(self, change: Change) -> None:
        if change.request is not None and self.before:
            raise self.before.pop(0)

    async def after_commit(self, change: Change) -> None:
        if change.request is not None and self.after:
            raise self.after.pop(0)


class Bench:
    """A registry alone; what it tells others reaches ``receiver``."""

    def __init__(self) -> None:
        self.hooks, self.clock, self.log = Failing(), LoopClock(), ListLog()
        self.store = MemoryStore(RECORDS, hooks=self.hooks)
        self.entropy = SeededEntropy(2, "bench")
        self.received: list[Envelope] = []
        self.refuse: Callable[[Envelope], WarifuError | None] = lambda _: None
        self.handlers: dict[str, Handler] = dict.fromkeys(("numbering", "center", "authority"), self._receive)
        transport = LocalTransport(self.handlers, "registry", self.log)
        self.node = Registry(World("registry", transport, self.clock, self.entropy, self.log), self.store)

    async def _receive(self, envelope: Envelope, _peer: Peer) -> Reply:
        self.received.append(envelope)
        await asyncio.sleep(0)
        error = self.refuse(envelope)
        return Reply(error=error_body(error)) if error else Reply(body=encode(Done()))

    def envelope(self, request: Request, *, step: str = "s", sender: str = "driver", operation: str = "") -> Envelope:
        return Envelope(
            name=request.NAME,
            operation_id=operation or new_ulid(self.clock.now_ms(), self.entropy.random_bytes(10)),
            step=step,
            sender=sender,
            remaining_ms=10_000,
            body=encode(request),
        )

    def registering(self) -> Envelope:
        resident = new_ulid(self.clock.now_ms(), self.entropy.random_bytes(10))
        return self.envelope(Register(resident_id=resident, person=PERSON))

    async def answer(self, envelope: Envelope) -> Registered:
        reply = await self.node.handle(envelope)
        assert reply.body is not None
        return decode(Registered, reply.body)


def with_bench(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(Bench())

    run(main())


# ---- idempotency -------------------------------------------------------------------------------------------------


def test_the_same_request_again_gets_the_first_answer_and_has_no_second_effect() -> None:
    async def twice(bench: Bench) -> None:
        envelope = bench.registering()
        first = await bench.answer(envelope)
        assert await bench.answer(envelope) == first
        assert (len(bench.store.journal()), len(bench.store.outbox())) == (1, 1)

    with_bench(twice)


def test_the_same_request_at_the_same_time_has_one_effect_and_one_answer() -> None:
    async def crowd(bench: Bench) -> None:
        envelope = bench.registering()
        answers = await asyncio.gather(*(bench.answer(envelope) for _ in range(10)))
        assert set(answers) == {answers[0]}
        assert (len(bench.store.journal()), len(bench.store.outbox())) == (1, 1)

    with_bench(crowd)


def test_the_same_key_with_another_request_is_refused() -> None:
    async def reuse(bench: Bench) -> None:
        envelope = bench.registering()
        await bench.answer(envelope)
        with pytest.raises(KeyReused):
            await bench.node.handle(msgspec.structs.replace(envelope, body=bench.registering().body))

    with_bench(reuse)


def test_one_step_name_under_two_operations_is_two_requests() -> None:
    async def both(bench: Bench) -> None:
        await bench.answer(bench.registering())
        await bench.answer(bench.registering())
        assert len(bench.store.outbox()) == 2

    with_bench(both)


def test_an_answer_is_remembered_for_its_time_and_then_forgotten_in_batches() -> None:
    async def forgotten(bench: Bench) -> None:
        first, second = bench.registering(), bench.registering()
        await bench.answer(first)
        async with asyncio.TaskGroup() as group:
            timers = group.create_task(bench.node.run())
            bench.clock.days = 6
            await bench.answer(second)
            await later(2 * PURGE_EVERY_S)
            assert len(bench.store._state.answers) == 2
            bench.clock.days = 8
            await later(2 * PURGE_EVERY_S)
            timers.cancel()
        assert [key[1] for key in bench.store._state.answers] == [second.operation_id]
        assert len(bench.store.journal()) == 2

    with_bench(forgotten)


async def later(seconds: float) -> None:
    """Some virtual time."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(seconds, done.set_result, None)
    await done


# ---- a step from what was written last -------------------------------------------------------------------------------


class Guessing:
    """A registered resident, and a step that moves the record or only looks at it."""

    def __init__(self, bench: Bench, record: Resident) -> None:
        self.bench = bench
        self.guess = Snapshot(None, ((record,),))
        self.told: list[Decision] = []
        self.call = call_of(bench.envelope(AskIdentity(resident_id=record.resident_id, purpose="test")))

    @staticmethod
    async def begun(bench: Bench) -> "Guessing":
        await bench.answer(bench.registering())
        return Guessing(bench, stored(bench))

    async def step(self, rule: Callable[[Resident], Decision]) -> Done | None:
        def decide(snapshot: Snapshot) -> Decision:
            record = snapshot.one(0, Resident)
            assert record is not None
            return rule(record)

        def tell(_: Snapshot, decision: Decision) -> None:
            self.told.append(decision)

        return await self.bench.node.step_from(self.call, self.guess, decide, Done, tell)


def call_of(envelope: Envelope) -> Call:
    request = decode_request(envelope.name, envelope.body)
    return Call(envelope, request, 0, asyncio.get_running_loop().time() + 10)


def stored(bench: Bench) -> Resident:
    (record,) = bench.store.records(Resident)
    assert isinstance(record, Resident)
    return record


def touched(record: Resident) -> Decision:
    return Decision(answer=Done(), writes=(Update(msgspec.structs.replace(record, changed_ms=7)),))


def looked(_: Resident) -> Decision:
    return Decision(answer=Done())


def test_a_right_guess_is_committed_without_reading_and_remembered_as_any_answer() -> None:
    async def right(bench: Bench) -> None:
        guessing = await Guessing.begun(bench)
        assert await guessing.step(touched) == Done()
        assert (stored(bench).changed_ms, stored(bench).version, len(guessing.told)) == (7, 2, 1)
        key = guessing.call.key(bench.node.KIND)
        assert (await bench.store.read(request=key)).answer == encode(Done())

    with_bench(right)


@pytest.mark.parametrize("rule", [touched, looked])
def test_a_guess_of_a_record_that_moved_does_nothing_even_if_it_was_only_looked_at(
    rule: Callable[[Resident], Decision],
) -> None:
    async def moved(bench: Bench) -> None:
        guessing = await Guessing.begun(bench)
        await bench.store.commit(Change(now_ms=0, writes=touched(stored(bench)).writes))
        before = bench.store._state.answers.copy()
        assert await guessing.step(rule) is None
        assert (stored(bench).version, guessing.told, bench.store._state.answers) == (2, [], before)

    with_bench(moved)


def test_no_refusal_is_taken_from_a_guess_and_no_answer_given_twice() -> None:
    def refused(_: Resident) -> Decision:
        raise NotAllowed("as the record was")

    async def neither(bench: Bench) -> None:
        guessing = await Guessing.begun(bench)
        assert await guessing.step(refused) is None
        assert await guessing.step(touched) == Done()
        guessing.guess = Snapshot(None, ((stored(bench),),))
        assert await guessing.step(touched) is None
        assert stored(bench).version == 2

    with_bench(neither)


# ---- breaks ------------------------------------------------------------------------------------------------------


def test_a_record_that_moved_is_decided_again() -> None:
    async def moved(bench: Bench) -> None:
        bench.hooks.before = [Stale("moved")] * (MAX_DECISIONS - 1)
        await bench.answer(bench.registering())
        assert len(bench.store.journal()) == 1

    with_bench(moved)


def test_records_that_keep_moving_end_the_step_without_effect() -> None:
    async def moving(bench: Bench) -> None:
        bench.hooks.before = [Stale("moved")] * MAX_DECISIONS
        with pytest.raises(Stale):
            await bench.answer(bench.registering())
        assert bench.store.journal() == ()

    with_bench(moving)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_breaks_at_the_commit_leaves_one_effect_once_asked_again(when: str) -> None:
    async def breaks(bench: Bench) -> None:
        envelope = bench.registering()
        setattr(bench.hooks, when, [Unavailable("gone")])
        with pytest.raises(Unavailable):
            await bench.answer(envelope)
        first = await bench.answer(envelope)
        assert await bench.answer(envelope) == first
        assert (len(bench.store.journal()), len(bench.store.outbox())) == (1, 1)

    with_bench(breaks)


def test_personal_data_leave_only_after_their_audit_entry() -> None:
    async def look(bench: Bench) -> None:
        resident = (await bench.answer(bench.registering())).resident_id
        ask = AskIdentity(resident_id=resident, purpose="test.look")
        before = len(bench.store.audit())
        await bench.node.handle(bench.envelope(ask, sender="center"))
        assert [row.entry.action for row in bench.store.audit()[before:]] == ["resident.look"]

    with_bench(look)


# ---- who may ask -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "sender", "error"),
    [
        (AskIdentity(resident_id="0" * 26, purpose="p"), "terminal-131016", NotAllowed),
        (AskIdentity(resident_id="0" * 26, purpose="p"), "driver", NotAllowed),
        (RevealNumber(resident_id="0" * 26, purpose="p"), "center", NotAllowed),
    ],
    ids=["not-a-terminal", "not-a-driver", "another-node's-message"],
)
def test_who_may_not_ask_is_refused(request_: Request, sender: str, error: type[WarifuError]) -> None:
    async def refused(bench: Bench) -> None:
        with pytest.raises(error):
            await bench.node.handle(bench.envelope(request_, sender=sender))

    with_bench(refused)


def test_a_body_that_does_not_fit_its_name_is_malformed() -> None:
    async def unfit(bench: Bench) -> None:
        envelope = bench.registering()
        with pytest.raises(Malformed):
            await bench.node.handle(msgspec.structs.replace(envelope, body=b"\x80"))
        with pytest.raises((UnknownMessage, NotAllowed)):
            await bench.node.handle(msgspec.structs.replace(envelope, name="registry.no_such"))

    with_bench(unfit)


def test_a_call_whose_time_is_up_asks_nobody() -> None:
    async def late(bench: Bench) -> None:
        call_at = asyncio.get_running_loop().time()

        async def slow(call: object) -> Done:
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            loop.call_at(call_at + 11, done.set_result, None)
            await done
            bench.node.remaining_ms(call)  # type: ignore[arg-type]
            return Done()

        bench.node.handlers[Register.NAME] = slow
        with pytest.raises(DeadlinePassed):
            await bench.node.handle(bench.registering())

    with_bench(late)


# ---- steps -------------------------------------------------------------------------------------------------------


def test_a_step_behind_a_step_is_itself_as_long_as_it_fits_and_always_the_same() -> None:
    assert step_of("s", "part") == "s:part"
    fits, long, other = "s" * (96 - 5), "s" * 92, "s" * 91 + "t"
    assert step_of(fits, "part") == f"{fits}:part"
    assert step_of(long, "part") == step_of(long, "part")
    assert len({step_of(step, part) for step in (fits, long, other) for part in ("part", "path")}) == 6


@pytest.mark.parametrize("length", [1, 63, 64, 96])
def test_steps_asked_from_node_to_node_always_fit_the_envelope(length: int) -> None:
    step = "s" * length
    for part in ("0123456789ab.confirm.open_windows.23", "jpki", "0123456789ab.write.activate.10", "seal"):
        step = step_of(step, part)
        assert msgspec.convert(step, Step) == step


# ---- the outbox --------------------------------------------------------------------------------------------------


async def changed_three_times(bench: Bench) -> str:
    resident = (await bench.answer(bench.registering())).resident_id
    persons = [MOVED, PERSON, MOVED]
    for number, person in enumerate(persons):
        change = ChangeResident(resident_id=resident, event="move", person=person, occurred_on=DAY)
        reply = await bench.node.handle(bench.envelope(change, step=f"change{number}"))
        assert decode(Changed, reply.body or b"").resident_version == number + 2
    return resident


async def emptied(bench: Bench) -> None:
    """The outbox at work until nothing waits."""
    empty = asyncio.Event()
    sent = bench.store.sent

    async def watched(*sequences: int) -> None:
        await sent(*sequences)
        if not bench.store.outbox():
            empty.set()

    bench.store.sent = watched  # type: ignore[method-assign]
    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        timers = group.create_task(bench.node.run())
        await empty.wait()
        timers.cancel()


def versions(bench: Bench) -> list[int]:
    """What the centre was told, each message once, in the order in which it was first answered."""
    told: dict[str, int] = {}
    for envelope in bench.received:
        if envelope.name == ResidentChanged.NAME and bench.refuse(envelope) is None:
            told.setdefault(envelope.step, decode(ResidentChanged, envelope.body).resident_version)
    return list(told.values())


def test_messages_of_one_resident_arrive_in_the_order_of_their_commits() -> None:
    async def in_order(bench: Bench) -> None:
        await changed_three_times(bench)
        await emptied(bench)
        assert versions(bench) == [2, 3, 4]

    with_bench(in_order)


def test_a_receiver_that_is_away_gets_everything_in_order_later_and_holds_up_nobody_else() -> None:
    async def away(bench: Bench) -> None:
        await changed_three_times(bench)
        tries = iter(range(8))
        bench.refuse = lambda e: Unavailable("away") if e.name == ResidentChanged.NAME and any_left(tries) else None
        await emptied(bench)
        names = [envelope.name for envelope in bench.received]
        assert names.index("authority.resident_changed") < 8
        bench.refuse = lambda _: None
        assert versions(bench) == [2, 3, 4]

    with_bench(away)


def any_left(tries: "object") -> bool:
    return next(tries, None) is not None  # type: ignore[call-overload]


def test_a_message_goes_out_again_under_the_same_key_until_it_is_answered() -> None:
    async def again(bench: Bench) -> None:
        await bench.answer(bench.registering())
        tries = iter(range(3))
        bench.refuse = lambda _: Unavailable("away") if any_left(tries) else None
        await emptied(bench)
        keys = {(e.operation_id, e.step, e.digest()) for e in bench.received}
        assert (len(bench.received), len(keys)) == (4, 1)

    with_bench(again)


def test_of_two_processes_with_one_outbox_each_sends_its_own_at_once_and_what_the_other_left_later() -> None:
    async def shared(bench: Bench) -> None:
        sent: list[str] = []

        async def receive(envelope: Envelope, _peer: Peer) -> Reply:
            sent.append(envelope.sender)
            await asyncio.sleep(0.2)  # a slow receiver: all that time the message stands in the outbox
            return Reply(body=encode(Done()))

        transport = LocalTransport(dict.fromkeys(bench.handlers, receive), "registry-2", bench.log)
        other = Registry(World("registry-2", transport, bench.clock, bench.entropy, bench.log), bench.store)
        bench.handlers |= dict.fromkeys(bench.handlers, receive)
        async with asyncio.timeout(300), asyncio.TaskGroup() as group:
            timers = [group.create_task(node.run()) for node in (other, bench.node)]
            await asyncio.sleep(0.1)  # both have looked
            for node in (bench.node, other, bench.node):
                await node.handle(bench.registering())
            await asyncio.sleep(0.35)
            assert (sorted(sent), bench.store.outbox()) == (["registry", "registry", "registry-2"], ())
            timers.pop().cancel()
            await bench.node.handle(bench.registering())
            await asyncio.sleep(1)
            assert (sent[3:], bench.store.outbox()) == (["registry-2"], ())
            timers.pop().cancel()

    with_bench(shared)


async def answered_when(bench: Bench, name: str, count: int) -> None:
    """The outbox at work until so many messages of this name were answered."""
    answered: set[str] = set()
    done = asyncio.Event()
    receive = bench.handlers["numbering"]

    async def watched(envelope: Envelope, peer: Peer) -> Reply:
        reply = await receive(envelope, peer)
        if reply.error is None and envelope.name == name:
            answered.add(envelope.step)
            done.set()
        return reply

    bench.handlers |= dict.fromkeys(bench.handlers, watched)
    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        timers = group.create_task(bench.node.run())
        while len(answered) < count:
            done.clear()
            await done.wait()
        timers.cancel()


def test_however_much_waits_for_one_receiver_others_get_theirs() -> None:
    async def starved(bench: Bench) -> None:
        many = OUTBOX_BATCH + 10
        bench.refuse = lambda e: None if e.name == AssignNumber.NAME else Unavailable("away")
        for _ in range(many):
            resident = (await bench.answer(bench.registering())).resident_id
            change = ChangeResident(resident_id=resident, event="move", person=MOVED, occurred_on=DAY)
            await bench.node.handle(bench.envelope(change))
        for pending in bench.store.outbox():
            if pending.message.destination == "numbering":
                await bench.store.sent(pending.sequence)
        await bench.answer(bench.registering())
        await answered_when(bench, AssignNumber.NAME, 1)
        assert len(bench.store.outbox()) >= 2 * many
        tried = Counter(e.name for e in bench.received if e.name != AssignNumber.NAME)
        assert len({e.step for e in bench.received}) <= 2 * OUTBOX_AT_ONCE + 1, tried

    with_bench(starved)


def test_refused_messages_do_not_keep_room_from_others_to_the_same_receiver() -> None:
    async def poisoned(bench: Bench) -> None:
        for _ in range(2 * OUTBOX_AT_ONCE):
            await bench.answer(bench.registering())
        poison = {pending.message.message_id for pending in bench.store.outbox()}
        bench.refuse = lambda e: NotAllowed("no") if e.step in poison else None
        await bench.answer(bench.registering())
        await answered_when(bench, AssignNumber.NAME, 1)
        assert {pending.message.message_id for pending in bench.store.outbox()} >= poison

    with_bench(poisoned)


def test_a_refused_message_is_kept_and_shown_as_a_warning_until_somebody_mends_it() -> None:
    async def refused(bench: Bench) -> None:
        await bench.answer(bench.registering())
        bench.refuse = lambda _: NotAllowed("no")
        async with asyncio.TaskGroup() as group:
            timers = group.create_task(bench.node.run())
            await bench.log.troubled.wait()
            health = await bench.node.health()
            timers.cancel()
        assert health.ok, "the receiver's trouble is not the sender's"
        assert (health.parts["store"].ok, health.parts["outbox"].ok) == (True, False)
        assert [name for name, part in health.parts.items() if part.warning] == ["outbox"]
        assert "numbering.assign" in health.parts["outbox"].detail
        assert len(bench.store.outbox()) == 1
        bench.refuse = lambda _: None
        await emptied(bench)
        assert (await bench.node.health()).parts["outbox"].ok

    with_bench(refused)


def test_health_is_what_the_store_can_do_now() -> None:
    async def sick(bench: Bench) -> None:
        async def gone() -> None:
            raise Unavailable("no database")

        bench.store.probe = gone  # type: ignore[method-assign]
        reply = await bench.node.handle(bench.envelope(AskHealth(), sender="supervisor"))
        health = decode(Health, reply.body or b"")
        assert (health.ok, health.parts["store"].detail) == (False, "part.unavailable: no database")

    with_bench(sick)
