"""The HSM pool over a scripted device, in virtual time: every deadline passes at once and the same way each time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import sha256
from itertools import pairwise, repeat
from typing import Literal, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nodes_parts import run

from warifu.kernel.errors import DeadlinePassed, Malformed, Unavailable, WarifuError
from warifu.nodes.behalf import OPERATION
from warifu.nodes.hsm_answers import HsmRejected, NoSuchKey, UnknownSession
from warifu.nodes.hsm_pool import MESSAGES_AT_ONCE, Dump, HsmPool, PoolLimits
from warifu.ports import hsm

T = TypeVar("T")


Behaviour = Literal["answer", "stall", "die", "wrong", "late", "refuse", "slow", "unable"]
SLOW_S = 0.1


def answer_to(command: hsm.HsmCommand) -> hsm.HsmReply:
    """What a well device says: a function of the command, so that a swapped answer shows."""
    reply: hsm.HsmReply = hsm.Done()
    match command:
        case hsm.Mac(label=label, data=data):
            reply = hsm.Bytes(sha256(label.encode() + data).digest()[:16])
        case hsm.EncryptMessage(session=session, data=data):
            reply = hsm.Bytes(data + sha256(session).digest()[:16])
        case hsm.Unwrap(label="changed") | hsm.OpenMessageSession(encapsulation=b"bad"):
            reply = hsm.Rejected("hsm.rejected")
        case hsm.Sign(label="missing"):
            reply = hsm.Rejected("hsm.no_such_key")
    return reply


class ScriptedWorker:
    """Answers after two turns of the loop, unless its script says otherwise for this (ordinary) command."""

    def __init__(self, factory: "ScriptedFactory", name: str, pid: int) -> None:
        self.factory, self.name, self.pid = factory, name, pid
        self.dead = asyncio.Event()
        self.sessions: set[bytes] = set()
        self.busy = False
        self.calls: list[hsm.HsmCommand] = []

    async def call(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        assert not self.busy, "two commands at once"
        assert not self.dead.is_set(), "a killed worker was spoken to"
        self.busy = True
        self.calls.append(command)
        try:
            return await self.behave(command)
        finally:
            self.busy = False

    async def call_all(self, commands: Sequence[hsm.HsmCommand]) -> Sequence[hsm.HsmReply]:
        self.factory.together.append(len(commands))
        return [await self.call(command) for command in commands]

    async def behave(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        await asyncio.sleep(0)
        behaviour = self.factory.behaviour(self, command)
        if behaviour == "stall":
            await self.dead.wait()
        if behaviour == "late":
            await asyncio.sleep(self.factory.late_s)
        if behaviour == "slow":
            await asyncio.sleep(SLOW_S)
        if behaviour == "die" or self.dead.is_set():
            raise Unavailable("died")
        if behaviour == "unable":
            raise Malformed("longer than a frame")
        if behaviour == "wrong":
            return hsm.Bytes(b"?")
        if behaviour == "refuse":
            return hsm.Rejected("hsm.rejected")
        await asyncio.sleep(0)
        return self.do(command)

    def do(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        reply = answer_to(command)
        if isinstance(command, hsm.OpenMessageSession) and reply == hsm.Done():
            self.sessions.add(command.session)
        known = not isinstance(command, hsm.EncryptMessage | hsm.DecryptMessage) or command.session in self.sessions
        return reply if known else hsm.Rejected("hsm.unknown_session")

    async def kill(self) -> None:
        self.dead.set()
        self.factory.killed.append(self)
        await asyncio.sleep(0)
        if self.factory.kill_hangs:
            await asyncio.Event().wait()


class ScriptedFactory:
    """Its script gives the behaviour of each ordinary command in turn; after its end every worker is well."""

    def __init__(self, *script: Behaviour, by_worker: dict[int, Behaviour] | None = None) -> None:
        self.script: Iterator[Behaviour] = iter(script)
        self.by_worker = by_worker or {}
        self.self_tests: Iterator[Behaviour] = iter(())
        self.spawns: Iterator[Literal["ok", "unavailable", "hang"]] = iter(())
        self.spawned: list[ScriptedWorker] = []
        self.together: list[int] = []
        self.spawn_times: list[float] = []
        self.killed: list[ScriptedWorker] = []
        self.kill_hangs = False
        self.late_s = 1.5

    def behaviour(self, worker: ScriptedWorker, command: hsm.HsmCommand) -> Behaviour:
        if isinstance(command, hsm.SelfTest):
            return next(self.self_tests, "answer")
        if worker.pid in self.by_worker:
            return self.by_worker[worker.pid]
        return next(self.script, "answer")

    async def spawn(self, name: str) -> ScriptedWorker:
        self.spawn_times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        outcome = next(self.spawns, "ok")
        if outcome == "hang":
            await asyncio.Event().wait()
        if outcome == "unavailable":
            raise Unavailable("no device")
        worker = ScriptedWorker(self, name, pid=len(self.spawned) + 1)
        self.spawned.append(worker)
        return worker

    def alive(self) -> list[ScriptedWorker]:
        return [worker for worker in self.spawned if not worker.dead.is_set()]


LIMITS = PoolLimits(command_deadline_ms=1_000, queue=8, slow_median_ms=50)


@asynccontextmanager
async def running(pool: HsmPool) -> AsyncIterator[HsmPool]:
    """The pool at work; everything it started is over at the end."""
    task = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], bool]) -> None:
    """Let virtual time pass until ``condition``: nothing in the pool tells of every change."""
    async with asyncio.timeout(3_600):
        while not condition():  # noqa: ASYNC110 - costs no time here
            await asyncio.sleep(0.01)


DIE: Behaviour = "die"


def mac(number: int) -> hsm.Mac:
    return hsm.Mac("card/mac", b"secret-%d" % number)


def on_pool(
    test: Callable[[HsmPool], Awaitable[None]], factory: ScriptedFactory, size: int = 2, limits: PoolLimits = LIMITS
) -> None:
    """Run ``test`` on a running pool; afterwards no worker may live."""

    async def main() -> None:
        async with running(HsmPool(factory, "relay-1/hsm", size, limits=limits)) as pool:
            await test(pool)

    run(main())
    assert factory.alive() == []


async def expect_own_answer(pool: HsmPool, number: int, deadline_ms: int = 60_000) -> None:
    assert await pool.call(mac(number), deadline_ms) == answer_to(mac(number))


def test_a_command_gets_its_answer() -> None:
    on_pool(lambda pool: expect_own_answer(pool, 1), ScriptedFactory())


def test_the_pool_speaks_to_as_many_workers_as_it_has_places() -> None:
    async def test(pool: HsmPool) -> None:
        await until(lambda: pool.health().ready == 3)
        assert pool.processes() == [("relay-1/hsm-0", 1), ("relay-1/hsm-1", 2), ("relay-1/hsm-2", 3)]
        assert pool.health().healthy

    on_pool(test, ScriptedFactory(), size=3)


def test_who_comes_first_is_served_first() -> None:
    factory = ScriptedFactory()

    async def test(pool: HsmPool) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(expect_own_answer(pool, number))

    on_pool(test, factory, size=1)
    served = [command for command in factory.spawned[0].calls if isinstance(command, hsm.Mac)]
    assert served == [mac(number) for number in range(8)]


def test_more_commands_than_may_wait_are_refused_at_once() -> None:
    async def test(pool: HsmPool) -> None:
        stalled = [asyncio.create_task(pool.call(mac(number), 60_000)) for number in range(8)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await pool.call(mac(9), 60_000)
        assert "queue_full" in pool.health().reasons
        await asyncio.wait(stalled)
        await expect_own_answer(pool, 10)

    on_pool(test, ScriptedFactory(), size=1)


def test_a_caller_who_cannot_wait_hears_so_and_the_worker_stays() -> None:
    factory = ScriptedFactory("slow")

    async def test(pool: HsmPool) -> None:
        with pytest.raises(DeadlinePassed):
            await pool.call(mac(1), deadline_ms=50)
        await expect_own_answer(pool, 2)
        assert pool.health().fenced == 0

    on_pool(test, factory, size=1)
    assert len(factory.spawned) == 1


@pytest.mark.parametrize(("behaviour", "reason"), [("stall", "stalled"), ("die", "died"), ("wrong", "wrong_answer")])
def test_the_command_of_a_failing_worker_is_done_by_another(behaviour: Behaviour, reason: str) -> None:
    factory = ScriptedFactory(behaviour)

    async def test(pool: HsmPool) -> None:
        await until(lambda: pool.health().ready == 2)
        await expect_own_answer(pool, 1, deadline_ms=3_000)
        assert [dump.reason for dump in pool.dumps()] == [reason]
        await until(lambda: pool.health().ready == 2)
        assert pool.health().readmitted == 1

    on_pool(test, factory)
    assert factory.spawned[0] in factory.killed


def test_a_single_worker_that_stalls_is_replaced_within_the_callers_time() -> None:
    on_pool(lambda pool: expect_own_answer(pool, 1, deadline_ms=3_000), ScriptedFactory("stall"), size=1)


def test_a_stalled_worker_costs_its_command_deadline_and_no_more() -> None:
    async def test(pool: HsmPool) -> None:
        await until(lambda: pool.health().ready == 2)
        began = asyncio.get_running_loop().time()
        await expect_own_answer(pool, 1)
        assert 1.0 <= asyncio.get_running_loop().time() - began < 1.01

    on_pool(test, ScriptedFactory("stall"))


def test_the_command_of_a_fenced_worker_goes_before_those_that_wait() -> None:
    factory = ScriptedFactory("stall")

    async def test(pool: HsmPool) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(expect_own_answer(pool, number))

    on_pool(test, factory, size=1)
    served = [command for command in factory.spawned[1].calls if isinstance(command, hsm.Mac)]
    assert served == [mac(number) for number in range(5)]


def test_others_are_served_while_a_worker_stalls() -> None:
    async def test(pool: HsmPool) -> None:
        await until(lambda: pool.health().ready == 2)
        stalled = asyncio.create_task(expect_own_answer(pool, 0))
        await asyncio.sleep(0)
        for number in range(1, 50):
            await expect_own_answer(pool, number, deadline_ms=100)
        assert not stalled.done()
        await stalled

    on_pool(test, ScriptedFactory("stall"))


@settings(max_examples=150, deadline=None)
@given(
    script=st.lists(st.sampled_from(["answer", "stall", "die", "wrong", "late", "slow", "refuse"]), max_size=30),
    size=st.integers(1, 3),
    deadlines=st.lists(st.integers(1, 4_000), min_size=1, max_size=20),
)
def test_whatever_workers_do_each_caller_gets_its_own_answer_or_a_typed_error(
    script: list[Behaviour], size: int, deadlines: list[int]
) -> None:
    outcomes: Counter[str] = Counter()

    async def one(pool: HsmPool, number: int, deadline_ms: int) -> None:
        began = asyncio.get_running_loop().time()
        try:
            assert await pool.call(mac(number), deadline_ms) == answer_to(mac(number))
            outcomes["answered"] += 1
        except (DeadlinePassed, Unavailable, HsmRejected) as error:
            outcomes[error.code] += 1
        assert asyncio.get_running_loop().time() - began <= deadline_ms / 1000 + 0.001

    async def test(pool: HsmPool) -> None:
        async with asyncio.TaskGroup() as group:
            for number, deadline_ms in enumerate(deadlines):
                group.create_task(one(pool, number, deadline_ms))
        await until(lambda: pool.health().ready == size)
        assert pool.health().queued == 0

    on_pool(test, ScriptedFactory(*script), size, limits=PoolLimits(command_deadline_ms=1_000))
    assert sum(outcomes.values()) == len(deadlines)


def test_a_command_that_costs_too_many_workers_is_given_up() -> None:
    factory = ScriptedFactory("die", "die", "die")

    async def test(pool: HsmPool) -> None:
        with pytest.raises(Unavailable):
            await pool.call(mac(1), 60_000)
        await expect_own_answer(pool, 2)

    on_pool(test, factory)
    assert sum(mac(1) in worker.calls for worker in factory.spawned) == 3


def test_a_dump_tells_names_and_labels_and_never_data() -> None:
    told: list[Dump] = []

    async def main() -> None:
        factory = ScriptedFactory("answer", "stall")
        pool = HsmPool(factory, "relay-1/hsm", 1, limits=LIMITS, on_fence=told.append)
        async with running(pool):
            await expect_own_answer(pool, 1)
            await expect_own_answer(pool, 2)
            assert pool.dumps() == tuple(told)

    run(main())
    (dump,) = told
    assert (dump.worker, dump.pid, dump.reason) == ("relay-1/hsm-0", 1, "stalled")
    assert [(record.kind, record.label) for record in dump.commands] == [
        ("SelfTest", ""),
        ("Mac", "card/mac"),
        ("Mac", "card/mac"),
    ]
    assert [record.took_ms >= 0 for record in dump.commands] == [True, True, False]
    assert "secret" not in repr(dump)


def test_a_dump_tells_for_which_operations_each_command_was() -> None:
    """Several when messages went together, none for the node's own: it is found by the id that all records carry."""

    async def for_operation(pool: HsmPool, operation_id: str, command: hsm.HsmCommand) -> None:
        OPERATION.set(operation_id)
        with suppress(Unavailable):
            await pool.call(command, 60_000)

    async def test(pool: HsmPool) -> None:
        session = b"s" * 16
        pool.message_session("relay/message", session, b"e", b"i")
        messages = [hsm.DecryptMessage(session, bytes(12), b"", bytes([number])) for number in range(3)]
        async with asyncio.TaskGroup() as group:
            group.create_task(for_operation(pool, "sign", mac(1)))
            for number, message in enumerate(messages):
                group.create_task(for_operation(pool, f"message-{number}", message))
        dump = pool.dumps()[0]
        assert [(each.kind, each.operations) for each in dump.commands] == [
            ("SelfTest", ()),
            ("Mac", ("sign",)),
            ("DecryptMessage", ("message-0", "message-1", "message-2")),
        ]
        assert dump.operations() == ("message-2", "message-1", "message-0", "sign")

    on_pool(test, ScriptedFactory("answer", "die"), size=1)


def test_a_dump_begins_with_its_own_worker() -> None:
    async def test(pool: HsmPool) -> None:
        await expect_own_answer(pool, 1)
        kinds = [[record.kind for record in dump.commands] for dump in pool.dumps()]
        assert kinds == [["SelfTest", "Mac"], ["SelfTest", "Mac"]]

    on_pool(test, ScriptedFactory("die", "die"), size=1)


def test_dumps_and_names_stay_the_same_size_however_often_a_worker_is_replaced() -> None:
    factory = ScriptedFactory(*repeat(DIE, 60))
    limits = PoolLimits(dumps=4, history=3, longest_pause_ms=200, attempts=100)

    async def test(pool: HsmPool) -> None:
        await pool.call(mac(1), 600_000)
        assert len(pool.dumps()) == 4
        assert max(len(dump.commands) for dump in pool.dumps()) <= 3

    on_pool(test, factory, size=1, limits=limits)
    assert {worker.name for worker in factory.spawned} == {"relay-1/hsm-0"}


def test_a_worker_whose_self_test_fails_is_never_given_work() -> None:
    factory = ScriptedFactory()
    factory.self_tests = iter(["refuse", "stall", "die", "wrong"])
    on_pool(lambda pool: expect_own_answer(pool, 1), factory, size=1)
    assert [len(worker.calls) for worker in factory.spawned] == [1, 1, 1, 1, 2]


def test_replacing_pauses_longer_after_each_failure_up_to_a_limit() -> None:
    factory = ScriptedFactory()
    factory.spawns = iter(["unavailable"] * 6)
    limits = PoolLimits(first_pause_ms=100, longest_pause_ms=1_000)
    on_pool(lambda pool: expect_own_answer(pool, 1), factory, size=1, limits=limits)
    times = factory.spawn_times
    pauses = [round(later - earlier, 3) for earlier, later in pairwise(times)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_worker_that_lived_long_is_replaced_without_a_pause() -> None:
    factory = ScriptedFactory("die")

    async def test(pool: HsmPool) -> None:
        await until(lambda: pool.health().ready == 1)
        await asyncio.sleep(LIMITS.steady_ms / 1000)
        fenced_at = asyncio.get_running_loop().time()
        await expect_own_answer(pool, 1)
        assert factory.spawn_times[1] == fenced_at

    on_pool(test, factory, size=1)


def test_an_idle_worker_that_went_bad_is_found_before_it_is_needed() -> None:
    factory = ScriptedFactory()
    factory.self_tests = iter(["answer", "refuse"])

    async def test(pool: HsmPool) -> None:
        await until(lambda: pool.health().fenced == 1)
        assert asyncio.get_running_loop().time() < 2 * LIMITS.self_test_every_ms / 1000
        await until(lambda: pool.health().readmitted == 1)
        assert [dump.reason for dump in pool.dumps()] == ["self_test"]

    on_pool(test, factory, size=1)


def test_a_worker_that_is_never_idle_proves_itself_all_the_same() -> None:
    factory = ScriptedFactory(by_worker={1: "slow"})

    async def test(pool: HsmPool) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(ask_for_a_minute(pool))

    on_pool(test, factory, size=1)
    proofs = sum(command == hsm.SelfTest() for command in factory.spawned[0].calls)
    assert proofs == pytest.approx(60_000 / LIMITS.self_test_every_ms, abs=1)


async def ask_for_a_minute(pool: HsmPool) -> None:
    while asyncio.get_running_loop().time() < 60:
        await expect_own_answer(pool, 1)


def test_a_worker_that_does_not_start_is_no_worker() -> None:
    factory = ScriptedFactory()
    factory.spawns = iter(["hang"])

    async def test(pool: HsmPool) -> None:
        await asyncio.sleep(0)
        assert pool.health().reasons == ("no_worker",)
        await expect_own_answer(pool, 1)

    on_pool(test, factory, size=1)


def test_a_worker_that_cannot_be_killed_does_not_hold_its_place() -> None:
    factory = ScriptedFactory("stall")
    factory.kill_hangs = True
    on_pool(lambda pool: expect_own_answer(pool, 1), factory, size=1)


async def fill_window(pool: HsmPool, count: int = 40) -> None:
    for number in range(count):
        async with asyncio.TaskGroup() as group:
            group.create_task(expect_own_answer(pool, number))
            group.create_task(expect_own_answer(pool, 1_000 + number))


def test_a_slow_worker_leaves_when_another_is_well() -> None:
    async def test(pool: HsmPool) -> None:
        await fill_window(pool, 100)
        assert [(dump.worker, dump.reason) for dump in pool.dumps()] == [("relay-1/hsm-0", "slow")]

    on_pool(test, ScriptedFactory(by_worker={1: "slow"}))


def test_when_all_are_slow_the_pool_works_on_and_says_so_until_it_is_over() -> None:
    factory = ScriptedFactory(by_worker={1: "slow", 2: "slow"})

    async def test(pool: HsmPool) -> None:
        await fill_window(pool)
        health = pool.health()
        assert not health.healthy
        assert health.reasons == ("slow:relay-1/hsm-0", "slow:relay-1/hsm-1")
        assert health.median_ms > 50
        factory.by_worker.clear()
        await asyncio.sleep(LIMITS.window_ms / 1000)
        assert pool.health().healthy
        assert pool.health().fenced == 0

    on_pool(test, factory)


def test_making_a_key_may_take_longer_than_a_command() -> None:
    factory = ScriptedFactory("late")

    async def test(pool: HsmPool) -> None:
        assert await pool.call(hsm.CreateKey("store/wrap", "wrap"), 10_000) == hsm.Done()
        assert pool.health().fenced == 0

    on_pool(test, factory, size=1)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (hsm.Unwrap("changed", bytes(40), b""), HsmRejected),
        (hsm.Sign("missing", b""), NoSuchKey),
        (hsm.EncryptMessage(b"never opened", bytes(12), b"", b""), UnknownSession),
    ],
)
def test_a_refusal_is_a_typed_error_and_costs_no_worker(command: hsm.HsmCommand, error: type[WarifuError]) -> None:
    async def test(pool: HsmPool) -> None:
        with pytest.raises(error):
            await pool.call(command, 1_000)
        assert pool.health().fenced == 0

    on_pool(test, ScriptedFactory())


def test_a_command_the_worker_cannot_send_is_the_callers_fault() -> None:
    async def test(pool: HsmPool) -> None:
        with pytest.raises(Malformed):
            await pool.call(mac(1), 1_000)
        assert pool.health().fenced == 0

    on_pool(test, ScriptedFactory("unable"))


def encrypt(session: bytes, number: int = 1) -> hsm.EncryptMessage:
    return hsm.EncryptMessage(session, number.to_bytes(12, "big"), b"", b"text")


async def expect_encrypted(pool: HsmPool, session: bytes) -> None:
    assert await pool.bytes_of(encrypt(session), 10_000) == b"text" + sha256(session).digest()[:16]


def test_any_worker_opens_a_message_session_when_it_first_needs_it() -> None:
    factory = ScriptedFactory()

    async def test(pool: HsmPool) -> None:
        await until(lambda: pool.health().ready == 3)
        pool.message_session("relay/agree", b"s", b"encapsulation", b"info")
        async with asyncio.TaskGroup() as group:
            for _ in range(3 * MESSAGES_AT_ONCE):
                group.create_task(expect_encrypted(pool, b"s"))

    on_pool(test, factory, size=3, limits=PoolLimits())
    opened = [sum(isinstance(call, hsm.OpenMessageSession) for call in worker.calls) for worker in factory.spawned]
    assert opened == [1, 1, 1]


def test_messages_that_wait_go_to_a_worker_together_up_to_a_bound_and_other_commands_alone() -> None:
    factory = ScriptedFactory()

    async def test(pool: HsmPool) -> None:
        await pool.call(hsm.OpenMessageSession("relay/agree", b"s", b"encapsulation", b"info"), 10_000)
        async with asyncio.TaskGroup() as group:
            for _ in range(MESSAGES_AT_ONCE + 3):
                group.create_task(expect_encrypted(pool, b"s"))
            group.create_task(pool.call(mac(1), 10_000))
            for _ in range(2):
                group.create_task(expect_encrypted(pool, b"s"))

    on_pool(test, factory, size=1, limits=PoolLimits())
    assert factory.together == [MESSAGES_AT_ONCE, 3, 2]


@pytest.mark.parametrize("behaviour", ["die", "stall", "wrong"])
def test_messages_that_went_together_are_all_done_elsewhere_when_their_worker_fails(behaviour: Behaviour) -> None:
    async def test(pool: HsmPool) -> None:
        pool.message_session("relay/agree", b"s", b"encapsulation", b"info")
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(expect_encrypted(pool, b"s"))
        assert pool.health().fenced == 1

    on_pool(test, ScriptedFactory("answer", behaviour), size=1)


def test_what_one_message_is_refused_does_not_touch_those_beside_it() -> None:
    async def test(pool: HsmPool) -> None:
        pool.message_session("relay/agree", b"s", b"encapsulation", b"info")
        pool.message_session("relay/agree", b"bad one", b"bad", b"info")
        async with asyncio.TaskGroup() as group:
            well = group.create_task(expect_encrypted(pool, b"s"))
            refused = group.create_task(outcome(pool.call(encrypt(b"bad one"), 10_000)))
            unknown = group.create_task(outcome(pool.call(encrypt(b"never seen"), 10_000)))
        await well
        assert (refused.result(), unknown.result(), pool.health().fenced) == (HsmRejected, UnknownSession, 0)

    on_pool(test, ScriptedFactory(), size=1)


async def outcome(work: Awaitable[hsm.HsmReply]) -> type[Exception] | None:
    try:
        await work
    except WarifuError as error:
        return type(error)
    return None


def test_a_message_session_outlives_the_worker_that_had_it() -> None:
    async def test(pool: HsmPool) -> None:
        await pool.call(hsm.OpenMessageSession("relay/agree", b"s", b"encapsulation", b"info"), 10_000)
        await expect_encrypted(pool, b"s")

    on_pool(test, ScriptedFactory("answer", "die"), size=1)


def test_a_message_session_that_cannot_be_opened_refuses_its_messages() -> None:
    async def test(pool: HsmPool) -> None:
        pool.message_session("relay/agree", b"s", b"bad", b"info")
        with pytest.raises(HsmRejected):
            await pool.call(encrypt(b"s"), 10_000)

    on_pool(test, ScriptedFactory())


def test_the_least_recently_used_message_session_is_forgotten_beyond_the_limit() -> None:
    limits = PoolLimits(sessions=2)

    async def test(pool: HsmPool) -> None:
        for session in (b"a", b"b"):
            pool.message_session("relay/agree", session, b"encapsulation", b"info")
        await expect_encrypted(pool, b"a")
        pool.message_session("relay/agree", b"c", b"encapsulation", b"info")
        await expect_encrypted(pool, b"a")
        with pytest.raises(UnknownSession):
            await pool.call(encrypt(b"b"), 10_000)

    on_pool(test, ScriptedFactory(), size=1, limits=limits)


def test_a_message_session_is_never_opened_with_something_else() -> None:
    async def test(pool: HsmPool) -> None:
        pool.message_session("relay/agree", b"s", b"encapsulation", b"info")
        with pytest.raises(HsmRejected):
            pool.message_session("relay/agree", b"s", b"another", b"info")
        pool.forget_session(b"s")
        pool.message_session("relay/agree", b"s", b"another", b"info")

    on_pool(test, ScriptedFactory())


STEPS = range(1, 40)
UNLUCKY: list[tuple[Behaviour, ...]] = [("die",) * 6, ("unable", "unable")]
"""Where the other caller is refused too."""


@pytest.mark.parametrize(
    "script", [("answer",), ("stall",), ("late",), ("die",), ("die",) * 6, ("unable", "unable"), ("wrong", "stall")]
)
def test_a_caller_cancelled_at_any_point_leaves_workers_and_other_callers_alone(script: tuple[Behaviour, ...]) -> None:
    async def test(pool: HsmPool, steps: int, factory: ScriptedFactory) -> None:
        cancelled = asyncio.create_task(pool.call(mac(1), 60_000))
        other = asyncio.create_task(expect_own_answer(pool, 2))
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled.cancel()
        _, outcome = await asyncio.gather(cancelled, other, return_exceptions=True)
        assert script in UNLUCKY or outcome is None
        factory.script = iter(())
        await expect_own_answer(pool, 3)
        await until(lambda: pool.health().ready == 2)
        assert pool.health().queued == 0

    for steps in STEPS:
        factory = ScriptedFactory(*script)
        on_pool(partial(test, steps=steps, factory=factory), factory)


@pytest.mark.parametrize("script", [(), ("stall",), ("die",), ("late",)])
def test_a_pool_ended_at_any_point_leaves_no_worker_and_answers_everyone(script: tuple[Behaviour, ...]) -> None:
    async def main(steps: int, factory: ScriptedFactory) -> None:
        async with running(HsmPool(factory, "relay-1/hsm", 2, limits=LIMITS)) as pool:
            callers = [asyncio.create_task(pool.call(mac(number), 5_000)) for number in range(4)]
            for _ in range(steps):
                await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert asyncio.get_running_loop().time() == began, "somebody waited for a closed pool"
        for number, outcome in enumerate(outcomes):
            assert isinstance(outcome, Unavailable) or outcome == answer_to(mac(number))
        with pytest.raises(Unavailable):
            await pool.call(mac(9), 1_000)

    for steps in STEPS:
        factory = ScriptedFactory(*script)
        run(main(steps, factory))
        assert factory.alive() == []
